//! Deployment zones and their events.

use std::time::Duration;

use demae_control_plane::{
    Actor, Change, DomainError, Stamps,
    deployment_zones::{self, CreateDeploymentZone, DeploymentZone, MAX_TYPE, ReplaceDeploymentZone},
    fields::{MAX_DESCRIPTION, MAX_OBJECT},
    releases::Release,
    revision::{self, Expected},
};
use demae_store::{
    entity::{customer, instance, license},
    repository::Page,
};
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    releases,
    support::{NOW, World, code, locations},
};

on_both_databases!(
    a_zone_and_its_events_are_one,
    a_replacement_clears_what_is_left_out_but_for_the_release,
    slugs_follow_the_rules,
    instances_outlive_their_zone,
    zones_stay_in_their_organization,
    an_outdated_change_is_refused,
    every_fault_is_told,
);

pub(crate) async fn create(
    world: &World,
    settings: CreateDeploymentZone,
) -> Result<DeploymentZone, DomainError> {
    create_as(world, &world.mine, settings, None).await
}

pub(crate) async fn create_as(
    world: &World,
    actor: &Actor,
    settings: CreateDeploymentZone,
    slug: Option<&str>,
) -> Result<DeploymentZone, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, actor, NOW);
    let input = CreateDeploymentZone {
        slug: slug.map(str::to_owned),
        ..settings
    };
    let zone = deployment_zones::create(&mut change, input).await?;
    transaction.commit().await.unwrap();
    Ok(zone)
}

pub(crate) async fn replace(
    world: &World,
    slug: &str,
    settings: CreateDeploymentZone,
) -> Result<DeploymentZone, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let input = replacement(settings, None);
    let zone = deployment_zones::replace(&mut change, slug, input).await?;
    transaction.commit().await.unwrap();
    Ok(zone)
}

/// The same for a zone that is there.
fn replacement(settings: CreateDeploymentZone, slug: Option<&str>) -> ReplaceDeploymentZone {
    ReplaceDeploymentZone {
        name: settings.name,
        kind: settings.kind,
        slug: slug.map(str::to_owned),
        description: settings.description,
        metadata: settings.metadata,
        release_id: settings.release_id,
    }
}

pub(crate) async fn delete(world: &World, slug: &str) -> Result<DeploymentZone, DomainError> {
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let zone = deployment_zones::delete(&mut change, slug).await?;
    transaction.commit().await.unwrap();
    Ok(zone)
}

/// A zone of this name with, or without, a release to deploy.
pub(crate) fn running(name: &str, release: Option<Uuid>) -> CreateDeploymentZone {
    CreateDeploymentZone {
        name: name.to_owned(),
        kind: "production".to_owned(),
        release_id: release,
        ..Default::default()
    }
}

pub(crate) async fn release(world: &World, version: &str) -> Release {
    releases::create(world, version, &[]).await.unwrap()
}

pub(crate) fn shown(resource: &impl Serialize) -> Value {
    serde_json::to_value(resource).unwrap()
}

async fn a_zone_and_its_events_are_one(world: &World) {
    let metadata = json!({"region": "eu-west-1", "nested": {"list": [1, null]}});
    let settings = CreateDeploymentZone {
        description: "Ireland".into(),
        metadata: metadata.as_object().unwrap().clone(),
        ..running("EU West", None)
    };
    let zone = create(world, settings).await.unwrap();
    let user = json!({"id": world.mine.id, "name": "Administrator"});
    let created = json!({
        "id": zone.id, "name": "EU West", "slug": "eu-west", "type": "production",
        "description": "Ireland", "metadata": metadata,
        "createdAt": "2026-09-21T14:13:20.000Z", "createdBy": user,
        "updatedAt": "2026-09-21T14:13:20.000Z", "updatedBy": user,
    });
    assert_eq!(shown(&zone), created);
    let kept = deployment_zones::get(&world.store, &world.mine, "eu-west")
        .await
        .unwrap();
    assert_eq!(kept, zone);
    let replaced = replace(world, "eu-west", running("EU", None)).await.unwrap();
    assert_eq!(delete(world, "eu-west").await.unwrap(), replaced);
    let after = shown(&replaced);
    let told = [
        ("DEPLOYMENT_ZONE_CREATION", &created),
        ("DEPLOYMENT_ZONE_UPDATE", &after),
        ("DEPLOYMENT_ZONE_DELETION", &after),
    ];
    world.assert_events(&told).await;
    for entry in world.audited().await {
        assert_eq!(
            (
                entry.resource.as_str(),
                entry.resource_id,
                entry.resource_slug.as_str()
            ),
            ("deployment_zone", zone.id, "eu-west")
        );
    }
}

