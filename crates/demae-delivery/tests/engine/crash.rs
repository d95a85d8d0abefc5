//! What a worker that vanishes leaves behind, and two workers at once.

use std::time::Duration;

use demae_delivery::engine::Settings;
use demae_event::Timestamp;
use demae_store::engine::DeliveryState;
use demae_testkit::receiver::Recorder;

use crate::support::{Bench, drain, numbers, postgres, sqlite, start};

/// Leases of a worker that is gone are taken over at the start of the next one, although they have not lapsed.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_takes_over_at_once_on_sqlite() {
    let bench = Bench::new(sqlite().await).await;
    let receiver = Recorder::start().await;
    let endpoint = bench.endpoint(&receiver.url("/"), |_| {}).await;
    lease_everything(&bench, endpoint, 10).await;
    let worker = bench.start(Settings::default()).await;
    receiver.wait_for(10).await;
    drain(worker).await;
    assert_eq!(bench.in_state(endpoint, DeliveryState::Succeeded).await, 10);
}

/// The same on Postgres, where other workers may live: the vanished one never gave a sign of life.
#[tokio::test(flavor = "multi_thread")]
async fn the_others_take_over_on_postgres() {
    let bench = Bench::new(postgres().await).await;
    let receiver = Recorder::start().await;
    let endpoint = bench.endpoint(&receiver.url("/"), |_| {}).await;
    let worker = bench.start(Settings::default()).await;
    lease_everything(&bench, endpoint, 10).await;
    receiver.wait_for(10).await;
    drain(worker).await;
    assert_eq!(bench.in_state(endpoint, DeliveryState::Succeeded).await, 10);
}

/// Routes events into leases of a worker that does not exist.
async fn lease_everything(bench: &Bench, endpoint: demae_event::EndpointId, count: usize) {
    use demae_store::engine::{LeaseGrant, Message, NewDelivery, RoutedMessage};
    let now = crate::support::now();
    let routed: Vec<RoutedMessage> = (0..count)
        .map(|number| RoutedMessage {
            message: std::sync::Arc::new(Message::from(bench.event(number))),
            deliveries: vec![NewDelivery {
                endpoint_id: endpoint,
                delivered_name: "CUSTOMER_CREATION".to_owned(),
                lease: Some(demae_event::AttemptId::new(now)),
            }],
        })
        .collect();
    let until = now + Duration::from_secs(3600);
    let grant = LeaseGrant {
        worker: uuid::Uuid::from_u128(7),
        now,
        until,
    };
    assert!(
        bench
            .store
            .engine()
            .route(&routed, grant)
            .await
            .unwrap()
            .into_iter()
            .all(|new| new)
    );
}

/// Two engines on one Postgres: every event is delivered, and none twice while both are well.
#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_the_work() {
    let bench = Bench::new(postgres().await).await;
    let receiver = Recorder::start().await;
    let endpoint = bench.endpoint(&receiver.url("/"), |_| {}).await;
    let first = bench.start(Settings::default()).await;
    let second = start(bench.second_store().await, Settings::default()).await;
    bench.publish(0..2_000).await;
    let requests = receiver.wait_for(2_000).await;
    drain(first).await;
    drain(second).await;
    let mut seen = numbers(requests.iter().map(|request| &request.body));
    seen.sort_unstable();
    assert_eq!(seen, (0..2_000).collect::<Vec<_>>());
    assert_eq!(bench.attempts(endpoint).await.len(), 2_000);
}

/// A worker that believes in a lease it has lost records its attempt but moves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_cannot_complete_a_delivery() {
    for database in [sqlite().await, postgres().await] {
        let bench = Bench::new(database).await;
        let endpoint = bench.endpoint("http://example.com/", |_| {}).await;
        lease_everything(&bench, endpoint, 1).await;
        let engine = bench.store.engine();
        let now = crate::support::now();
        assert_eq!(engine.recover_leases(now, now, 10).await.unwrap(), 1);
        assert_eq!(bench.in_state(endpoint, DeliveryState::Waiting).await, 1);
        assert_eq!(engine.backlog(Timestamp::default()).await.unwrap().leased, 0);
    }
}
