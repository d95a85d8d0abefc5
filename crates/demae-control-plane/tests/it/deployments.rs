//! What is deployed to zones: order of events, history, and releases that are deleted meanwhile.

use demae_control_plane::deployment_zones::{self, Deployment};
use demae_store::repository::Page;
use serde_json::json;
use uuid::Uuid;

use crate::{
    deployment_zones::{create, create_as, release, replace, running, shown},
    releases,
    support::{World, code},
};

on_both_databases!(
    a_deployment_is_told_where_its_zone_is_known,
    every_change_of_release_is_a_deployment,
    the_history_is_read_newest_first,
    releases_must_be_there,
    a_release_is_deployed_or_deleted_never_both,
);

async fn history(world: &World, slug: &str) -> Vec<Deployment> {
    deployment_zones::deployments(&world.store, &world.mine, slug, Page::first(100))
        .await
        .unwrap()
        .items
}

async fn a_deployment_is_told_where_its_zone_is_known(world: &World) {
    let (first, second) = (release(world, "1.0").await, release(world, "2.0").await);
    let zone = create(world, running("EU", Some(first.id))).await.unwrap();
    let replaced = replace(world, "eu", running("EU", Some(second.id)))
        .await
        .unwrap();
    let [newest, oldest] = &history(world, "eu").await[..] else {
        panic!("two deployments were made");
    };
    let user = json!({"id": world.mine.id, "name": "Administrator"});
    let expected = json!({
        "id": oldest.id, "deploymentZoneId": zone.id, "releaseId": first.id,
        "createdAt": "2026-09-21T14:13:20.000Z", "createdBy": user,
    });
    assert_eq!(shown(oldest), expected);
    assert_eq!(
        (newest.release_id, replaced.release_id),
        (second.id, Some(second.id))
    );
    let told = [
        ("RELEASE_CREATION", &shown(&first)),
        ("RELEASE_CREATION", &shown(&second)),
        ("DEPLOYMENT_ZONE_CREATION", &shown(&zone)),
        ("RELEASE_DEPLOYMENT", &expected),
        ("RELEASE_DEPLOYMENT", &shown(newest)),
        ("DEPLOYMENT_ZONE_UPDATE", &shown(&replaced)),
    ];
    world.assert_events(&told).await;
    let deployments = world.audited().await;
    let deployments = deployments
        .iter()
        .filter(|entry| entry.event_name == "RELEASE_DEPLOYMENT");
    assert_eq!(
        deployments.map(|entry| entry.resource_id).collect::<Vec<_>>(),
        [zone.id, zone.id]
    );
}

async fn every_change_of_release_is_a_deployment(world: &World) {
    let (first, second) = (release(world, "1.0").await, release(world, "2.0").await);
    create(world, running("EU", None)).await.unwrap();
    // The first release, none, the same, another, and back to the first.
    for wanted in [
        Some(first.id),
        None,
        Some(first.id),
        Some(second.id),
        Some(first.id),
    ] {
        replace(world, "eu", running("EU", wanted)).await.unwrap();
    }
    let releases: Vec<Uuid> = history(world, "eu")
        .await
        .iter()
        .map(|deployment| deployment.release_id)
        .collect();
    assert_eq!(releases, [first.id, second.id, first.id]);
    let names = world.event_names().await;
    let told = |name: &str| names.iter().filter(|told| *told == name).count();
    assert_eq!(
        (told("RELEASE_DEPLOYMENT"), told("DEPLOYMENT_ZONE_UPDATE")),
        (3, 5)
    );
}

async fn the_history_is_read_newest_first(world: &World) {
    let (first, second) = (release(world, "1.0").await, release(world, "2.0").await);
    create(world, running("EU", None)).await.unwrap();
    create(world, running("US", Some(first.id))).await.unwrap();
    for round in 0..5 {
        let next = if round % 2 == 0 { first.id } else { second.id };
        replace(world, "eu", running("EU", Some(next))).await.unwrap();
    }
    let all = history(world, "eu").await;
    let times: Vec<_> = all.iter().map(|deployment| deployment.created_at).collect();
    assert_eq!(all.len(), 5);
    assert!(times.is_sorted_by(|newer, older| newer > older), "{times:?}");
    let mut paged = Vec::new();
    let mut page = Page::first(2);
    loop {
        let listed = deployment_zones::deployments(&world.store, &world.mine, "eu", page)
            .await
            .unwrap();
        paged.extend(listed.items);
        page.after = listed.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(paged, all);
    let refused = deployment_zones::deployments(&world.store, &world.theirs, "eu", Page::first(2)).await;
    assert_eq!(code(refused), "ListDeployments.NotFound");
}

async fn releases_must_be_there(world: &World) {
    let mine = release(world, "1.0").await;
    create(world, running("EU", None)).await.unwrap();
    let before = world.events().await.len();
    assert_eq!(
        code(create(world, running("US", Some(Uuid::nil()))).await),
        "CreateDeploymentZone.ReleaseNotFound"
    );
    assert_eq!(
        code(replace(world, "eu", running("EU", Some(Uuid::nil()))).await),
        "UpdateDeploymentZone.ReleaseNotFound"
    );
    assert_eq!(
        code(create_as(world, &world.theirs, running("US", Some(mine.id)), None).await),
        "CreateDeploymentZone.ReleaseNotFound"
    );
    // The zone is missed first.
    assert_eq!(
        code(replace(world, "us", running("US", Some(Uuid::nil()))).await),
        "UpdateDeploymentZone.NotFound"
    );
    assert_eq!(world.events().await.len(), before);
}

/// Whoever comes second finds what the first one did.
async fn a_release_is_deployed_or_deleted_never_both(world: &World) {
    create(world, running("EU", None)).await.unwrap();
    for round in 0..8 {
        let wanted = release(world, &format!("1.{round}")).await;
        let (deployed, deleted) = tokio::join!(
            replace(world, "eu", running("EU", Some(wanted.id))),
            releases::delete(world, &wanted.slug)
        );
        let outcome = (
            deployed
                .map(|_| ())
                .map_err(|error| error.code().unwrap().to_string()),
            deleted
                .map(|_| ())
                .map_err(|error| error.code().unwrap().to_string()),
        );
        let expected = [
            (Ok(()), Err("DeleteRelease.InUseConflict".to_owned())),
            (Err("UpdateDeploymentZone.ReleaseNotFound".to_owned()), Ok(())),
        ];
        assert!(expected.contains(&outcome), "{outcome:?}");
        let runs = history(world, "eu")
            .await
            .iter()
            .any(|one| one.release_id == wanted.id);
        assert_eq!(runs, outcome.0.is_ok());
    }
}