async fn a_replacement_clears_what_is_left_out_but_for_the_release(world: &World) {
    let first = release(world, "1.0").await;
    let full = CreateDeploymentZone {
        description: "Ireland".into(),
        metadata: Map::from_iter([("a".to_owned(), json!(1))]),
        ..running("EU", Some(first.id))
    };
    let before = create(world, full).await.unwrap();
    let later = NOW + Duration::from_secs(9);
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, later);
    let settings = CreateDeploymentZone {
        kind: "staging".into(),
        ..running("Europe", None)
    };
    let input = replacement(settings, Some("eu"));
    deployment_zones::replace(&mut change, "eu", input).await.unwrap();
    transaction.commit().await.unwrap();
    let after = deployment_zones::get(&world.store, &world.mine, "eu")
        .await
        .unwrap();
    let expected = DeploymentZone {
        name: "Europe".into(),
        kind: "staging".into(),
        description: String::new(),
        metadata: Map::new(),
        stamps: Stamps {
            updated_at: later,
            ..before.stamps.clone()
        },
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(after.release_id, Some(first.id));
}

async fn slugs_follow_the_rules(world: &World) {
    assert_eq!(
        create(world, running("EU West", None)).await.unwrap().slug,
        "eu-west"
    );
    let second = create(world, running("EU West", None)).await.unwrap().slug;
    assert_eq!(second.strip_prefix("eu-west-").unwrap().len(), 6);
    assert_eq!(
        code(create_as(world, &world.mine, running("Other", None), Some("eu-west")).await),
        "CreateDeploymentZone.SlugConflict"
    );
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW);
    let input = replacement(running("EU West", None), Some("moved"));
    let refused = deployment_zones::replace(&mut change, "eu-west", input)
        .await
        .unwrap_err();
    let refused_code = refused.code().unwrap().to_string();
    assert_eq!(refused_code, "UpdateDeploymentZone.SlugNotRenameable");
    assert_eq!(locations::<()>(Err(refused)), ["slug"]);
}

async fn instances_outlive_their_zone(world: &World) {
    let zone = create(world, running("EU", None)).await.unwrap();
    let id = insert_instance(world, zone.id).await;
    delete(world, "eu").await.unwrap();
    let kept = instance::Entity::find_by_id(id)
        .one(world.store.reader())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (kept.deployment_zone_id, kept.updated_at),
        (None, NOW.as_micros())
    );
    assert_eq!(
        world.event_names().await,
        ["DEPLOYMENT_ZONE_CREATION", "DEPLOYMENT_ZONE_DELETION"]
    );
}

