//! Routing in one process, delivering in others.

use std::{sync::Arc, time::Duration};

use demae_delivery::engine::{EventSource as _, HandedOn, OutboxSource, Relay, Worker};
use demae_event::SystemClock;
use demae_store::{Store, engine::DeliveryState};
use demae_testkit::receiver::Recorder;

use crate::support::{
    Bench, DRAIN_LIMIT, Database, drain, numbers, on_both, postgres, schedule, start_without_sources,
};

on_both!(what_is_handed_on_is_taken_out_when_it_is_acknowledged);

const LOOK: Duration = Duration::from_millis(50);

async fn relay(store: &Store) -> Relay {
    let source = OutboxSource::new(store.engine().clone(), LOOK);
    Relay::start(store, Arc::new(SystemClock), vec![Box::new(source)])
        .await
        .unwrap()
}

async fn worker(bench: &Bench) -> Worker {
    start_without_sources(bench.second_store().await, schedule(&[1])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_alone_leaves_deliveries_to_the_workers_of_other_processes() {
    let bench = Bench::new(postgres().await).await;
    let receiver = Recorder::start().await;
    let endpoint = bench.endpoint(&receiver.url("/hook"), |_| {}).await;
    let relay = relay(&bench.store).await;
    let workers = [worker(&bench).await, worker(&bench).await];
    bench.publish(0..200).await;
    let requests = receiver.wait_for(200).await;
    let mut seen = numbers(requests.iter().map(|request| &request.body));
    seen.sort_unstable();
    assert_eq!(seen, (0..200).collect::<Vec<_>>(), "each once");
    relay.drain(tokio::time::Instant::now() + DRAIN_LIMIT).await;
    for worker in workers {
        drain(worker).await;
    }
    assert_eq!(bench.in_state(endpoint, DeliveryState::Succeeded).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_holds_no_leases_itself() {
    let bench = Bench::new(postgres().await).await;
    let endpoint = bench.endpoint("http://127.0.0.1:9/", |_| {}).await;
    let events = bench.publish(0..3).await;
    let relay = relay(&bench.store).await;
    let store = bench.second_store().await;
    let told = tokio::time::timeout(Duration::from_mins(1), async {
        while bench.in_state(endpoint, DeliveryState::Waiting).await < events.len() {
            // Woken by the relay, or asked again: the relay may have been quicker than this.
            let _ = tokio::time::timeout(LOOK, store.engine().deliveries_changed()).await;
        }
    });
    told.await.expect("the relay routes");
    relay.drain(tokio::time::Instant::now() + DRAIN_LIMIT).await;
    assert!(bench.store.engine().read_outbox(10).await.unwrap().is_empty());
    assert!(
        bench
            .deliveries(endpoint)
            .await
            .iter()
            .all(|delivery| delivery.lease.is_none() && delivery.worker_id.is_none())
    );
}

async fn what_is_handed_on_is_taken_out_when_it_is_acknowledged(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let events = bench.publish(0..3).await;
    let engine = bench.store.engine().clone();
    let outbox = OutboxSource::new(engine.clone(), LOOK);
    let mut source = HandedOn::new(Box::new(outbox), engine);
    let offered: Vec<_> = source
        .next(2)
        .await
        .unwrap()
        .iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(offered, [events[0].id, events[1].id]);
    // Not acknowledged: again.
    let again: Vec<_> = source
        .next(2)
        .await
        .unwrap()
        .iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(again, offered);
    source.acknowledge(&offered).await.unwrap();
    let rest: Vec<_> = source
        .next(2)
        .await
        .unwrap()
        .iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(rest, [events[2].id]);
}
