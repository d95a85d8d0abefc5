//! Answers of the database that are lost while what they tell of happened.

use std::{sync::Arc, time::Duration};

use demae_delivery::engine::{OutboxSource, Relay, Settings};
use demae_event::{EndpointId, SystemClock};
use demae_store::{Store, Transaction, engine::DeliveryState};
use demae_testkit::{postgres::TestDatabase, proxy::FaultProxy, receiver::Recorder};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};

use crate::support::{Bench, DRAIN_LIMIT, OnPostgres, drain, numbers, start, start_without_sources};

/// The line breaks while the database commits: the leases are granted, the answer is lost. Nobody else takes them, as their
/// worker lives; it gives them back by itself, long before they end.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_leased_by_a_routing_that_was_not_answered_is_delivered_soon() {
    let mut lost = LostAnswer::prepare().await;
    let worker = start(lost.store().await, hours()).await;
    lost.bench.publish(0..3).await;
    lost.lose_one().await;
    lost.receiver.wait_for(3).await;
    drain(worker).await;
    lost.each_was_delivered_once(3).await;
}

/// The same for what waited in the table.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_leased_by_a_claim_that_was_not_answered_is_delivered_soon() {
    let mut lost = LostAnswer::prepare().await;
    let clock = Arc::new(SystemClock);
    let source = OutboxSource::new(lost.bench.store.engine().clone(), Duration::from_millis(50));
    let relay = Relay::start(&lost.bench.store, clock, vec![Box::new(source)])
        .await
        .unwrap();
    let worker = start_without_sources(lost.store().await, hours()).await;
    lost.bench.publish(0..3).await;
    lost.lose_one().await;
    lost.receiver.wait_for(3).await;
    drain(worker).await;
    relay.drain(tokio::time::Instant::now() + DRAIN_LIMIT).await;
    lost.each_was_delivered_once(3).await;
}

/// With leases that nobody waits for.
fn hours() -> Settings {
    Settings {
        lease: Duration::from_hours(2),
        ..Settings::default()
    }
}

/// The advisory lock that commits wait for.
const COMMITS: &str = "4711";

/// A database in which whatever leases waits, in its commit, until nobody holds [`COMMITS`] any more.
struct LostAnswer {
    bench: Bench,
    receiver: Recorder,
    endpoint: EndpointId,
    line: FaultProxy,
    holder: Option<Transaction>,
}

impl LostAnswer {
    async fn prepare() -> Self {
        let database = TestDatabase::create().await.unwrap();
        let line = FaultProxy::start(database.address()).await.unwrap();
        let bench = Bench::new(Box::new(OnPostgres(database))).await;
        let receiver = Recorder::start().await;
        let endpoint = bench.endpoint(&receiver.url("/"), |_| {}).await;
        let wait_in_commit = format!(
            "CREATE FUNCTION wait_in_commit() RETURNS trigger LANGUAGE plpgsql AS $$ \
             BEGIN PERFORM pg_advisory_xact_lock_shared({COMMITS}); RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER wait_in_commit AFTER INSERT OR UPDATE ON deliveries \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 1) EXECUTE FUNCTION wait_in_commit()"
        );
        let holder = bench.store.begin().await.unwrap();
        holder
            .connection()
            .execute_unprepared(&wait_in_commit)
            .await
            .unwrap();
        holder.commit().await.unwrap();
        let holder = bench.store.begin().await.unwrap();
        let hold = format!("SELECT pg_advisory_xact_lock({COMMITS})");
        holder.connection().execute_unprepared(&hold).await.unwrap();
        Self {
            bench,
            receiver,
            endpoint,
            line,
            holder: Some(holder),
        }
    }

    /// Over the line that will break.
    async fn store(&self) -> Store {
        let url = self.line.in_front_of(&self.bench.database.url()).unwrap();
        self.bench.store_at(url).await
    }

    /// Waits for a commit, breaks the line under it, mends it, and lets the commit go on.
    async fn lose_one(&mut self) {
        let waiting = "SELECT count(*) AS waiting FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let query = || Statement::from_string(DbBackend::Postgres, waiting);
        let reader = self.bench.store.reader();
        while reader
            .query_one_raw(query())
            .await
            .unwrap()
            .is_none_or(|row| row.try_get::<i64>("", "waiting").unwrap() == 0)
        {
            tokio::task::yield_now().await;
        }
        self.line.cut().await.unwrap();
        self.line.pass();
        self.holder.take().unwrap().rollback().await.unwrap();
    }

    async fn each_was_delivered_once(&self, events: usize) {
        let mut seen = numbers(self.receiver.requests().iter().map(|request| &request.body));
        seen.sort_unstable();
        assert_eq!(seen, (0..events).collect::<Vec<_>>());
        assert_eq!(
            self.bench.in_state(self.endpoint, DeliveryState::Succeeded).await,
            events
        );
    }
}
