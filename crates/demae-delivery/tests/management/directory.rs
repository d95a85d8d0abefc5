//! What the engine knows of endpoints follows the database, and loads no more than what changed.

use std::sync::Arc;

use demae_delivery::{directory::Directory, management::EndpointPatch};
use demae_store::{entity::endpoint, repository::endpoints};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, sea_query::Expr};

use crate::support::{NOW, World, input};

in_every_scope!(
    a_change_of_health_is_seen_and_loads_no_endpoint,
    a_change_of_one_endpoint_loads_no_other,
    an_endpoint_that_cannot_be_opened_stops_only_itself,
);

/// Another process notes that one of them fails.
async fn a_change_of_health_is_seen_and_loads_no_endpoint(world: &World) {
    let ids = [world.endpoint().await.id, world.endpoint().await.id];
    let directory = Directory::new(world.store.clone());
    let before = directory.refresh().await.unwrap();
    let mut transaction = world.begin().await;
    endpoints::note_failing(&mut transaction, world.mine, ids[0], NOW)
        .await
        .unwrap();
    transaction.commit().await.unwrap();

    let after = directory.refresh().await.unwrap();
    assert!(Arc::ptr_eq(&before, &after), "no endpoint was loaded again");
    let failing_since = |id| after.get(id).unwrap().health.failing_since();
    assert_eq!((failing_since(ids[0]), failing_since(ids[1])), (Some(NOW), None));

    let mut transaction = world.begin().await;
    endpoints::note_success(&mut transaction, world.mine, ids[0])
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    directory.refresh().await.unwrap();
    assert_eq!(failing_since(ids[0]), None);
}

async fn a_change_of_one_endpoint_loads_no_other(world: &World) {
    let [changed, deleted, other] = [
        world.endpoint().await,
        world.endpoint().await,
        world.endpoint().await,
    ];
    let directory = Directory::new(world.store.clone());
    let before = directory.refresh().await.unwrap();
    let mut transaction = world.begin().await;
    let patch = EndpointPatch {
        enabled: Some(false),
        ..EndpointPatch::default()
    };
    world
        .management
        .patch_endpoint(&mut transaction, world.mine, changed.id, patch, NOW)
        .await
        .unwrap();
    endpoints::delete(&mut transaction, world.mine, deleted.id, NOW)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let made = world
        .create(world.theirs, input("https://example.com/new", &["*"]))
        .await
        .unwrap();

    let after = directory.refresh().await.unwrap();
    assert!(!after.get(changed.id).unwrap().enabled);
    assert!(after.get(deleted.id).is_none());
    assert_eq!(after.of(world.theirs).len(), 1);
    assert_eq!(after.get(made.id).unwrap().id, made.id);
    let mut mine: Vec<_> = after.of(world.mine).iter().map(|endpoint| endpoint.id).collect();
    mine.sort_unstable();
    let mut expected = vec![changed.id, other.id];
    expected.sort_unstable();
    assert_eq!(mine, expected);
    let same = Arc::ptr_eq(before.get(other.id).unwrap(), after.get(other.id).unwrap());
    assert!(same, "it did not change, so it was not opened again");
}

async fn an_endpoint_that_cannot_be_opened_stops_only_itself(world: &World) {
    let closed = world.endpoint().await;
    let other = world
        .create(world.theirs, input("https://example.com/hook", &["*"]))
        .await
        .unwrap();
    let transaction = world.begin().await;
    endpoint::Entity::update_many()
        .col_expr(endpoint::Column::Secret, Expr::value(vec![1_u8, 2, 3]))
        .filter(endpoint::Column::Id.eq(closed.id.0))
        .exec(transaction.connection())
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let directory = Directory::new(world.store.clone());
    let loaded = directory.refresh().await.unwrap();
    assert!(loaded.get(other.id).unwrap().opened);
    let closed = loaded.get(closed.id).unwrap();
    assert!(
        !closed.opened && closed.enabled,
        "its events are routed, and wait"
    );
    assert_eq!(closed.signing_keys(NOW).count(), 0);
}
