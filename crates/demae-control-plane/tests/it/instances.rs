//! Instances and their events.

use std::collections::BTreeMap;

use demae_control_plane::{
    Change, DomainError, EntitlementValue, Stamps, customers, deployment_zones,
    entitlements::EntitlementInput,
    instances::{self, Instance, InstanceInput, PatchInstance, Status},
    integrations::NewIntegration,
    licenses,
    revision::{self, Expected},
    usage::{self, Report},
};
use demae_event::{Event, Timestamp, catalogue};
use demae_store::repository::Page;
use serde_json::{Map, Value, json};

use crate::{
    stock::{Stock, change, entitlement, grant, instance, license, zone},
    support::{NOW, World, code, detail, locations},
};

on_both_databases!(
    events_follow_the_zone,
    a_deleted_zone_can_be_followed_by_a_first_one,
    what_is_left_out_has_a_default,
    a_replacement_keeps_slug_zone_and_dates,
    a_rename_is_followed_and_a_taken_slug_refused,
    references_must_be_there,
    every_fault_is_told,
    nothing_is_left_of_what_is_rolled_back_or_refused,
    an_outdated_change_is_refused,
    a_patch_is_audited_and_silent,
    what_is_used_cannot_be_deleted,
    a_customer_and_its_first_instance_race,
    instances_stay_in_their_organization,
    what_was_used_goes_with_the_instance,
);

async fn replace(world: &World, slug: &str, input: InstanceInput) -> Result<Instance, DomainError> {
    change(world, &world.mine, NOW, async |change| {
        instances::replace(change, slug, input).await
    })
    .await
}

async fn delete(world: &World, slug: &str) -> Result<Instance, DomainError> {
    change(world, &world.mine, NOW, async |change| {
        instances::delete(change, slug).await
    })
    .await
}

/// The events about instances, in order.
async fn events(world: &World) -> Vec<Event> {
    let mut events = world.events().await;
    events.retain(|event| event.name.starts_with("INSTANCE_"));
    events
}

async fn names(world: &World) -> Vec<String> {
    events(world).await.into_iter().map(|event| event.name).collect()
}

async fn events_follow_the_zone(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    let (here, there) = (
        zone(world, &world.mine, "Here").await,
        zone(world, &world.mine, "There").await,
    );
    let bare = || stock.instance("Production");
    let in_zone = |zone| InstanceInput {
        deployment_zone_id: Some(zone),
        ..bare()
    };
    let mut shown = vec![instance(world, &world.mine, bare()).await.unwrap()];
    for input in [
        bare(),
        in_zone(here),
        in_zone(here),
        bare(),
        in_zone(there),
        in_zone(here),
    ] {
        shown.push(replace(world, "production", input).await.unwrap());
    }
    shown.push(delete(world, "production").await.unwrap());
    let expected = [
        ("INSTANCE_CREATION", 0),
        ("INSTANCE_UPDATE", 1),
        ("INSTANCE_UPDATE", 2),
        ("INSTANCE_DEPLOYMENT", 2),
        ("INSTANCE_UPDATE", 3),
        ("INSTANCE_UPDATE", 4),
        ("INSTANCE_UPDATE", 5),
        ("INSTANCE_MIGRATION", 5),
        ("INSTANCE_UPDATE", 6),
        ("INSTANCE_MIGRATION", 6),
        ("INSTANCE_DELETION", 7),
    ];
    assert_eq!(shown[4].deployment_zone_id, Some(here));
    assert_eq!(shown[5].deployment_zone_slug.as_deref(), Some("there"));
    assert_eq!(names(world).await, expected.map(|(name, _)| name));
    for (event, (_, state)) in events(world).await.iter().zip(expected) {
        let data: Value = serde_json::from_str(event.data.get()).unwrap();
        let mut resource = serde_json::to_value(&shown[state]).unwrap();
        resource["organizationId"] = json!(world.mine.organization_id);
        assert_eq!(data, resource, "{}", event.name);
        let schema = catalogue::find(&event.name).unwrap().schema();
        let faults: Vec<String> = jsonschema::validator_for(schema)
            .unwrap()
            .iter_errors(&data)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(faults, [""; 0]);
    }
    // In a zone from the beginning.
    instance(world, &world.mine, in_zone(here)).await.unwrap();
    let names = names(world).await;
    assert_eq!(
        names[expected.len()..],
        ["INSTANCE_CREATION", "INSTANCE_DEPLOYMENT"]
    );
    let entries = world.audited().await;
    let of_instances: Vec<&str> = entries
        .iter()
        .filter(|entry| entry.resource == "instance")
        .map(|entry| entry.event_name.as_str())
        .collect();
    assert_eq!(of_instances, names);
    assert!(
        entries
            .iter()
            .all(|entry| (entry.resource == "instance") == entry.instance_id.is_some())
    );
}

