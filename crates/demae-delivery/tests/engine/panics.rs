//! A panic costs the step in which it happens.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use demae_delivery::{
    client::{Lookup, Resolve, ResolveError},
    engine::{EventSource, Settings, SourceError},
};
use demae_event::{Event, EventId};
use demae_store::engine::DeliveryState;
use demae_testkit::receiver::Recorder;
use tokio::sync::Notify;

use crate::support::{Bench, Database, drain, numbers, on_both, start_from, start_resolving};

on_both!(
    a_panic_in_an_attempt_releases_the_delivery_and_the_endpoint_goes_on,
    a_panic_in_a_source_does_not_end_its_router,
);

/// Panics until it is told not to.
struct Panicking {
    panics: AtomicBool,
    panicked: Notify,
}

#[async_trait]
impl Resolve for Panicking {
    async fn resolve(&self, _host: &str) -> Result<Lookup, ResolveError> {
        if self.panics.load(Ordering::SeqCst) {
            self.panicked.notify_one();
            panic!("this resolver panics");
        }
        Ok(vec![IpAddr::from([127, 0, 0, 1])].into())
    }
}

/// More panics than the lane has tasks: if a task that panics were counted as active for good, nothing would be sent any
/// more.
async fn a_panic_in_an_attempt_releases_the_delivery_and_the_endpoint_goes_on(database: Box<dyn Database>) {
    const PANICS: usize = 10;
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    let url = format!("http://panics.example:{}/", receiver.address().port());
    let endpoint = bench.endpoint(&url, |_| {}).await;
    let resolver = Arc::new(Panicking {
        panics: AtomicBool::new(true),
        panicked: Notify::new(),
    });
    let worker = start_resolving(bench.store.clone(), Settings::default(), resolver.clone()).await;
    for number in 0..PANICS {
        bench.publish(number..number + 1).await;
        resolver.panicked.notified().await;
    }
    resolver.panics.store(false, Ordering::SeqCst);
    bench.publish(PANICS..PANICS + 1).await;
    let requests = receiver.wait_for(1).await;
    drain(worker).await;
    assert_eq!(numbers(requests.iter().map(|request| &request.body)), [PANICS]);
    let waiting = bench.deliveries(endpoint).await;
    let waiting: Vec<_> = waiting
        .iter()
        .filter(|delivery| delivery.state == DeliveryState::Waiting as i16)
        .collect();
    assert_eq!(waiting.len(), PANICS, "none is lost");
    assert!(
        waiting
            .iter()
            .all(|delivery| delivery.due_at > delivery.created_at + 30_000_000),
        "nor tried again at once"
    );
}

/// Panics at first, then offers one event.
struct PanicsAtFirst {
    calls: usize,
    event: Option<Event>,
}

#[async_trait]
impl EventSource for PanicsAtFirst {
    async fn next(&mut self, _limit: u32) -> Result<Vec<Event>, SourceError> {
        self.calls += 1;
        assert!(self.calls > 2, "this source panics");
        match self.event.take() {
            Some(event) => Ok(vec![event]),
            None => std::future::pending().await,
        }
    }

    async fn acknowledge(&mut self, _events: &[EventId]) -> Result<(), SourceError> {
        Ok(())
    }
}

async fn a_panic_in_a_source_does_not_end_its_router(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    bench.endpoint(&receiver.url("/"), |_| {}).await;
    let source = PanicsAtFirst {
        calls: 0,
        event: Some(bench.event(7)),
    };
    let worker = start_from(bench.store.clone(), Settings::default(), Box::new(source)).await;
    let requests = receiver.wait_for(1).await;
    assert_eq!(numbers(requests.iter().map(|request| &request.body)), [7]);
    drain(worker).await;
}
