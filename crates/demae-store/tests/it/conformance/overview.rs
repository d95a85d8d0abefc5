//! What the engine says about itself, and what the tables refuse.

use std::collections::BTreeMap;

use demae_event::{EndpointId, Timestamp};
use demae_store::engine::Backlog;

use crate::support::{NOW, TestStore, new_endpoint, new_event, new_worker, seconds};

on_both_databases!(
    each_lane_with_waiting_deliveries_says_when_it_is_due,
    the_backlog_counts_open_work,
    the_endpoints_version_is_the_counter,
    impossible_deliveries_are_refused,
);

async fn each_lane_with_waiting_deliveries_says_when_it_is_due(store: &TestStore) {
    assert!(store.engine().waiting_lanes().await.unwrap().is_empty());

    let mut expected: BTreeMap<EndpointId, Timestamp> = BTreeMap::new();
    for index in 0..60 {
        let endpoint = new_endpoint();
        for due in [9, index + 2, 70] {
            store.enqueue(new_event(), &[endpoint], NOW + seconds(due)).await;
        }
        expected.insert(endpoint, NOW + seconds((index + 2).min(9)));
    }
    // Neither leased nor finished deliveries make a lane.
    let leased = store.leased(new_worker()).await;
    let finished = store.leased(new_worker()).await;
    let record = super::record::success(&finished);
    store.engine().record(&[record]).await.unwrap();
    assert_ne!(leased.endpoint_id, finished.endpoint_id);

    let lanes = store.engine().waiting_lanes().await.unwrap();
    assert_eq!(lanes.len(), expected.len(), "each once");
    assert_eq!(lanes.into_iter().collect::<BTreeMap<_, _>>(), expected);
}

async fn the_backlog_counts_open_work(store: &TestStore) {
    assert_eq!(store.engine().backlog(NOW).await.unwrap(), Backlog::default());

    let mut events = crate::support::new_events(3);
    events[0].created_at = NOW + seconds(1);
    store.engine().append(&events).await.unwrap();
    store.leased(new_worker()).await;
    for due in [7, 5, 6, 8] {
        let endpoints = [new_endpoint()];
        store.enqueue(new_event(), &endpoints, NOW + seconds(due)).await;
    }
    let finished = store.leased(new_worker()).await;
    let record = super::record::success(&finished);
    store.engine().record(&[record]).await.unwrap();

    let backlog = store.engine().backlog(NOW).await.unwrap();
    assert_eq!(
        backlog,
        Backlog {
            unrouted: 3,
            waiting: 4,
            leased: 1,
            // The one that was inserted first, whatever its time says.
            oldest_unrouted: Some(NOW + seconds(1)),
            oldest_due: Some(NOW + seconds(5)),
        }
    );
}

async fn the_endpoints_version_is_the_counter(store: &TestStore) {
    assert_eq!(store.engine().endpoints_version().await.unwrap(), 0);
    store
        .execute("UPDATE counters SET value = value + 41 WHERE name = 'endpoints'")
        .await
        .unwrap();
    assert_eq!(store.engine().endpoints_version().await.unwrap(), 41);
}

async fn impossible_deliveries_are_refused(store: &TestStore) {
    let leased = store.leased(new_worker()).await;
    let before = store.deliveries().await;
    let lease = store.literal(leased.lease.0);
    for (change, why) in [
        ("lease = NULL".to_owned(), "leased without a lease"),
        ("state = 0".to_owned(), "waiting with a lease"),
        ("state = 2".to_owned(), "finished with a lease"),
        ("state = 5, lease = NULL".to_owned(), "no such state"),
        ("state = -1, lease = NULL".to_owned(), "no such state"),
        (format!("state = 3, lease = {lease}"), "finished with a lease"),
    ] {
        let error = store
            .execute(&format!("UPDATE deliveries SET {change}"))
            .await
            .unwrap_err();
        assert!(
            error.to_string().to_lowercase().contains("check constraint"),
            "{why}: {error}"
        );
    }
    assert_eq!(store.deliveries().await, before);
}
