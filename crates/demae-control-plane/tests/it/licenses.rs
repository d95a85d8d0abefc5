//! Licenses: versions, the default, the lifecycle, and what happens when many write at once.

use std::collections::BTreeSet;

use demae_control_plane::{
    Actor, Amount, Change, DomainError, EntitlementType, EntitlementValue,
    customers::{self, CreateCustomer},
    licenses::{self, License, LicenseInput, LicenseType, LifecycleState, MAX_VERSION},
    revision::{self, Expected},
};
use demae_store::{
    Store,
    entity::{entitlement, entitlement_usage, instance},
    repository::Page,
};
use futures::future::join_all;
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    entitlements::{self, grant},
    support::{NOW, World, code, detail, locations},
};

on_both_databases!(
    a_license_and_its_events_are_one,
    versions_count_per_name,
    a_version_is_taken_once,
    taking_the_default_takes_it_from_the_previous_one,
    only_what_is_published_is_the_default,
    a_license_moves_through_its_states,
    the_older_form_of_the_state_is_taken,
    what_cannot_be_set_is_refused,
    every_fault_is_told,
    slugs_follow_the_rules,
    what_is_in_use_stays,
    licenses_stay_in_their_organization,
    an_outdated_change_is_refused,
    writers_at_once_leave_one_default_and_no_gap,
    writers_at_once_take_a_version_once,
);

async fn create_as(store: &Store, actor: &Actor, input: LicenseInput) -> Result<License, DomainError> {
    let mut transaction = store.begin().await.unwrap();
    let mut change = Change::new(&mut transaction, actor, NOW);
    let license = licenses::create(&mut change, input).await?;
    transaction.commit().await.unwrap();
    Ok(license)
}

async fn create(world: &World, input: LicenseInput) -> Result<License, DomainError> {
    create_as(&world.store, &world.mine, input).await
}

pub(crate) async fn create_named(world: &World, name: &str) -> License {
    create(world, named(name)).await.unwrap()
}

async fn replace(world: &World, slug: &str, input: LicenseInput) -> Result<License, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let license = licenses::replace(&mut change, slug, input).await?;
    transaction.commit().await.unwrap();
    Ok(license)
}

async fn delete(world: &World, slug: &str) -> Result<License, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let license = licenses::delete(&mut change, slug).await?;
    transaction.commit().await.unwrap();
    Ok(license)
}

fn named(name: &str) -> LicenseInput {
    LicenseInput::new(name, LicenseType::Paid)
}

fn default(name: &str) -> LicenseInput {
    LicenseInput {
        is_default: true,
        ..named(name)
    }
}

fn shown(license: &License) -> Value {
    serde_json::to_value(license).unwrap()
}

async fn a_license_and_its_events_are_one(world: &World) {
    let input = LicenseInput {
        description: "Everything,\nwith support.".into(),
        ..named("Enterprise")
    };
    let created = create(world, input).await.unwrap();
    let user = json!({"id": world.mine.id, "name": "Administrator"});
    let expected = json!({
        "id": created.id, "name": "Enterprise", "slug": "enterprise", "description": "Everything,\nwith support.",
        "type": "PAID", "version": "1", "versionName": "Version - 1", "isDefault": false, "isActive": true,
        "lifecycleState": "PUBLISHED",
        "createdAt": "2026-09-21T14:13:20.000Z", "createdBy": user,
        "updatedAt": "2026-09-21T14:13:20.000Z", "updatedBy": user,
    });
    assert_eq!(shown(&created), expected);
    let input = LicenseInput {
        version_name: Some("Winter".into()),
        kind: LicenseType::Trial,
        ..named("Trial")
    };
    let replaced = replace(world, "enterprise", input).await.unwrap();
    assert_eq!(
        (replaced.version.as_str(), replaced.version_name.as_str()),
        ("1", "Winter")
    );
    assert_eq!(replaced.description, "");
    assert!(replaced.stamps.updated_at > created.stamps.updated_at);
    assert_eq!(
        licenses::get(&world.store, &world.mine, "enterprise")
            .await
            .unwrap(),
        replaced
    );
    delete(world, "enterprise").await.unwrap();
    let replaced = shown(&replaced);
    world
        .assert_events(&[
            ("LICENSE_CREATION", &expected),
            ("LICENSE_UPDATE", &replaced),
            ("LICENSE_DELETION", &replaced),
        ])
        .await;
    let audited = world.audited().await;
    assert!(
        audited
            .iter()
            .all(|entry| (entry.resource.as_str(), entry.resource_id) == ("license", created.id))
    );
    assert_eq!(audited.len(), 3);
    assert_eq!(code(delete(world, "enterprise").await), "DeleteLicense.NotFound");
}

