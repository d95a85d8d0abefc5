//! Components, which emit nothing and are in the audit trail.

use demae_control_plane::{
    Change, DomainError, Stamps,
    components::{self, Component, CreateComponent, MAX_VERSION, ReplaceComponent},
    fields::MAX_DESCRIPTION,
    revision::{self, Expected},
};
use demae_store::repository::Page;
use serde_json::json;
use uuid::Uuid;

use crate::{
    releases,
    support::{NOW, World, code, detail, locations},
};

on_both_databases!(
    a_component_lives_in_the_audit_trail_alone,
    a_name_has_each_version_once,
    slugs_are_made_of_name_and_version,
    what_came_before_must_be_there,
    what_is_immutable_is_refused,
    what_a_release_contains_stays,
    components_stay_in_their_organization,
    an_outdated_change_is_refused,
    every_fault_is_told,
);

pub(crate) async fn create(world: &World, input: CreateComponent) -> Result<Component, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let component = components::create(&mut change, input).await;
    transaction.commit().await.unwrap();
    component
}

async fn replace(world: &World, slug: &str, input: ReplaceComponent) -> Result<Component, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let component = components::replace(&mut change, slug, input).await?;
    transaction.commit().await.unwrap();
    Ok(component)
}

async fn delete(world: &World, slug: &str) -> Result<Component, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let component = components::delete(&mut change, slug).await?;
    transaction.commit().await.unwrap();
    Ok(component)
}

pub(crate) fn versioned(name: &str, version: &str) -> CreateComponent {
    CreateComponent {
        name: name.to_owned(),
        version: version.to_owned(),
        ..Default::default()
    }
}

fn replacement(name: &str, version: &str) -> ReplaceComponent {
    ReplaceComponent {
        name: name.to_owned(),
        version: version.to_owned(),
        ..Default::default()
    }
}

async fn a_component_lives_in_the_audit_trail_alone(world: &World) {
    let input = CreateComponent {
        description: Some("Serves\nrequests.".into()),
        ..versioned("api", "4.1.0")
    };
    let created = create(world, input).await.unwrap();
    let user = json!({"id": world.mine.id, "name": "Administrator"});
    let shown = json!({
        "id": created.id, "name": "api", "version": "4.1.0", "slug": "api-4-1-0",
        "description": "Serves\nrequests.",
        "createdAt": "2026-09-21T14:13:20.000Z", "createdBy": user,
        "updatedAt": "2026-09-21T14:13:20.000Z", "updatedBy": user,
    });
    assert_eq!(serde_json::to_value(&created).unwrap(), shown);
    let replaced = replace(world, "api-4-1-0", replacement("api", "4.1.1"))
        .await
        .unwrap();
    let expected = Component {
        version: "4.1.1".into(),
        description: None,
        stamps: Stamps {
            updated_at: replaced.stamps.updated_at,
            ..created.stamps.clone()
        },
        ..created.clone()
    };
    assert!(replaced.stamps.updated_at > created.stamps.updated_at);
    assert_eq!(replaced, expected);
    let kept = components::get(&world.store, &world.mine, "api-4-1-0")
        .await
        .unwrap();
    assert_eq!(kept, replaced);
    delete(world, "api-4-1-0").await.unwrap();
    let entries = world.audited().await;
    let subject = ("component", created.id, "api-4-1-0");
    let names: Vec<_> = entries
        .iter()
        .map(|entry| {
            let about = (
                entry.resource.as_str(),
                entry.resource_id,
                entry.resource_slug.as_str(),
            );
            assert_eq!(about, subject);
            (entry.event_name.as_str(), entry.event_type.as_str())
        })
        .collect();
    assert_eq!(
        names,
        [
            ("COMPONENT_CREATION", "com.kaiten.component.v1.created"),
            ("COMPONENT_UPDATE", "com.kaiten.component.v1.updated"),
            ("COMPONENT_DELETION", "com.kaiten.component.v1.deleted"),
        ]
    );
    assert_eq!(world.events().await.len(), 0);
}

async fn a_name_has_each_version_once(world: &World) {
    create(world, versioned("api", "1")).await.unwrap();
    create(world, versioned("api", "2")).await.unwrap();
    create(world, versioned("web", "1")).await.unwrap();
    let refused = create(world, versioned("api", "1")).await;
    assert_eq!(code(refused), "CreateComponent.VersionConflict");
    // Also with a slug that is free.
    let input = CreateComponent {
        slug: Some("other".into()),
        ..versioned("api", "2")
    };
    assert_eq!(
        code(create(world, input).await),
        "CreateComponent.VersionConflict"
    );
    assert_eq!(
        code(replace(world, "web-1", replacement("api", "2")).await),
        "UpdateComponent.VersionConflict"
    );
    // Its own version is not in its way.
    replace(world, "web-1", replacement("web", "1")).await.unwrap();
}

async fn slugs_are_made_of_name_and_version(world: &World) {
    let slug = |component: Component| component.slug;
    assert_eq!(
        slug(create(world, versioned("The API", "4.1.0")).await.unwrap()),
        "the-api-4-1-0"
    );
    // Another name and version of the same letters.
    let second = slug(create(world, versioned("The", "API 4.1.0")).await.unwrap());
    assert_eq!(second.strip_prefix("the-api-4-1-0-").unwrap().len(), 6);
    let taken = CreateComponent {
        slug: Some("the-api-4-1-0".into()),
        ..versioned("Other", "1")
    };
    assert_eq!(code(create(world, taken).await), "CreateComponent.SlugConflict");
}