async fn a_deleted_zone_can_be_followed_by_a_first_one(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    let (here, there) = (
        zone(world, &world.mine, "Here").await,
        zone(world, &world.mine, "There").await,
    );
    let in_zone = |zone| InstanceInput {
        deployment_zone_id: Some(zone),
        ..stock.instance("Production")
    };
    instance(world, &world.mine, in_zone(here)).await.unwrap();
    change(world, &world.mine, NOW, async |change| {
        deployment_zones::delete(change, "here").await
    })
    .await
    .unwrap();
    let left = instances::get(&world.store, &world.mine, "production")
        .await
        .unwrap();
    assert_eq!((left.deployment_zone_id, left.deployment_zone_slug), (None, None));
    replace(world, "production", in_zone(there)).await.unwrap();
    assert_eq!(
        names(world).await,
        [
            "INSTANCE_CREATION",
            "INSTANCE_DEPLOYMENT",
            "INSTANCE_UPDATE",
            "INSTANCE_DEPLOYMENT"
        ]
    );
}

async fn what_is_left_out_has_a_default(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    let made = instance(world, &world.mine, stock.instance("Production EU"))
        .await
        .unwrap();
    assert_eq!(
        (made.slug.as_str(), made.description.as_str()),
        ("production-eu", "")
    );
    assert_eq!(
        (made.customer_slug.as_str(), made.license_slug.as_str()),
        ("acme", "gold")
    );
    assert_eq!(
        (made.status, made.lifecycle_stage.as_deref()),
        (Status::Healthy, None)
    );
    assert_eq!(made.start_license_date, NOW);
    assert_eq!(made.start_license_date.to_string(), "2026-09-21T14:13:20.000Z");
    assert_eq!(made.end_license_date.to_string(), "2027-09-21T14:13:20.000Z");
    let start: Timestamp = "2030-02-03T00:00:00Z".parse().unwrap();
    let later = InstanceInput {
        start_license_date: Some(start),
        ..stock.instance("Later")
    };
    let later = instance(world, &world.mine, later).await.unwrap();
    assert_eq!(later.end_license_date.to_string(), "2031-02-03T00:00:00.000Z");
    assert_eq!(
        instances::get(&world.store, &world.mine, "later").await.unwrap(),
        later
    );
}

