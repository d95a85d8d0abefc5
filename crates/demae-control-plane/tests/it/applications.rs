//! Applications, as the surfaces that have them see them.

use demae_control_plane::{
    Actor, DomainError,
    applications::{self, Application, ApplicationInput, Key},
};
use demae_event::{ApplicationId, Scope, Timestamp};
use demae_store::{entity::application, repository::Page};
use sea_orm::EntityTrait;
use serde_json::Value;

use crate::{
    stock::change,
    support::{NOW, World, code, locations},
};

on_both_databases!(
    an_application_is_made_read_changed_and_deleted_and_all_of_it_is_audited,
    another_organization_s_application_is_not_there,
    the_default_application_is_there_and_stays,
    what_is_wrong_is_refused,
    an_organization_has_so_many_applications,
);

const LATER: Timestamp = Timestamp::from_secs(1_790_000_060);

fn input(name: &str, uid: Option<&str>) -> ApplicationInput {
    ApplicationInput {
        name: name.to_owned(),
        uid: uid.map(str::to_owned),
    }
}

async fn create(world: &World, actor: &Actor, input: ApplicationInput) -> Result<Application, DomainError> {
    change(world, actor, NOW, async |change| {
        applications::create(change, input).await
    })
    .await
}

async fn replace(
    world: &World,
    actor: &Actor,
    id: ApplicationId,
    input: ApplicationInput,
) -> Result<Application, DomainError> {
    change(world, actor, LATER, async |change| {
        applications::replace(change, id, input).await
    })
    .await
}

async fn delete(world: &World, actor: &Actor, id: ApplicationId) -> Result<(), DomainError> {
    change(world, actor, LATER, async |change| {
        applications::delete(change, id).await
    })
    .await
}

async fn list(world: &World, actor: &Actor) -> Vec<Application> {
    let listing = applications::list(&world.store, actor, Page::first(9)).await;
    listing.unwrap().items
}

async fn an_application_is_made_read_changed_and_deleted_and_all_of_it_is_audited(world: &World) {
    let made = create(world, &world.mine, input("Shop", Some("shop")))
        .await
        .unwrap();
    assert_eq!((made.version, made.created_at, made.updated_at), (0, NOW, NOW));
    let scope = Scope::new(world.mine.organization_id, Some(made.id));
    assert_eq!(made.scope(&world.mine), scope);
    for key in [Key::Id(made.id), Key::Uid("shop")] {
        let read = applications::get(&world.store, &world.mine, key).await.unwrap();
        assert_eq!(read, made);
    }
    assert_eq!(list(world, &world.mine).await[1..], *std::slice::from_ref(&made));

    let renamed = replace(world, &world.mine, made.id, input("Store", None))
        .await
        .unwrap();
    let expected = Application {
        name: "Store".to_owned(),
        uid: None,
        version: 1,
        updated_at: LATER,
        ..made.clone()
    };
    assert_eq!(renamed, expected);
    let read = applications::get(&world.store, &world.mine, Key::Id(made.id)).await;
    assert_eq!(read.unwrap(), expected);

    delete(world, &world.mine, made.id).await.unwrap();
    let gone = applications::get(&world.store, &world.mine, Key::Id(made.id)).await;
    assert_eq!(code(gone), "GetApplication.NotFound");
    assert_eq!(
        code(delete(world, &world.mine, made.id).await),
        "DeleteApplication.NotFound"
    );

    let audited = world.audited().await;
    let told: Vec<_> = audited
        .iter()
        .map(|entry| {
            let shown: Value = serde_json::from_str(&entry.payload).unwrap();
            (
                entry.event_name.as_str(),
                entry.resource_id,
                shown["name"].clone(),
            )
        })
        .collect();
    let expected = [
        ("APPLICATION_CREATION", "Shop"),
        ("APPLICATION_UPDATE", "Store"),
        ("APPLICATION_DELETION", "Store"),
    ]
    .map(|(event, name)| (event, made.id.0, Value::from(name)));
    assert_eq!(told, expected);
    assert!(world.events().await.is_empty(), "there is no event about it");
}