async fn versions_count_per_name(world: &World) {
    let versions = async |name: &str| create_named(world, name).await.version;
    assert_eq!(versions("Growth").await, "1");
    assert_eq!(versions("Growth").await, "2");
    assert_eq!(versions("Starter").await, "1");
    let sent = LicenseInput {
        version: Some(7),
        ..named("Growth")
    };
    assert_eq!(create(world, sent).await.unwrap().version, "7");
    assert_eq!(versions("Growth").await, "8");
    let theirs = create_as(&world.store, &world.theirs, named("Growth"))
        .await
        .unwrap();
    assert_eq!(theirs.version, "1");
}

async fn a_version_is_taken_once(world: &World) {
    let first = create_named(world, "Growth").await;
    let again = LicenseInput {
        version: Some(1),
        ..named("Growth")
    };
    let refused = create(world, again).await.unwrap_err();
    assert_eq!(
        refused.code().unwrap().to_string(),
        "CreateLicense.VersionConflict"
    );
    assert_eq!(
        detail(refused),
        "there is a license \"Growth\" at version 1 already"
    );
    let other = create_named(world, "Starter").await;
    let refused = replace(world, &other.slug, named("Growth")).await;
    assert_eq!(code(refused), "UpdateLicense.VersionConflict");
    delete(world, &first.slug).await.unwrap();
    let renamed = replace(world, &other.slug, named("Growth")).await.unwrap();
    assert_eq!(
        (renamed.slug.as_str(), renamed.version.as_str()),
        ("starter", "1")
    );
}

async fn taking_the_default_takes_it_from_the_previous_one(world: &World) {
    let first = create(world, default("First")).await.unwrap();
    let second = create(world, default("Second")).await.unwrap();
    let third = create_named(world, "Third").await;
    let theirs = create_as(&world.store, &world.theirs, default("First"))
        .await
        .unwrap();
    let is_default = async |slug: &str| {
        let license = licenses::get(&world.store, &world.mine, slug).await.unwrap();
        license.is_default
    };
    assert_eq!(
        (is_default("first").await, is_default("second").await),
        (false, true)
    );
    replace(world, "third", default("Third")).await.unwrap();
    assert_eq!(
        (is_default("second").await, is_default("third").await),
        (false, true)
    );
    // Keeping it takes it from nobody; leaving it out gives it up.
    replace(world, "third", default("Third")).await.unwrap();
    replace(world, "third", named("Third")).await.unwrap();
    assert!(!is_default("third").await);
    let events: Vec<(String, Value, Value)> = world
        .events()
        .await
        .iter()
        .map(|event| {
            let data: Value = serde_json::from_str(event.data.get()).unwrap();
            (event.name.clone(), data["id"].clone(), data["isDefault"].clone())
        })
        .collect();
    let event = |name: &str, license: &License, is_default: bool| {
        (name.to_owned(), json!(license.id), json!(is_default))
    };
    assert_eq!(
        events,
        [
            event("LICENSE_CREATION", &first, true),
            event("LICENSE_UPDATE", &first, false),
            event("LICENSE_CREATION", &second, true),
            event("LICENSE_CREATION", &third, false),
            event("LICENSE_CREATION", &theirs, true),
            event("LICENSE_UPDATE", &second, false),
            event("LICENSE_UPDATE", &third, true),
            event("LICENSE_UPDATE", &third, true),
            event("LICENSE_UPDATE", &third, false),
        ]
    );
}