async fn a_replacement_keeps_slug_zone_and_dates(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    let here = zone(world, &world.mine, "Here").await;
    let integration = NewIntegration {
        external_id: "42".to_owned(),
        ..Default::default()
    };
    let input = InstanceInput {
        slug: Some("prod".to_owned()),
        description: "Long".to_owned(),
        deployment_zone_id: Some(here),
        end_license_date: Some("2099-01-01T00:00:00Z".parse().unwrap()),
        metadata: Map::from_iter([("region".to_owned(), json!("eu"))]),
        ..stock.instance("Production")
    };
    let before = change(world, &world.mine, NOW, async |change| {
        instances::create(change, input, BTreeMap::from([("crm".to_owned(), integration)])).await
    });
    let before = before.await.unwrap();
    let silver = license(world, &world.mine, "Silver").await;
    let input = InstanceInput {
        license_id: silver.id,
        license_slug: Some("silver".to_owned()),
        ..stock.instance("Renamed")
    };
    let after = replace(world, "prod", input).await.unwrap();
    let expected = Instance {
        name: "Renamed".to_owned(),
        description: String::new(),
        license_id: silver.id,
        license_slug: "silver".to_owned(),
        metadata: Map::new(),
        stamps: Stamps {
            updated_at: after.stamps.updated_at,
            ..before.stamps.clone()
        },
        ..before.clone()
    };
    assert_eq!(after, expected);
    assert!(after.stamps.updated_at > before.stamps.updated_at);
    assert_eq!(
        instances::get(&world.store, &world.mine, "prod").await.unwrap(),
        after
    );
}

async fn a_rename_is_followed_and_a_taken_slug_refused(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    instance(world, &world.mine, stock.instance("One")).await.unwrap();
    instance(world, &world.mine, stock.instance("Two")).await.unwrap();
    let called = |slug: &str| InstanceInput {
        slug: Some(slug.to_owned()),
        ..stock.instance("One")
    };
    assert_eq!(
        code(replace(world, "one", called("two")).await),
        "UpdateInstance.SlugConflict"
    );
    assert_eq!(
        code(instance(world, &world.mine, called("two")).await),
        "CreateInstance.SlugConflict"
    );
    assert_eq!(
        replace(world, "one", called("three")).await.unwrap().slug,
        "three"
    );
    assert_eq!(
        code(instances::get(&world.store, &world.mine, "one").await),
        "GetInstance.NotFound"
    );
    assert_eq!(
        replace(world, "three", called("three")).await.unwrap().slug,
        "three"
    );
    assert_eq!(names(world).await.len(), 4);
    // A slug that is taken already is no obstacle where nobody asked for it.
    let third = instance(world, &world.mine, stock.instance("Two")).await.unwrap();
    assert!(third.slug.starts_with("two-"), "{}", third.slug);
}

async fn references_must_be_there(world: &World) {
    let mine = Stock::of(world, &world.mine).await;
    let theirs = Stock::of(world, &world.theirs).await;
    let their_zone = zone(world, &world.theirs, "Theirs").await;
    instance(world, &world.mine, mine.instance("Kept")).await.unwrap();
    for (input, reason) in [
        (
            InstanceInput {
                customer_id: theirs.customer.id,
                ..mine.instance("New")
            },
            "CustomerNotFound",
        ),
        (
            InstanceInput {
                license_id: theirs.license.id,
                ..mine.instance("New")
            },
            "LicenseNotFound",
        ),
        (
            InstanceInput {
                deployment_zone_id: Some(their_zone),
                ..mine.instance("New")
            },
            "DeploymentZoneNotFound",
        ),
        (
            InstanceInput {
                license_slug: Some("silver".to_owned()),
                ..mine.instance("New")
            },
            "Invalid",
        ),
    ] {
        let created = instance(world, &world.mine, input.clone()).await;
        assert_eq!(code(created), format!("CreateInstance.{reason}"));
        let replaced = replace(world, "kept", input).await;
        assert_eq!(code(replaced), format!("UpdateInstance.{reason}"));
    }
    assert_eq!(names(world).await, ["INSTANCE_CREATION"]);
}

async fn every_fault_is_told(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    let bad = InstanceInput {
        slug: Some("-".to_owned()),
        description: "x".repeat(501),
        start_license_date: Some(NOW),
        end_license_date: Some(NOW),
        metadata: Map::from_iter([("a".to_owned(), json!("\0"))]),
        ..stock.instance(" ")
    };
    assert_eq!(
        locations(instance(world, &world.mine, bad).await),
        ["name", "slug", "description", "metadata", "end_license_date"]
    );
    let end_of_time = InstanceInput {
        start_license_date: Some("9999-12-01T00:00:00Z".parse().unwrap()),
        ..stock.instance("Late")
    };
    assert_eq!(
        locations(instance(world, &world.mine, end_of_time).await),
        ["end_license_date"]
    );
    instance(world, &world.mine, stock.instance("Kept"))
        .await
        .unwrap();
    let before_start = InstanceInput {
        end_license_date: Some(Timestamp::from_secs(0)),
        ..stock.instance("Kept")
    };
    assert_eq!(
        locations(replace(world, "kept", before_start).await),
        ["end_license_date"]
    );
}