async fn what_came_before_must_be_there(world: &World) {
    let first = create(world, versioned("api", "1")).await.unwrap();
    let after = |previous: Uuid, version: &str| CreateComponent {
        previous_component_id: Some(previous),
        ..versioned("api", version)
    };
    let second = create(world, after(first.id, "2")).await.unwrap();
    assert_eq!(second.previous_component_id, Some(first.id));
    assert_eq!(
        code(create(world, after(Uuid::nil(), "3")).await),
        "CreateComponent.PreviousComponentNotFound"
    );
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.theirs, NOW);
    assert_eq!(
        code(components::create(&mut change, after(first.id, "3")).await),
        "CreateComponent.PreviousComponentNotFound"
    );
    transaction.rollback().await.unwrap();
    // It may go; what came after it names nothing then.
    delete(world, &first.slug).await.unwrap();
    let kept = components::get(&world.store, &world.mine, &second.slug)
        .await
        .unwrap();
    let expected = Component {
        previous_component_id: None,
        ..second
    };
    assert_eq!(kept, expected);
}

async fn what_is_immutable_is_refused(world: &World) {
    let first = create(world, versioned("api", "1")).await.unwrap();
    let input = CreateComponent {
        previous_component_id: Some(first.id),
        ..versioned("api", "2")
    };
    let second = create(world, input).await.unwrap();
    for (input, expected, location) in [
        (
            ReplaceComponent {
                slug: Some("other".into()),
                ..replacement("api", "2")
            },
            "UpdateComponent.SlugNotRenameable",
            "slug",
        ),
        (
            ReplaceComponent {
                previous_component_id: Some(second.id),
                ..replacement("api", "2")
            },
            "UpdateComponent.PreviousComponentNotSettable",
            "previous_component_id",
        ),
    ] {
        let refused = replace(world, &second.slug, input).await.unwrap_err();
        assert_eq!(refused.code().unwrap().to_string(), expected);
        assert_eq!(locations::<()>(Err(refused)), [location]);
    }
    let same = ReplaceComponent {
        slug: Some(second.slug.clone()),
        previous_component_id: Some(first.id),
        ..replacement("api", "2")
    };
    let replaced = replace(world, &second.slug, same).await.unwrap();
    assert_eq!(replaced.previous_component_id, Some(first.id));
}

async fn what_a_release_contains_stays(world: &World) {
    let component = create(world, versioned("api", "1")).await.unwrap();
    for number in 0..7 {
        releases::create(world, &format!("r.{number}"), &[component.id])
            .await
            .unwrap();
    }
    let refused = delete(world, &component.slug).await.unwrap_err();
    assert_eq!(
        refused.code().unwrap().to_string(),
        "DeleteComponent.InUseConflict"
    );
    assert_eq!(
        detail(refused),
        "the component is in use by releases r-0, r-1, r-2, r-3, r-4 and others"
    );
    for number in 0..7 {
        releases::delete(world, &format!("r-{number}")).await.unwrap();
    }
    delete(world, &component.slug).await.unwrap();
}

async fn components_stay_in_their_organization(world: &World) {
    let mine = create(world, versioned("api", "1")).await.unwrap();
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.theirs, NOW);
    let refused = components::replace(&mut change, &mine.slug, replacement("x", "1")).await;
    assert_eq!(code(refused), "UpdateComponent.NotFound");
    let refused = components::delete(&mut change, &mine.slug).await;
    assert_eq!(code(refused), "DeleteComponent.NotFound");
    // The same name, version and slug are free there.
    components::create(&mut change, versioned("api", "1"))
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let refused = components::get(&world.store, &world.theirs, "nothing").await;
    assert_eq!(code(refused), "GetComponent.NotFound");
    let listed = components::list(&world.store, &world.mine, Page::first(9))
        .await
        .unwrap();
    assert_eq!((listed.items, listed.next), (vec![mine], None));
}

async fn an_outdated_change_is_refused(world: &World) {
    let seen = create(world, versioned("api", "1")).await.unwrap();
    let expected = Expected::OneOf(vec![revision::of(&seen)]);
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW).expecting(expected);
    components::replace(&mut change, &seen.slug, replacement("api", "2"))
        .await
        .unwrap();
    let refused = components::replace(&mut change, &seen.slug, replacement("api", "3")).await;
    assert_eq!(code(refused), "UpdateComponent.PreconditionFailed");
    let refused = components::delete(&mut change, &seen.slug).await;
    assert_eq!(code(refused), "DeleteComponent.PreconditionFailed");
}

async fn every_fault_is_told(world: &World) {
    let bad = CreateComponent {
        name: " ".into(),
        version: "1".repeat(MAX_VERSION + 1),
        slug: Some("-".into()),
        description: Some("x".repeat(MAX_DESCRIPTION + 1)),
        previous_component_id: None,
    };
    assert_eq!(
        locations(create(world, bad).await),
        ["name", "version", "slug", "description"]
    );
    create(world, versioned("api", "1")).await.unwrap();
    let bad = ReplaceComponent {
        description: Some("\0".into()),
        ..replacement("\n", "")
    };
    assert_eq!(
        locations(replace(world, "api-1", bad).await),
        ["name", "version", "description"]
    );
    let longest = CreateComponent {
        description: Some("x".repeat(MAX_DESCRIPTION)),
        ..versioned(&"n".repeat(255), &"1".repeat(MAX_VERSION))
    };
    create(world, longest).await.unwrap();
}
