//! Organizations take turns in routing: one organization's backlog does not hold up another's events.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use demae_delivery::engine::{EventSource, OutboxSource, Relay, Settings, SourceError};
use demae_event::{Event, EventId, OrganizationId, Scope, SystemClock};
use demae_store::Store;
use demae_testkit::receiver::Recorder;
use sea_orm::TransactionTrait as _;
use tokio::sync::Notify;

use crate::support::{Bench, DRAIN_LIMIT, Database, closed_url, drain, on_both};

on_both!(
    an_event_behind_a_wide_backlog_is_routed_by_the_next_statement,
    the_order_of_each_organization_is_kept_in_turns,
    events_are_routed_while_requests_hold_every_connection,
);

/// The outbox, with a book of what each statement routed. After the first one it commits an event, if it has one.
struct Watched {
    outbox: OutboxSource,
    store: Store,
    late: Option<Event>,
    statements: Arc<Mutex<Vec<Vec<EventId>>>>,
    routed: Arc<Notify>,
}

impl Watched {
    fn new(store: &Store, late: Option<Event>) -> Self {
        Self {
            outbox: OutboxSource::new(store.engine().clone(), Duration::from_millis(50)),
            store: store.clone(),
            late,
            statements: Arc::default(),
            routed: Arc::default(),
        }
    }
}

#[async_trait]
impl EventSource for Watched {
    async fn next(&mut self, limit: u32) -> Result<Vec<Event>, SourceError> {
        self.outbox.next(limit).await
    }

    async fn next_of_others(&mut self, except: &HashSet<OrganizationId>) -> Result<Vec<Event>, SourceError> {
        self.outbox.next_of_others(except).await
    }

    async fn acknowledge(&mut self, events: &[EventId]) -> Result<(), SourceError> {
        if let Some(late) = self.late.take() {
            self.store.engine().append(&[late]).await?;
        }
        self.outbox.acknowledge(events).await?;
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        statements.push(events.to_vec());
        drop(statements);
        self.routed.notify_one();
        Ok(())
    }
}

async fn webhooks(bench: &Bench, scope: Scope, count: usize) {
    for _ in 0..count {
        bench
            .endpoint(&closed_url(), |endpoint| endpoint.scope = scope)
            .await;
    }
}

fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

/// Routes until `enough` of what the statements routed.
async fn route_until(
    bench: &Bench,
    source: Watched,
    enough: impl Fn(&[Vec<EventId>]) -> bool,
) -> Vec<Vec<EventId>> {
    let (statements, routed) = (source.statements.clone(), source.routed.clone());
    let relay = Relay::start(&bench.store, Arc::new(SystemClock), vec![Box::new(source)])
        .await
        .unwrap();
    let seen = || statements.lock().unwrap_or_else(PoisonError::into_inner).clone();
    while !enough(&seen()) {
        routed.notified().await;
    }
    relay.drain(tokio::time::Instant::now() + DRAIN_LIMIT).await;
    seen()
}

/// 100 webhooks, and more events for all of them than are read at once. Another organization's event that was committed
/// behind them is routed by the first statement, and one that is committed after that by the second.
async fn an_event_behind_a_wide_backlog_is_routed_by_the_next_statement(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let wide = bench.other_organization().await;
    webhooks(&bench, wide, 100).await;
    webhooks(&bench, bench.scope, 2).await;
    bench.publish_for(wide, 0..1_000).await;
    let early = bench.publish(0..1).await.remove(0);
    let late = bench.event(1);
    let source = Watched::new(&bench.store, Some(late.clone()));
    let statements = route_until(&bench, source, |statements| {
        statements.iter().flatten().any(|id| *id == late.id)
    })
    .await;
    assert!(statements[0].contains(&early.id));
    assert!(statements[1].contains(&late.id));
    let deliveries = 100 * (statements[0].len() + statements[1].len());
    assert!(
        (4_096..=2 * 4_300).contains(&deliveries),
        "two statements of bounded size: {deliveries} deliveries"
    );
}

/// Three organizations with more events than are read at once: everything is routed, each organization's in its order.
async fn the_order_of_each_organization_is_kept_in_turns(database: Box<dyn Database>) {
    const EVENTS: usize = 300;
    let bench = Bench::new(database).await;
    let organizations = [
        (bench.scope, 1),
        (bench.other_organization().await, 3),
        (bench.other_organization().await, 40),
    ];
    let mut committed = vec![Vec::new(); organizations.len()];
    for (organization, count) in organizations {
        webhooks(&bench, organization, count).await;
    }
    for part in 0..3 {
        for (committed, (organization, _)) in committed.iter_mut().zip(organizations) {
            let mut events: Vec<Event> = (0..EVENTS / 3).map(|number| bench.event(part + number)).collect();
            for event in &mut events {
                event.scope = organization;
            }
            bench.store.engine().append(&events).await.unwrap();
            committed.extend(ids(&events));
        }
    }
    let source = Watched::new(&bench.store, None);
    let statements = route_until(&bench, source, |statements| {
        statements.iter().map(Vec::len).sum::<usize>() >= EVENTS * organizations.len()
    })
    .await;
    let routed: Vec<EventId> = statements.into_iter().flatten().collect();
    assert_eq!(routed.len(), EVENTS * organizations.len(), "each once");
    for committed in committed {
        let of_one: Vec<EventId> = routed
            .iter()
            .filter(|id| committed.contains(id))
            .copied()
            .collect();
        assert!(of_one == committed, "an organization's events change their order");
    }
    assert!(bench.store.engine().read_outbox(1).await.unwrap().is_empty());
}

/// A webhook is created, which the router has to load, and then requests take every connection that they can get.
async fn events_are_routed_while_requests_hold_every_connection(database: Box<dyn Database>) {
    let bench = Bench::new(database).await;
    let worker = bench.start(Settings::default()).await;
    let receiver = Recorder::start().await;
    bench.endpoint(&receiver.url("/"), |_| {}).await;
    let mut requests = Vec::new();
    for _ in 0..bench.store.read_connections() {
        requests.push(bench.store.reader().begin().await.unwrap());
    }
    bench.publish(0..3).await;
    receiver.wait_for(3).await;
    drop(requests);
    drain(worker).await;
}