async fn nothing_is_left_of_what_is_rolled_back_or_refused(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    let before = (world.events().await.len(), world.audited().await.len());
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    instances::create(&mut change, stock.instance("Ghost"), BTreeMap::new())
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(
        code(replace(world, "ghost", stock.instance("Ghost")).await),
        "UpdateInstance.NotFound"
    );
    assert_eq!(code(delete(world, "ghost").await), "DeleteInstance.NotFound");
    assert_eq!((world.events().await.len(), world.audited().await.len()), before);
}

async fn an_outdated_change_is_refused(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    let seen = instance(world, &world.mine, stock.instance("Production"))
        .await
        .unwrap();
    let expected = Expected::OneOf(vec![revision::of(&seen)]);
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW).expecting(expected);
    let status = PatchInstance {
        status: Some(Status::Degraded),
        ..Default::default()
    };
    instances::patch(&mut change, "production", status.clone())
        .await
        .unwrap();
    let refused = instances::replace(&mut change, "production", stock.instance("Production")).await;
    assert_eq!(code(refused), "UpdateInstance.PreconditionFailed");
    let refused = instances::patch(&mut change, "production", status).await;
    assert_eq!(code(refused), "PatchInstance.PreconditionFailed");
    let refused = instances::delete(&mut change, "production").await;
    assert_eq!(code(refused), "DeleteInstance.PreconditionFailed");
}

async fn a_patch_is_audited_and_silent(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    let made = instance(world, &world.mine, stock.instance("Production"))
        .await
        .unwrap();
    let patch = async |patch| {
        change(world, &world.mine, NOW, async |change| {
            instances::patch(change, "production", patch).await
        })
        .await
    };
    let status = PatchInstance {
        status: Some(Status::Incident),
        lifecycle_stage: None,
    };
    patch(status).await.unwrap();
    let stage = PatchInstance {
        status: None,
        lifecycle_stage: Some("AT_RISK".to_owned()),
    };
    let after = patch(stage).await.unwrap();
    assert_eq!(
        (after.status, after.lifecycle_stage.as_deref()),
        (Status::Incident, Some("AT_RISK"))
    );
    assert_eq!(locations(patch(PatchInstance::default()).await), [""]);
    assert_eq!(names(world).await, ["INSTANCE_CREATION"]);
    let entries = world.audited().await;
    let notes: Vec<_> = entries.iter().rev().take(2).rev().collect();
    assert_eq!(notes[0].event_name, "INSTANCE_STATUS_CHANGED");
    assert_eq!(notes[1].event_name, "INSTANCE_LIFECYCLE_STAGE_CHANGED");
    assert!(notes.iter().all(|note| note.instance_id == Some(made.id)));
    // A replacement does not touch them.
    let kept = replace(world, "production", stock.instance("Production"))
        .await
        .unwrap();
    assert_eq!(kept.status, Status::Incident);
    assert_eq!(kept.lifecycle_stage.as_deref(), Some("AT_RISK"));
}

