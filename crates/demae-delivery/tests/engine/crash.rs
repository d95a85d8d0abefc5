//! What a worker that vanishes leaves behind, and two workers at once.

use std::time::Duration;

use demae_delivery::engine::Settings;
use demae_event::EndpointId;
use demae_store::engine::{DeliveryState, LaneRequest, LeaseGrant};
use demae_testkit::receiver::{Answer, Gate, Recorder};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};

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
async fn lease_everything(bench: &Bench, endpoint: EndpointId, count: usize) {
    use demae_store::engine::{Message, NewDelivery, RoutedMessage};
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
    let until = now + Duration::from_hours(1);
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

/// Housekeeping that takes long must not make a living worker look dead: the others would send what it has under way.
#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_do_not_wait_for_the_search_for_lapsed_leases() {
    let bench = Bench::new(postgres().await).await;
    let worker = bench.start(Settings::default()).await;
    let holder = bench.store.begin().await.unwrap();
    let lock = "LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE";
    holder.connection().execute_unprepared(lock).await.unwrap();
    let mut last = last_sign_of_life(&bench).await;
    // The first may have been on its way already, and a search in front of the second.
    for _ in 0..3 {
        let next = async {
            loop {
                match last_sign_of_life(&bench).await {
                    sign if sign > last => break sign,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        last = tokio::time::timeout(Duration::from_mins(1), next)
            .await
            .expect("no sign of life while nobody can search");
    }
    holder.rollback().await.unwrap();
    drain(worker).await;
}

async fn last_sign_of_life(bench: &Bench) -> Option<i64> {
    let query = Statement::from_string(
        DbBackend::Postgres,
        "SELECT max(heartbeat_at) AS last FROM workers",
    );
    let row = bench.store.reader().query_one_raw(query).await.unwrap().unwrap();
    row.try_get("", "last").unwrap()
}

/// A worker that believes in a lease it has lost (frozen for longer than its lease, say) sends once more than needed,
/// records its attempt, and moves nothing: the delivery stays with whoever holds the lease now.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_cannot_complete_a_delivery() {
    for database in [sqlite().await, postgres().await] {
        let bench = Bench::new(database).await;
        let receiver = Recorder::start().await;
        let gate = Gate::closed();
        receiver.answer(Answer::ok().held_by(&gate));
        let endpoint = bench.endpoint(&receiver.url("/"), |_| {}).await;
        let worker = bench.start(Settings::default()).await;
        bench.publish(0..1).await;
        receiver.wait_for(1).await;
        // The exchange is under way; meanwhile everybody believes that its worker is dead, and another one leases.
        let engine = bench.store.engine();
        let now = crate::support::now();
        let much_later = now + Duration::from_secs(1_000_000);
        engine.recover_leases(much_later, much_later, 10).await.unwrap();
        let until = much_later + Duration::from_hours(1);
        let successor = uuid::Uuid::from_u128(7);
        engine.heartbeat(successor, much_later).await.unwrap();
        let grant = LeaseGrant {
            worker: successor,
            now: much_later,
            until,
        };
        let request = LaneRequest {
            endpoint_id: endpoint,
            limit: 1,
        };
        let claimed = engine.claim(&[request], grant).await.unwrap().remove(0);
        gate.open();
        drain(worker).await;
        assert_eq!(bench.attempts(endpoint).await.len(), 1, "the attempt happened");
        let lost = bench.attempts(endpoint).await.remove(0);
        assert_ne!(lost.id, claimed.lease.0);
        let still = bench.deliveries(endpoint).await.remove(0);
        assert_eq!(
            (still.state, still.lease),
            (DeliveryState::Leased as i16, Some(claimed.lease.0))
        );
    }
}
