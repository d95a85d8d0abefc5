//! Releases and their events.

use demae_control_plane::{
    Change, DomainError,
    components::{self, MAX_VERSION, ReplaceComponent},
    fields::MAX_DESCRIPTION,
    releases::{self, CreateRelease, MAX_COMPONENTS, Release},
    revision::{self, Expected},
};
use demae_store::repository::Page;
use serde_json::json;
use uuid::Uuid;

use crate::{
    components::versioned,
    deployment_zones::{self as zones, running},
    support::{NOW, World, code, detail, locations},
};

on_both_databases!(
    a_release_and_its_events_are_one,
    components_are_listed_in_their_order,
    a_version_is_there_once,
    slugs_are_made_of_the_version,
    components_must_be_there,
    what_was_deployed_stays,
    releases_stay_in_their_organization,
    an_outdated_deletion_is_refused,
    every_fault_is_told,
);

async fn attempt(world: &World, input: CreateRelease) -> Result<Release, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let release = releases::create(&mut change, input).await?;
    transaction.commit().await.unwrap();
    Ok(release)
}

pub(crate) async fn create(
    world: &World,
    version: &str,
    components: &[Uuid],
) -> Result<Release, DomainError> {
    let input = CreateRelease {
        version: version.to_owned(),
        component_ids: components.to_vec(),
        ..Default::default()
    };
    attempt(world, input).await
}

pub(crate) async fn delete(world: &World, slug: &str) -> Result<Release, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let release = releases::delete(&mut change, slug).await?;
    transaction.commit().await.unwrap();
    Ok(release)
}

async fn component(world: &World, name: &str) -> Uuid {
    crate::components::create(world, versioned(name, "1"))
        .await
        .unwrap()
        .id
}

async fn a_release_and_its_events_are_one(world: &World) {
    let api = component(world, "api").await;
    let input = CreateRelease {
        version: "2026.2.0".into(),
        description: Some("Faster".into()),
        component_ids: vec![api],
        slug: None,
    };
    let release = attempt(world, input).await.unwrap();
    let part = components::get(&world.store, &world.mine, "api-1").await.unwrap();
    let user = json!({"id": world.mine.id, "name": "Administrator"});
    let shown = json!({
        "id": release.id, "version": "2026.2.0", "slug": "2026-2-0", "description": "Faster",
        "components": [part], "createdAt": "2026-09-21T14:13:20.000Z", "createdBy": user,
    });
    assert_eq!(serde_json::to_value(&release).unwrap(), shown);
    let kept = releases::get(&world.store, &world.mine, "2026-2-0")
        .await
        .unwrap();
    assert_eq!(kept, release);
    assert_eq!(delete(world, "2026-2-0").await.unwrap(), release);
    let told = [("RELEASE_CREATION", &shown), ("RELEASE_DELETION", &shown)];
    world.assert_events(&told).await;
    let audited = world.audited().await;
    let subjects: Vec<_> = audited
        .iter()
        .filter(|entry| entry.resource == "release")
        .map(|entry| {
            (
                entry.event_name.as_str(),
                entry.resource_id,
                entry.resource_slug.as_str(),
            )
        })
        .collect();
    assert_eq!(
        subjects,
        [
            ("RELEASE_CREATION", release.id, "2026-2-0"),
            ("RELEASE_DELETION", release.id, "2026-2-0")
        ]
    );
    assert_eq!(
        code(releases::get(&world.store, &world.mine, "2026-2-0").await),
        "GetRelease.NotFound"
    );
}

async fn components_are_listed_in_their_order(world: &World) {
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(component(world, name).await);
    }
    let backwards: Vec<Uuid> = ids.iter().rev().copied().collect();
    let first = create(world, "first", &backwards).await.unwrap();
    let empty = create(world, "empty", &[]).await.unwrap();
    let last = create(world, "last", &[ids[1], ids[0]]).await.unwrap();
    let parts = |release: &Release| release.components.iter().map(|part| part.id).collect::<Vec<_>>();
    assert_eq!(parts(&first), backwards);
    let listed = releases::list(&world.store, &world.mine, Page::first(2))
        .await
        .unwrap();
    assert_eq!(listed.items, [first.clone(), empty]);
    let page = Page {
        limit: 2,
        after: listed.next,
    };
    let listed = releases::list(&world.store, &world.mine, page).await.unwrap();
    assert_eq!((listed.items, listed.next), (vec![last], None));
    // A component that gets another name has it in every release.
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let input = ReplaceComponent {
        name: "renamed".into(),
        version: "1".into(),
        ..Default::default()
    };
    components::replace(&mut change, "c-1", input).await.unwrap();
    transaction.commit().await.unwrap();
    let shown = releases::get(&world.store, &world.mine, &first.slug)
        .await
        .unwrap();
    assert_eq!(shown.components[0].name, "renamed");
}