async fn another_organization_s_application_is_not_there(world: &World) {
    let mine = create(world, &world.mine, input("Shop", Some("shop")))
        .await
        .unwrap();
    // The same client id there is another application.
    let theirs = create(world, &world.theirs, input("Shop", Some("shop")))
        .await
        .unwrap();
    assert_ne!(theirs.id, mine.id);
    let found = applications::get(&world.store, &world.theirs, Key::Uid("shop")).await;
    assert_eq!(found.unwrap(), theirs);
    let strange = applications::get(&world.store, &world.theirs, Key::Id(mine.id)).await;
    assert_eq!(code(strange), "GetApplication.NotFound");
    let changed = replace(world, &world.theirs, mine.id, input("Stolen", None)).await;
    assert_eq!(code(changed), "UpdateApplication.NotFound");
    let deleted = delete(world, &world.theirs, mine.id).await;
    assert_eq!(code(deleted), "DeleteApplication.NotFound");
    assert_eq!(list(world, &world.mine).await[1..], [mine]);
}

async fn the_default_application_is_there_and_stays(world: &World) {
    let organization = world.mine.organization_id;
    let [default] = &list(world, &world.mine).await[..] else {
        panic!("one application");
    };
    assert_eq!(default.id, ApplicationId::default_of(organization));
    assert_eq!(default.name, "Mine");
    assert!(default.scope(&world.mine).is_default());
    let deleted = delete(world, &world.mine, default.id).await;
    assert_eq!(code(deleted), "DeleteApplication.DefaultApplication");
    let renamed = replace(world, &world.mine, default.id, input("Main", Some("main"))).await;
    assert_eq!(renamed.unwrap().uid.as_deref(), Some("main"));
}

async fn what_is_wrong_is_refused(world: &World) {
    let wrong = input(" ", Some("\u{0}"));
    assert_eq!(
        locations(create(world, &world.mine, wrong).await),
        ["name", "uid"]
    );
    let long = "x".repeat(applications::MAX_UID + 1);
    let refused = create(world, &world.mine, input("A", Some(&long))).await;
    assert_eq!(locations(refused), ["uid"]);
    create(world, &world.mine, input("A", Some("a"))).await.unwrap();
    let taken = create(world, &world.mine, input("B", Some("a"))).await;
    assert_eq!(code(taken), "CreateApplication.UidConflict");
    let other = create(world, &world.mine, input("B", Some("b"))).await.unwrap();
    let taken = replace(world, &world.mine, other.id, input("B", Some("a"))).await;
    assert_eq!(code(taken), "UpdateApplication.UidConflict");
    let names: Vec<String> = list(world, &world.mine)
        .await
        .into_iter()
        .map(|application| application.name)
        .collect();
    assert_eq!(names, ["Mine", "A", "B"]);
}

async fn an_organization_has_so_many_applications(world: &World) {
    let organization = world.mine.organization_id;
    // With the default one, all but one.
    let rows: Vec<_> = (2..applications::MAX_APPLICATIONS)
        .map(|_| application::Model {
            id: ApplicationId::new(NOW).0,
            organization_id: organization.0,
            uid: None,
            name: "One of many".to_owned(),
            version: 0,
            created_at: NOW.as_micros(),
            updated_at: NOW.as_micros(),
            deleted_at: None,
        })
        .collect();
    let transaction = world.begin().await;
    for part in rows.chunks(1_000) {
        let part = part.iter().cloned().map(application::ActiveModel::from);
        application::Entity::insert_many(part)
            .exec_without_returning(transaction.connection())
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    let last = create(world, &world.mine, input("Last", None)).await.unwrap();
    let refused = create(world, &world.mine, input("Too many", None)).await;
    assert_eq!(code(refused), "CreateApplication.LimitReached");
    create(world, &world.theirs, input("Others have their own", None))
        .await
        .unwrap();
    delete(world, &world.mine, last.id).await.unwrap();
    create(world, &world.mine, input("Again", None)).await.unwrap();
}