/// An instance in a zone, as rows.
async fn insert_instance(world: &World, zone: Uuid) -> Uuid {
    let organization_id = world.mine.organization_id.0;
    let (now, by) = (NOW.as_micros(), world.mine.id);
    let transaction = world.begin().await;
    let connection = transaction.connection();
    let customer = customer::Model {
        id: Uuid::new_v4(),
        organization_id,
        slug: "customer".into(),
        name: "Customer".into(),
        external_customer_id: None,
        domain: None,
        integrations: "{}".into(),
        created_at: now,
        created_by_id: by,
        created_by_name: None,
        updated_at: now,
        updated_by_id: by,
        updated_by_name: None,
    };
    let customer = customer.into_active_model().insert(connection).await.unwrap();
    let license = license::Model {
        id: Uuid::new_v4(),
        organization_id,
        slug: "license".into(),
        name: "License".into(),
        description: String::new(),
        kind: "PAID".into(),
        version: 1,
        version_name: None,
        is_default: false,
        lifecycle_state: "PUBLISHED".into(),
        created_at: now,
        created_by_id: by,
        created_by_name: None,
        updated_at: now,
        updated_by_id: by,
        updated_by_name: None,
    };
    let license = license.into_active_model().insert(connection).await.unwrap();
    let instance = instance::Model {
        id: Uuid::new_v4(),
        organization_id,
        slug: "instance".into(),
        name: "Instance".into(),
        description: String::new(),
        customer_id: customer.id,
        license_id: license.id,
        deployment_zone_id: Some(zone),
        start_license_date: now,
        end_license_date: now,
        metadata: "{}".into(),
        status: "HEALTHY".into(),
        lifecycle_stage: None,
        integrations: "{}".into(),
        created_at: now,
        created_by_id: by,
        created_by_name: None,
        updated_at: now,
        updated_by_id: by,
        updated_by_name: None,
    };
    let instance = instance.into_active_model().insert(connection).await.unwrap();
    transaction.commit().await.unwrap();
    instance.id
}

async fn zones_stay_in_their_organization(world: &World) {
    let mine = create(world, running("EU", None)).await.unwrap();
    let refused = deployment_zones::get(&world.store, &world.theirs, "eu").await;
    assert_eq!(code(refused), "GetDeploymentZone.NotFound");
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.theirs, NOW);
    let input = replacement(running("EU", None), None);
    let refused = deployment_zones::replace(&mut change, "eu", input).await;
    assert_eq!(code(refused), "UpdateDeploymentZone.NotFound");
    let refused = deployment_zones::delete(&mut change, "eu").await;
    assert_eq!(code(refused), "DeleteDeploymentZone.NotFound");
    transaction.rollback().await.unwrap();
    let theirs = create_as(world, &world.theirs, running("EU", None), None)
        .await
        .unwrap();
    assert_eq!(theirs.slug, "eu");
    let listed = deployment_zones::list(&world.store, &world.mine, Page::first(9))
        .await
        .unwrap();
    assert_eq!((listed.items, listed.next), (vec![mine], None));
}

async fn an_outdated_change_is_refused(world: &World) {
    let seen = create(world, running("EU", None)).await.unwrap();
    let expected = Expected::OneOf(vec![revision::of(&seen)]);
    let mut transaction = world.begin().await;
    let mut change = Change::new(&mut transaction, &world.mine, NOW).expecting(expected);
    let input = |name: &str| replacement(running(name, None), None);
    deployment_zones::replace(&mut change, "eu", input("First"))
        .await
        .unwrap();
    let refused = deployment_zones::replace(&mut change, "eu", input("Second")).await;
    assert_eq!(code(refused), "UpdateDeploymentZone.PreconditionFailed");
    let refused = deployment_zones::delete(&mut change, "eu").await;
    assert_eq!(code(refused), "DeleteDeploymentZone.PreconditionFailed");
}

async fn every_fault_is_told(world: &World) {
    let filled = |length: usize| Map::from_iter([("k".to_owned(), json!("x".repeat(length)))]);
    // {"k":"…"}
    let around = 8;
    let bad = CreateDeploymentZone {
        name: String::new(),
        kind: "x".repeat(MAX_TYPE + 1),
        description: "x".repeat(MAX_DESCRIPTION + 1),
        metadata: filled(MAX_OBJECT - around + 1),
        ..Default::default()
    };
    let expected = ["name", "type", "description", "metadata"];
    assert_eq!(locations(create(world, bad.clone()).await), expected);
    let good = CreateDeploymentZone {
        name: "n".repeat(255),
        kind: "x".repeat(MAX_TYPE),
        description: "x".repeat(MAX_DESCRIPTION),
        metadata: filled(MAX_OBJECT - around),
        ..Default::default()
    };
    let zone = create(world, good).await.unwrap();
    assert_eq!(locations(replace(world, &zone.slug, bad).await), expected);
    let nul = CreateDeploymentZone {
        metadata: Map::from_iter([("list".to_owned(), json!([{"a\0": 1}]))]),
        ..running("EU", None)
    };
    assert_eq!(locations(create(world, nul).await), ["metadata"]);
}