async fn a_version_is_there_once(world: &World) {
    create(world, "1.0", &[]).await.unwrap();
    let again = CreateRelease {
        version: "1.0".into(),
        slug: Some("other".into()),
        ..Default::default()
    };
    assert_eq!(code(attempt(world, again).await), "CreateRelease.VersionConflict");
    // It is free again when its release is gone.
    delete(world, "1-0").await.unwrap();
    create(world, "1.0", &[]).await.unwrap();
}

async fn slugs_are_made_of_the_version(world: &World) {
    assert_eq!(create(world, "v1.2", &[]).await.unwrap().slug, "v1-2");
    let second = create(world, "v1-2", &[]).await.unwrap().slug;
    assert_eq!(second.strip_prefix("v1-2-").unwrap().len(), 6);
    // Too short for a slug.
    let short = create(world, "7", &[]).await.unwrap().slug;
    assert_eq!(short.strip_prefix("7-").unwrap().len(), 6);
    let taken = CreateRelease {
        version: "3".into(),
        slug: Some("v1-2".into()),
        ..Default::default()
    };
    assert_eq!(code(attempt(world, taken).await), "CreateRelease.SlugConflict");
}

async fn components_must_be_there(world: &World) {
    let mine = component(world, "api").await;
    for ids in [vec![Uuid::nil()], vec![mine, Uuid::nil()]] {
        let refused = create(world, "1", &ids).await;
        assert_eq!(code(refused), "CreateRelease.ComponentNotFound");
    }
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.theirs, NOW);
    let input = CreateRelease {
        version: "1".into(),
        component_ids: vec![mine],
        ..Default::default()
    };
    let refused = releases::create(&mut change, input).await;
    assert_eq!(code(refused), "CreateRelease.ComponentNotFound");
    transaction.rollback().await.unwrap();
    assert_eq!(world.events().await.len(), 0);
}

async fn what_was_deployed_stays(world: &World) {
    let first = create(world, "1.0", &[]).await.unwrap();
    let second = create(world, "2.0", &[]).await.unwrap();
    zones::create(world, running("EU", Some(first.id))).await.unwrap();
    zones::create(world, running("US", Some(first.id))).await.unwrap();
    // Where it once ran counts as well.
    zones::replace(world, "us", running("US", Some(second.id)))
        .await
        .unwrap();
    let before = world.events().await.len();
    let refused = delete(world, "1-0").await.unwrap_err();
    assert_eq!(refused.code().unwrap().to_string(), "DeleteRelease.InUseConflict");
    assert_eq!(
        detail(refused),
        "the release is in use by the history of deployment zones eu, us"
    );
    assert_eq!(world.events().await.len(), before);
    zones::delete(world, "eu").await.unwrap();
    assert_eq!(
        detail(delete(world, "1-0").await.unwrap_err()),
        "the release is in use by the history of deployment zones us"
    );
    // With the last zone its history goes.
    zones::delete(world, "us").await.unwrap();
    delete(world, "1-0").await.unwrap();
    delete(world, "2-0").await.unwrap();
}

async fn releases_stay_in_their_organization(world: &World) {
    let mine = create(world, "1.0", &[]).await.unwrap();
    let refused = releases::get(&world.store, &world.theirs, &mine.slug).await;
    assert_eq!(code(refused), "GetRelease.NotFound");
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.theirs, NOW);
    let refused = releases::delete(&mut change, &mine.slug).await;
    assert_eq!(code(refused), "DeleteRelease.NotFound");
    let input = CreateRelease {
        version: "1.0".into(),
        ..Default::default()
    };
    let theirs = releases::create(&mut change, input).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(theirs.slug, mine.slug);
    let listed = releases::list(&world.store, &world.mine, Page::first(9))
        .await
        .unwrap();
    assert_eq!(listed.items, [mine]);
}

async fn an_outdated_deletion_is_refused(world: &World) {
    let api = component(world, "api").await;
    let seen = create(world, "1.0", &[api]).await.unwrap();
    let mut transaction = world.begin().await;
    let expected = Expected::OneOf(vec!["another".into()]);
    let mut change = Change::new(&mut transaction, &world.mine, NOW).expecting(expected);
    let refused = releases::delete(&mut change, "1-0").await;
    assert_eq!(code(refused), "DeleteRelease.PreconditionFailed");
    let expected = Expected::OneOf(vec![revision::of(&seen)]);
    let mut change = Change::new(&mut transaction, &world.mine, NOW).expecting(expected);
    releases::delete(&mut change, "1-0").await.unwrap();
}

async fn every_fault_is_told(world: &World) {
    let api = component(world, "api").await;
    let bad = CreateRelease {
        version: "1".repeat(MAX_VERSION + 1),
        slug: Some("A".into()),
        description: Some("x".repeat(MAX_DESCRIPTION + 1)),
        component_ids: vec![api, Uuid::nil(), api, api],
    };
    assert_eq!(
        locations(attempt(world, bad).await),
        [
            "version",
            "slug",
            "description",
            "component_ids[2]",
            "component_ids[3]",
        ]
    );
    let ids = vec![api; MAX_COMPONENTS + 1];
    assert_eq!(
        locations(create(world, "", &ids).await),
        ["version", "component_ids"]
    );
}