async fn only_what_is_published_is_the_default(world: &World) {
    let draft = |is_default| LicenseInput {
        lifecycle_state: Some(LifecycleState::Draft),
        is_default,
        ..named("Draft")
    };
    assert_eq!(
        code(create(world, draft(true)).await),
        "CreateLicense.DefaultMustBePublished"
    );
    create(world, draft(false)).await.unwrap();
    assert_eq!(
        code(replace(world, "draft", default("Draft")).await),
        "UpdateLicense.DefaultMustBePublished"
    );
    create(world, default("Live")).await.unwrap();
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    assert_eq!(
        code(licenses::archive(&mut change, "live").await),
        "ArchiveLicense.DefaultMustBePublished"
    );
}

async fn a_license_moves_through_its_states(world: &World) {
    let draft = LicenseInput {
        lifecycle_state: Some(LifecycleState::Draft),
        ..named("Draft")
    };
    let draft = create(world, draft).await.unwrap();
    assert!(!draft.is_active);
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let mut last = draft.stamps.updated_at;
    for (step, expected) in [
        ("archive", Err("ArchiveLicense.NotPublished")),
        ("unarchive", Err("UnarchiveLicense.NotArchived")),
        ("publish", Ok(LifecycleState::Published)),
        ("publish", Err("PublishLicense.NotADraft")),
        ("archive", Ok(LifecycleState::Archived)),
        ("publish", Err("PublishLicense.NotADraft")),
        ("unarchive", Ok(LifecycleState::Published)),
    ] {
        let moved = match step {
            "publish" => licenses::publish(&mut change, "draft").await,
            "archive" => licenses::archive(&mut change, "draft").await,
            _ => licenses::unarchive(&mut change, "draft").await,
        };
        match expected {
            Ok(state) => {
                let license = moved.unwrap();
                assert_eq!(license.lifecycle_state, state);
                assert_eq!(license.is_active, state == LifecycleState::Published);
                assert!(license.stamps.updated_at > last);
                last = license.stamps.updated_at;
            }
            Err(reason) => assert_eq!(code(moved), reason),
        }
    }
    let unknown = licenses::publish(&mut change, "nobody").await;
    assert_eq!(code(unknown), "PublishLicense.NotFound");
    transaction.commit().await.unwrap();
    let names = world.event_names().await;
    let update = "LICENSE_UPDATE";
    assert_eq!(names, ["LICENSE_CREATION", update, update, update]);
}

async fn the_older_form_of_the_state_is_taken(world: &World) {
    let active = |is_active| LicenseInput {
        is_active: Some(is_active),
        ..named("Older")
    };
    let created = create(world, active(false)).await.unwrap();
    assert_eq!(created.lifecycle_state, LifecycleState::Draft);
    for (is_active, state) in [
        (false, LifecycleState::Draft),
        (true, LifecycleState::Published),
        (false, LifecycleState::Archived),
        (false, LifecycleState::Archived),
        (true, LifecycleState::Published),
    ] {
        let license = replace(world, "older", active(is_active)).await.unwrap();
        assert_eq!(license.lifecycle_state, state);
    }
    let contradictory = LicenseInput {
        lifecycle_state: Some(LifecycleState::Draft),
        ..active(true)
    };
    assert_eq!(locations(create(world, contradictory).await), ["is_active"]);
}

async fn what_cannot_be_set_is_refused(world: &World) {
    create_named(world, "Fixed").await;
    let with = |set: fn(&mut LicenseInput)| {
        let mut input = named("Fixed");
        set(&mut input);
        input
    };
    let family = with(|input| input.family_slug = Some("any".into()));
    assert_eq!(
        code(create(world, family.clone()).await),
        "CreateLicense.FamilyNotFound"
    );
    let archived = with(|input| input.lifecycle_state = Some(LifecycleState::Archived));
    assert_eq!(
        code(create(world, archived.clone()).await),
        "CreateLicense.LifecycleStateNotSettable"
    );
    for (input, reason, location) in [
        (
            with(|input| input.slug = Some("moved".into())),
            "SlugNotRenameable",
            "slug",
        ),
        (
            with(|input| input.version = Some(2)),
            "VersionNotSettable",
            "version",
        ),
        (archived, "LifecycleStateNotSettable", "lifecycle_state"),
        (family, "FamilyNotReassignable", "family_id"),
    ] {
        let refused = replace(world, "fixed", input).await.unwrap_err();
        assert_eq!(
            refused.code().unwrap().to_string(),
            format!("UpdateLicense.{reason}")
        );
        assert_eq!(locations::<()>(Err(refused)), [location]);
    }
    let same = with(|input| {
        input.slug = Some("fixed".into());
        input.version = Some(1);
        input.lifecycle_state = Some(LifecycleState::Published);
        input.is_active = Some(true);
    });
    assert!(replace(world, "fixed", same).await.is_ok());
}

