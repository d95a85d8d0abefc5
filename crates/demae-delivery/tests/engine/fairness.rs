//! One endpoint's trouble is its own.

use demae_delivery::engine::Settings;
use demae_testkit::receiver::{Behaviour, Receiver, Recorder};

use crate::support::{Bench, DRAIN_LIMIT, Database, closed_url, drain, on_both, schedule};

on_both!(
    dead_endpoints_do_not_delay_the_others,
    a_flooded_lane_leaves_room_for_the_others
);

/// 200 endpoints, of which 20 never answer: every healthy delivery is made while each dead endpoint is still waiting for
/// the end of its very first exchange, so none of them can have queued behind a dead one.
async fn dead_endpoints_do_not_delay_the_others(database: Box<dyn Database>) {
    const ENDPOINTS: usize = 200;
    const EVENTS: usize = 5;
    let bench = Bench::new(database).await;
    let healthy = Recorder::start().await;
    let silent = Receiver::start(Behaviour::slow_headers()).await;
    for number in 0..ENDPOINTS {
        let url = if number % 10 == 0 {
            silent.url("/")
        } else {
            healthy.url(&format!("/{number}"))
        };
        bench
            .endpoint(&url, |endpoint| endpoint.timeout_seconds = 30)
            .await;
    }
    let worker = bench.start(Settings::default()).await;
    bench.publish(0..EVENTS).await;
    healthy.wait_for(ENDPOINTS * 9 / 10 * EVENTS).await;
    let finished = bench.attempts_with_errors().await;
    assert_eq!(
        finished, 0,
        "no dead endpoint's exchange had ended when the last healthy one was served"
    );
    let now = tokio::time::Instant::now();
    worker.drain(now, now + DRAIN_LIMIT).await.unwrap();
}

/// An endpoint with far more waiting than its lane holds, all of it due: the others' deliveries are made although every
/// one of the flooded endpoint's is older.
async fn a_flooded_lane_leaves_room_for_the_others(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let healthy = Recorder::start().await;
    bench
        .endpoint(&closed_url(), |endpoint| {
            endpoint.event_names = vec!["CUSTOMER_CREATION".to_owned()];
        })
        .await;
    let worker = bench.start(schedule(&[0; 20])).await;
    bench.publish(0..3_000).await;
    let calm = bench
        .endpoint(&healthy.url("/"), |endpoint| {
            endpoint.event_names = vec!["CUSTOMER_UPDATE".to_owned()];
        })
        .await;
    let mut updates: Vec<_> = (0..100).map(|number| bench.event(number)).collect();
    for update in &mut updates {
        update.name = String::from("CUSTOMER_UPDATE");
        update.event_type = String::from("com.kaiten.customer.v1.updated");
    }
    bench.store.engine().append(&updates).await.unwrap();
    healthy.wait_for(100).await;
    drain(worker).await;
    assert_eq!(bench.attempts(calm).await.len(), 100);
}
