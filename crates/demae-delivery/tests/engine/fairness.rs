//! One endpoint's trouble is its own, and one organization's load is its own.

use demae_delivery::engine::Settings;
use demae_event::Scope;
use demae_testkit::receiver::{Answer, Behaviour, Gate, Receiver, Recorder};

use crate::support::{Bench, DRAIN_LIMIT, Database, closed_url, drain, on_both, schedule};

on_both!(
    dead_endpoints_do_not_delay_the_others,
    a_flooded_lane_leaves_room_for_the_others,
    slow_successes_of_one_organization_do_not_delay_another,
    slow_successes_of_many_organizations_do_not_delay_another,
    a_full_memory_has_room_for_another_organization,
    large_payloads_are_bounded_in_bytes_and_leave_room_for_another_organization,
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

/// Answers 200, but only once the test allows it.
async fn slow_receiver() -> (Recorder, Gate) {
    let gate = Gate::closed();
    let receiver = Recorder::start().await;
    receiver.keep_no_more();
    receiver.answer(Answer::ok().held_by(&gate));
    (receiver, gate)
}

async fn endpoints(bench: &Bench, scope: Scope, receiver: &Recorder, count: usize) {
    for number in 0..count {
        bench
            .endpoint(&receiver.url(&format!("/{number}")), |endpoint| {
                endpoint.scope = scope;
                endpoint.timeout_seconds = 30;
            })
            .await;
    }
}

/// 80 endpoints with 200 deliveries each, whose receiver takes its time: they hold as many attempts as they ever get, and
/// a new endpoint of another organization is served as if they were not there, many deliveries at a time.
async fn slow_successes_of_one_organization_do_not_delay_another(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let (slow, gate) = slow_receiver().await;
    let slow_organization = bench.other_organization().await;
    endpoints(&bench, slow_organization, &slow, 80).await;
    let worker = bench
        .start(Settings {
            exchanges: 128,
            ..Settings::default()
        })
        .await;
    bench.publish_for(slow_organization, 0..200).await;
    // Half of the 96 attempts for endpoints that are not known to be quick.
    slow.received().wait_for(48).await;

    let healthy = Recorder::start().await;
    bench.endpoint(&healthy.url("/"), |_| {}).await;
    bench.publish(0..500).await;
    healthy.wait_for(500).await;
    assert_eq!(
        slow.received().get(),
        48,
        "none of the slow attempts had ended, and no more had begun"
    );
    gate.open();
    drain(worker).await;
}

/// More organizations with a slow receiver than there are attempts at a time: together they do not get all of them, and
/// an endpoint that is known as quick is served.
async fn slow_successes_of_many_organizations_do_not_delay_another(database: Box<dyn Database>) {
    const ORGANIZATIONS: usize = 60;
    let bench = Bench::new(database).await;
    let healthy = Recorder::start().await;
    bench.endpoint(&healthy.url("/"), |_| {}).await;
    let worker = bench
        .start(Settings {
            exchanges: 32,
            ..Settings::default()
        })
        .await;
    bench.publish(0..1).await;
    healthy.wait_for(1).await;

    let (slow, gate) = slow_receiver().await;
    for _ in 0..ORGANIZATIONS {
        let organization = bench.other_organization().await;
        endpoints(&bench, organization, &slow, 2).await;
        bench.publish_for(organization, 0..5).await;
    }
    slow.received().wait_for(24).await;
    bench.publish(1..301).await;
    healthy.wait_for(301).await;
    assert_eq!(slow.received().get(), 24, "three quarters");
    gate.open();
    drain(worker).await;
}

/// The places in memory are taken by an organization whose receiver takes its time, and it has more that is due and older
/// in the table. Another one's deliveries are made all the same, those that the router brings and those that wait.
async fn a_full_memory_has_room_for_another_organization(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let (slow, gate) = slow_receiver().await;
    let slow_organization = bench.other_organization().await;
    endpoints(&bench, slow_organization, &slow, 40).await;
    let settings = Settings {
        exchanges: 64,
        queued: 60,
        ..Settings::default()
    };
    let worker = bench.start(settings).await;
    bench.publish_for(slow_organization, 0..100).await;
    slow.received().wait_for(24).await;

    let healthy = Recorder::start().await;
    for number in 0..3 {
        bench.endpoint(&healthy.url(&format!("/{number}")), |_| {}).await;
    }
    // More than the free places: most of them wait in the table at first.
    bench.publish(0..200).await;
    healthy.wait_for(600).await;
    assert_eq!(slow.received().get(), 24);
    gate.open();
    drain(worker).await;
}

/// 40 endpoints with 3 deliveries of almost 1 MiB each, whose receiver takes its time: only so many of them are in memory as
/// have room, and another organization's large deliveries are made meanwhile. In the end all of them arrive.
async fn large_payloads_are_bounded_in_bytes_and_leave_room_for_another_organization(
    database: Box<dyn Database>,
) {
    const LARGE: usize = 1_000_000;
    let bench = Bench::new(database).await;
    let (slow, gate) = slow_receiver().await;
    let slow_organization = bench.other_organization().await;
    endpoints(&bench, slow_organization, &slow, 40).await;
    let worker = bench.start(Settings::default()).await;
    publish_large(&bench, slow_organization, 3, LARGE).await;
    slow.received().wait_for(16).await;

    let healthy = Recorder::start().await;
    bench.endpoint(&healthy.url("/"), |_| {}).await;
    publish_large(&bench, bench.scope, 10, LARGE).await;
    let received = healthy.wait_for(10).await;
    assert!(received.iter().all(|request| request.body.len() > LARGE));
    let in_flight = slow.received().get();
    assert!(
        in_flight <= 18,
        "{in_flight} of 1 MB in flight, of 64 MiB for all and 32 for one organization; each counts twice, for its body"
    );
    gate.open();
    slow.received().wait_for(120).await;
    drain(worker).await;
}

async fn publish_large(bench: &Bench, scope: Scope, count: usize, size: usize) {
    for number in 0..count {
        let mut event = bench.event(number);
        event.scope = scope;
        let text = "x".repeat(size);
        event.data = serde_json::value::RawValue::from_string(format!(r#"{{"text": "{text}"}}"#)).unwrap();
        bench.store.engine().append(&[event]).await.unwrap();
    }
}