async fn what_is_used_cannot_be_deleted(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    for number in 1..=6 {
        let input = stock.instance(&format!("Number {number}"));
        instance(world, &world.mine, input).await.unwrap();
    }
    let delete_customer = async || {
        change(world, &world.mine, NOW, async |change| {
            customers::delete(change, "acme").await
        })
        .await
    };
    let refused = delete_customer().await.unwrap_err();
    assert_eq!(
        refused.code().unwrap().to_string(),
        "DeleteCustomer.InUseConflict"
    );
    assert_eq!(
        detail(refused),
        "the customer is in use by instances number-1, number-2, number-3, number-4, number-5 and others"
    );
    let delete_license = change(world, &world.mine, NOW, async |change| {
        licenses::delete(change, "gold").await
    });
    assert_eq!(code(delete_license.await), "DeleteLicense.InUseConflict");
    for number in 1..=6 {
        delete(world, &format!("number-{number}")).await.unwrap();
    }
    delete_customer().await.unwrap();
    assert!(!world.event_names().await.contains(&"LICENSE_DELETION".to_owned()));
}

/// Whichever is first, the other is refused, and nothing fails.
async fn a_customer_and_its_first_instance_race(world: &World) {
    for _ in 0..5 {
        let stock = Stock::of(world, &world.mine).await;
        let slug = stock.customer.slug.as_str();
        let created = instance(world, &world.mine, stock.instance("Racer"));
        let deleted = change(world, &world.mine, NOW, async |change| {
            customers::delete(change, slug).await
        });
        match tokio::join!(created, deleted) {
            (Ok(made), Err(refused)) => {
                assert_eq!(
                    refused.code().unwrap().to_string(),
                    "DeleteCustomer.InUseConflict"
                );
                assert_eq!(made.customer_slug, slug);
            }
            (Err(refused), Ok(_)) => {
                assert_eq!(
                    refused.code().unwrap().to_string(),
                    "CreateInstance.CustomerNotFound"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn instances_stay_in_their_organization(world: &World) {
    let mine = Stock::of(world, &world.mine).await;
    let theirs = Stock::of(world, &world.theirs).await;
    let first = instance(world, &world.mine, mine.instance("Production"))
        .await
        .unwrap();
    let second = instance(world, &world.mine, mine.instance("Staging"))
        .await
        .unwrap();
    assert_eq!(
        code(instances::get(&world.store, &world.theirs, "staging").await),
        "GetInstance.NotFound"
    );
    let foreign = change(world, &world.theirs, NOW, async |change| {
        instances::replace(change, "staging", theirs.instance("Stolen")).await
    });
    assert_eq!(code(foreign.await), "UpdateInstance.NotFound");
    let foreign = change(world, &world.theirs, NOW, async |change| {
        instances::delete(change, "staging").await
    });
    assert_eq!(code(foreign.await), "DeleteInstance.NotFound");
    // The same slug is free there.
    let same = instance(world, &world.theirs, theirs.instance("Production"))
        .await
        .unwrap();
    assert_eq!(same.slug, first.slug);
    let page = instances::list(&world.store, &world.mine, Page::first(1))
        .await
        .unwrap();
    assert_eq!((page.items, page.next), (vec![first.clone()], Some(first.id)));
    let rest = Page {
        limit: 9,
        after: page.next,
    };
    let page = instances::list(&world.store, &world.mine, rest).await.unwrap();
    assert_eq!((page.items, page.next), (vec![second], None));
}

async fn what_was_used_goes_with_the_instance(world: &World) {
    let stock = Stock::of(world, &world.mine).await;
    entitlement(world, &world.mine, "seats", EntitlementInput::default()).await;
    let granted = EntitlementValue::number(10.into());
    grant(world, &world.mine, ("gold", "seats"), (granted, None)).await;
    let place = ("production", "seats");
    for _ in 0..2 {
        instance(world, &world.mine, stock.instance("Production"))
            .await
            .unwrap();
        let report = Report {
            value: 4.into(),
            ..Default::default()
        };
        let used = change(world, &world.mine, NOW, async |change| {
            usage::report(change, place, report).await
        });
        assert_eq!(used.await.unwrap().value.amount(), Some(4.into()));
        delete(world, "production").await.unwrap();
    }
    assert_eq!(
        code(usage::get(&world.store, &world.mine, NOW, place).await),
        "GetEntitlementUsage.InstanceNotFound"
    );
}