async fn every_fault_is_told(world: &World) {
    let bad = LicenseInput {
        slug: Some("-".into()),
        description: "x".repeat(501),
        version: Some(0),
        version_name: Some(" ".into()),
        ..named("\u{7}")
    };
    let expected = ["name", "slug", "description", "version", "version_name"];
    assert_eq!(locations(create(world, bad).await), expected);
    let highest = |version| LicenseInput {
        version: Some(version),
        ..named("Highest")
    };
    assert_eq!(
        locations(create(world, highest(MAX_VERSION + 1)).await),
        ["version"]
    );
    create(world, highest(MAX_VERSION)).await.unwrap();
    // Counting goes on beyond what a caller may send.
    assert_eq!(
        create_named(world, "Highest").await.version,
        (MAX_VERSION + 1).to_string()
    );
}

async fn slugs_follow_the_rules(world: &World) {
    assert_eq!(create_named(world, "Growth").await.slug, "growth");
    let second = create_named(world, "Growth").await;
    assert_eq!(second.slug.strip_prefix("growth-").unwrap().len(), 6);
    let taken = LicenseInput {
        slug: Some("growth".into()),
        is_default: true,
        ..named("Other")
    };
    assert_eq!(code(create(world, taken).await), "CreateLicense.SlugConflict");
    assert_eq!(world.event_names().await, ["LICENSE_CREATION"; 2]);
}

async fn what_is_in_use_stays(world: &World) {
    create_named(world, "Enterprise").await;
    entitlements::create(world, entitlements::typed("Seats", EntitlementType::Number))
        .await
        .unwrap();
    grant(
        world,
        "enterprise",
        "seats",
        EntitlementValue::number(Amount::from(5)),
    )
    .await;
    instance_under(world, "enterprise").await;
    let refused = delete(world, "enterprise").await.unwrap_err();
    assert_eq!(refused.code().unwrap().to_string(), "DeleteLicense.InUseConflict");
    assert_eq!(
        detail(refused),
        "the license is in use by instances production; grants of entitlements seats"
    );
}

async fn licenses_stay_in_their_organization(world: &World) {
    let first = create_named(world, "First").await;
    let second = create_named(world, "Second").await;
    assert_eq!(
        code(licenses::get(&world.store, &world.theirs, "first").await),
        "GetLicense.NotFound"
    );
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.theirs, NOW);
    let refused = licenses::replace(&mut change, "first", named("X")).await;
    assert_eq!(code(refused), "UpdateLicense.NotFound");
    let refused = licenses::archive(&mut change, "first").await;
    assert_eq!(code(refused), "ArchiveLicense.NotFound");
    let refused = licenses::delete(&mut change, "first").await;
    assert_eq!(code(refused), "DeleteLicense.NotFound");
    drop(transaction);
    let listed = licenses::list(&world.store, &world.mine, Page::first(1))
        .await
        .unwrap();
    assert_eq!((listed.items, listed.next), (vec![first.clone()], Some(first.id)));
    let page = Page {
        limit: 9,
        after: listed.next,
    };
    let listed = licenses::list(&world.store, &world.mine, page).await.unwrap();
    assert_eq!((listed.items, listed.next), (vec![second], None));
}

async fn an_outdated_change_is_refused(world: &World) {
    let seen = create_named(world, "Growth").await;
    replace(world, "growth", named("Grown")).await.unwrap();
    let expected = Expected::OneOf(vec![revision::of(&seen)]);
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW).expecting(expected);
    let refused = licenses::replace(&mut change, "growth", named("Lost")).await;
    assert_eq!(code(refused), "UpdateLicense.PreconditionFailed");
    let refused = licenses::archive(&mut change, "growth").await;
    assert_eq!(code(refused), "ArchiveLicense.PreconditionFailed");
    let refused = licenses::delete(&mut change, "growth").await;
    assert_eq!(code(refused), "DeleteLicense.PreconditionFailed");
}

/// Half of them create a default of the same name, half make one that exists the default.
async fn writers_at_once_leave_one_default_and_no_gap(world: &World) {
    const WRITERS: i64 = 12;
    for number in 0..WRITERS {
        create_named(world, &format!("Old {number}")).await;
    }
    let creators = join_all((0..WRITERS).map(|_| create(world, default("New"))));
    let takers = join_all((0..WRITERS).map(|number| async move {
        replace(world, &format!("old-{number}"), default(&format!("Old {number}"))).await
    }));
    let (created, taken) = futures::join!(creators, takers);
    let versions: BTreeSet<i64> = created
        .iter()
        .map(|license| license.as_ref().unwrap().version.parse().unwrap())
        .collect();
    assert_eq!(versions, (1..=WRITERS).collect());
    assert!(taken.iter().all(Result::is_ok), "{taken:?}");
    let listed = licenses::list(&world.store, &world.mine, Page::first(100))
        .await
        .unwrap();
    assert_eq!(
        listed.items.iter().filter(|license| license.is_default).count(),
        1
    );
    // Whoever applies the events in their order never sees two defaults.
    let mut defaults = BTreeSet::new();
    for event in world.events().await {
        let data: Value = serde_json::from_str(event.data.get()).unwrap();
        let id = data["id"].as_str().unwrap().to_owned();
        if data["isDefault"] == true {
            defaults.insert(id);
        } else {
            defaults.remove(&id);
        }
        assert!(defaults.len() <= 1, "{defaults:?}");
    }
    assert_eq!(defaults.len(), 1);
}

async fn writers_at_once_take_a_version_once(world: &World) {
    let outcomes = join_all((0..12).map(|_| {
        let input = LicenseInput {
            version: Some(7),
            ..named("Same")
        };
        create(world, input)
    }))
    .await;
    let (created, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(created.len(), 1);
    for refused in refused {
        assert_eq!(code(refused), "CreateLicense.VersionConflict");
    }
    assert_eq!(world.event_names().await, ["LICENSE_CREATION"]);
}

/// An instance called `production` under this license; answers its id.
pub(crate) async fn instance_under(world: &World, license: &str) -> Uuid {
    let license = licenses::get(&world.store, &world.mine, license).await.unwrap();
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let customer = CreateCustomer {
        name: "Acme".into(),
        ..CreateCustomer::default()
    };
    let customer = customers::create(&mut change, customer).await.unwrap();
    let id = demae_event::id::new_uuid(NOW);
    let now = NOW.as_micros();
    let row = instance::Model {
        id,
        organization_id: world.mine.organization_id.0,
        slug: "production".into(),
        name: "Production".into(),
        description: String::new(),
        customer_id: customer.id,
        license_id: license.id,
        deployment_zone_id: None,
        start_license_date: now,
        end_license_date: now + 1,
        metadata: "{}".into(),
        status: "HEALTHY".into(),
        lifecycle_stage: None,
        integrations: "{}".into(),
        created_at: now,
        created_by_id: world.mine.id,
        created_by_name: None,
        updated_at: now,
        updated_by_id: world.mine.id,
        updated_by_name: None,
    };
    let row = instance::ActiveModel::from(row);
    row.insert(transaction.connection()).await.unwrap();
    transaction.commit().await.unwrap();
    id
}

/// Something that the instance has used of an entitlement.
pub(crate) async fn usage_of(world: &World, instance: Uuid, entitlement: &str) {
    let entitlement = entitlement::Entity::find()
        .filter(entitlement::Column::OrganizationId.eq(world.mine.organization_id.0))
        .filter(entitlement::Column::Slug.eq(entitlement))
        .one(world.store.reader())
        .await
        .unwrap()
        .unwrap();
    let row = entitlement_usage::Model {
        instance_id: instance,
        entitlement_id: entitlement.id,
        organization_id: world.mine.organization_id.0,
        value: "1".into(),
        total: "1".into(),
        event_count: 1,
        period_start: None,
        period_end: None,
        updated_at: NOW.as_micros(),
    };
    let transaction = world.begin().await;
    let row = entitlement_usage::ActiveModel::from(row);
    row.insert(transaction.connection()).await.unwrap();
    transaction.commit().await.unwrap();
}
