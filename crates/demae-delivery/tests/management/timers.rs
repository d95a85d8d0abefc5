//! Running timers: bounds, failures, crashes, several processes, and what Demae itself does with them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use demae_delivery::{
    engine::timers::{Outcome, Runner, TimerError, TimerHandler, TimerKind},
    management::{Page, Retention, history::HistoryFilter, recovery, retention},
};
use demae_event::{Clock as _, OrganizationId, Timestamp, clock::ManualClock};
use demae_store::{
    Backend, Store,
    engine::LeaseGrant,
    entity::timer::{self, Model},
    inspect,
    repository::timers::{self, NewTimer, Timer},
};
use sea_orm::{ConnectionTrait as _, EntityTrait as _, Statement};
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::{NOW, World, seconds};

on_both_databases!(
    timers_run_once_in_the_order_of_their_times,
    a_failing_handler_is_backed_off_and_stops_no_other,
    a_crash_between_action_and_completion_repeats_the_action,
    ten_thousand_due_timers_are_bounded_and_leave_room_for_another_organization,
    a_timer_that_is_set_while_the_runner_sleeps_runs,
    a_run_without_its_lease_deletes_and_plans_nothing,
    retention_keeps_the_worker_that_gives_no_heartbeats,
);

const KIND: &str = "test.kind";
/// A test whose signal does not come ends here.
const PATIENCE: Duration = Duration::from_mins(1);

/// Counts the runs of each subject, in order, and does what it is told.
struct Recorder<F> {
    runs: Mutex<Vec<String>>,
    action: F,
}

impl<F> Recorder<F> {
    fn new(action: F) -> Arc<Self> {
        Arc::new(Self {
            runs: Mutex::default(),
            action,
        })
    }

    fn runs(&self) -> Vec<String> {
        self.runs.lock().unwrap().clone()
    }
}

#[async_trait]
impl<F> TimerHandler for Recorder<F>
where
    F: Fn(&Timer) -> Result<Outcome, TimerError> + Send + Sync + 'static,
{
    async fn run(&self, timer: &Timer, _now: Timestamp) -> Result<Outcome, TimerError> {
        self.runs.lock().unwrap().push(timer.subject.clone());
        (self.action)(timer)
    }
}

/// Reports how many runs are in flight, and ends none of them before it is opened.
struct Gate {
    in_flight: watch::Sender<HashMap<OrganizationId, usize>>,
    open: watch::Sender<bool>,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            in_flight: watch::channel(HashMap::new()).0,
            open: watch::channel(false).0,
        })
    }

    /// Waits until so many runs of the organization are in flight.
    async fn reached(&self, organization: OrganizationId, count: usize) {
        let mut in_flight = self.in_flight.subscribe();
        let reached = in_flight.wait_for(|now| now.get(&organization) == Some(&count));
        tokio::time::timeout(PATIENCE, reached)
            .await
            .expect("so many runs begin")
            .unwrap();
    }
}

#[async_trait]
impl TimerHandler for Gate {
    async fn run(&self, timer: &Timer, _now: Timestamp) -> Result<Outcome, TimerError> {
        self.in_flight
            .send_modify(|now| *now.entry(timer.organization_id).or_default() += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        Ok(Outcome::Done)
    }
}

fn kind(name: &'static str, handler: Arc<dyn TimerHandler>, concurrency: u32) -> TimerKind {
    TimerKind {
        name,
        handler,
        concurrency,
        deadline: Duration::from_mins(1),
    }
}

/// A runner of a registered worker.
async fn runner(store: &Store, clock: &Arc<ManualClock>, kinds: Vec<TimerKind>) -> Runner {
    let worker = Uuid::new_v4();
    store.engine().heartbeat(worker, clock.now()).await.unwrap();
    Runner::new(store.clone(), clock.clone(), worker, kinds)
}

async fn set(
    store: &Store,
    kind: &'static str,
    subject: &str,
    organization: OrganizationId,
    due_at: Timestamp,
) {
    let timer = NewTimer {
        kind,
        subject: subject.to_owned(),
        organization_id: organization,
        due_at,
        data: None,
    };
    let mut transaction = store.begin().await.unwrap();
    timers::set(&mut transaction, timer, NOW).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn row(world: &World, kind: &str, subject: &str) -> Option<Model> {
    timers::find(world.store.reader(), kind, subject).await.unwrap()
}

/// Runs until nothing is due.
async fn run_all(runner: &Runner) {
    while runner.run_due().await.unwrap() > 0 {}
}

async fn timers_run_once_in_the_order_of_their_times(world: &World) {
    let clock = Arc::new(ManualClock::new(NOW));
    let recorder = Recorder::new(|_: &Timer| Ok(Outcome::Done));
    let runner = runner(&world.store, &clock, vec![kind(KIND, recorder.clone(), 1)]).await;
    for (subject, after) in [("third", 3), ("first", 1), ("second", 2), ("late", 9)] {
        set(
            &world.store,
            KIND,
            subject,
            world.mine.organization,
            NOW + seconds(after),
        )
        .await;
    }
    run_all(&runner).await;
    assert!(recorder.runs().is_empty());
    clock.advance(seconds(3));
    run_all(&runner).await;
    assert_eq!(recorder.runs(), ["first", "second", "third"]);
    clock.advance(seconds(6));
    run_all(&runner).await;
    assert_eq!(recorder.runs().len(), 4);
    assert_eq!(row(world, KIND, "late").await, None, "what is done is removed");
}

async fn a_failing_handler_is_backed_off_and_stops_no_other(world: &World) {
    let clock = Arc::new(ManualClock::new(NOW));
    let failing = Recorder::new(|_: &Timer| Err(TimerError::Failed("the disk is full".to_owned())));
    let panicking = Recorder::new(|_: &Timer| panic!("the handler panics"));
    let fine = Recorder::new(|timer: &Timer| {
        Ok(Outcome::Again {
            at: timer.due_at + seconds(1),
            data: None,
        })
    });
    let endless = TimerKind {
        deadline: Duration::from_millis(10),
        ..kind("endless", Gate::new(), 1)
    };
    let kinds = vec![
        kind("failing", failing.clone(), 1),
        kind("panicking", panicking.clone(), 1),
        kind("fine", fine.clone(), 1),
        endless,
    ];
    let runner = runner(&world.store, &clock, kinds).await;
    for kind in ["failing", "panicking", "fine", "endless"] {
        set(&world.store, kind, "one", world.mine.organization, NOW).await;
    }
    for _ in 0..8 {
        run_all(&runner).await;
        clock.advance(seconds(1));
    }
    // At 0, 1, 3 and 7 s.
    assert_eq!((failing.runs().len(), panicking.runs().len()), (4, 4));
    assert_eq!(fine.runs().len(), 8);
    for (kind, error) in [
        ("failing", "the disk is full"),
        ("panicking", "the handler panicked"),
        ("endless", "the run exceeded its deadline"),
    ] {
        let row = row(world, kind, "one").await.unwrap();
        assert_eq!((row.failures, row.last_error.as_deref()), (4, Some(error)));
        assert_eq!(row.due_at, NOW.as_micros());
        assert_eq!(row.wake_at, (NOW + seconds(15)).as_micros());
        assert_eq!(row.lease, None);
    }
}

async fn a_crash_between_action_and_completion_repeats_the_action(world: &World) {
    let clock = Arc::new(ManualClock::new(NOW));
    let gate = Gate::new();
    set(&world.store, KIND, "one", world.mine.organization, NOW).await;
    let crashing = runner(&world.store, &clock, vec![kind(KIND, gate.clone(), 1)]).await;
    let run = tokio::spawn(async move { crashing.run_due().await });
    gate.reached(world.mine.organization, 1).await;
    // The process has acted, and records nothing any more.
    run.abort();
    let recorder = Recorder::new(|_: &Timer| Ok(Outcome::Done));
    let next = runner(&world.store, &clock, vec![kind(KIND, recorder.clone(), 1)]).await;
    run_all(&next).await;
    assert!(recorder.runs().is_empty(), "the lease lasts");
    clock.advance(seconds(20));
    let mut transaction = world.begin().await;
    let recovered = timers::recover(&mut transaction, clock.now(), clock.now() - seconds(10)).await;
    assert_eq!(recovered.unwrap(), 1);
    transaction.commit().await.unwrap();
    run_all(&next).await;
    assert_eq!(recorder.runs(), ["one"]);
    // What was paused comes back, and changes nothing: the timer is not there.
    gate.open.send_replace(true);
    assert_eq!(row(world, KIND, "one").await, None);
}

async fn ten_thousand_due_timers_are_bounded_and_leave_room_for_another_organization(world: &World) {
    let clock = Arc::new(ManualClock::new(NOW + seconds(60)));
    let numbers = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10000)";
    let organization = match world.store.backend() {
        Backend::Sqlite => format!("x'{}'", world.mine.organization.0.simple()),
        Backend::Postgres => format!("'{}'::uuid", world.mine.organization),
    };
    let statement = format!(
        "INSERT INTO timers (kind, subject, organization_id, due_at, wake_at, failures)
         {numbers} SELECT '{KIND}', 'backlog ' || n, {organization}, {at} + n, {at} + n, 0 FROM n",
        at = NOW.as_micros()
    );
    let transaction = world.begin().await;
    transaction
        .connection()
        .execute_unprepared(&statement)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let gate = Gate::new();
    let runner = runner(&world.store, &clock, vec![kind(KIND, gate.clone(), 8)]).await;
    let backlog = runner.clone();
    let first = tokio::spawn(async move { backlog.run_due().await.unwrap() });
    gate.reached(world.mine.organization, 4).await;
    // A thousand times over, the window is full of the backlog.
    set(&world.store, KIND, "late", world.theirs.organization, clock.now()).await;
    let second = tokio::spawn(async move { runner.run_due().await.unwrap() });
    gate.reached(world.theirs.organization, 1).await;
    assert_eq!(
        gate.in_flight.borrow()[&world.mine.organization],
        4,
        "half of the places"
    );
    let leased = timer_rows(world)
        .await
        .iter()
        .filter(|row| row.lease.is_some())
        .count();
    assert_eq!(leased, 5, "what has no place is not claimed");
    gate.open.send_replace(true);
    assert_eq!(second.await.unwrap(), 1);
    assert_eq!(first.await.unwrap(), 4);
    assert_eq!(timer_rows(world).await.len(), 10_000 - 4);
}

async fn timer_rows(world: &World) -> Vec<Model> {
    let rows = timer::Entity::find().all(world.store.reader()).await;
    rows.unwrap()
}

async fn a_timer_that_is_set_while_the_runner_sleeps_runs(world: &World) {
    let clock = Arc::new(ManualClock::new(NOW));
    let gate = Gate::new();
    let runner = runner(&world.store, &clock, vec![kind(KIND, gate.clone(), 8)]).await;
    let stopping = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(runner.run(stopping.clone()));
    set(&world.store, KIND, "one", world.mine.organization, NOW).await;
    gate.reached(world.mine.organization, 1).await;
    set(&world.store, KIND, "two", world.theirs.organization, NOW).await;
    gate.reached(world.theirs.organization, 1).await;
    // A stop ends runs in flight; their timers stay.
    stopping.cancel();
    tokio::time::timeout(PATIENCE, running)
        .await
        .expect("it stops")
        .unwrap();
    assert_eq!(timer_rows(world).await.len(), 2);
}

#[tokio::test]
async fn two_processes_run_each_timer_once_per_due_time() {
    const TIMERS: usize = 100;
    let world = World::postgres().await;
    let clock = Arc::new(ManualClock::new(NOW));
    let recorder = Recorder::new(|timer: &Timer| {
        Ok(if timer.data.is_some() {
            Outcome::Done
        } else {
            Outcome::Again {
                at: NOW + seconds(60),
                data: Some("second".to_owned()),
            }
        })
    });
    for number in 0..TIMERS {
        let organization = if number % 2 == 0 {
            world.mine.organization
        } else {
            world.theirs.organization
        };
        set(&world.store, KIND, &number.to_string(), organization, NOW).await;
    }
    let other = world.open_again().await;
    let mut runners = Vec::new();
    for store in [&world.store, &other] {
        runners.push(runner(store, &clock, vec![kind(KIND, recorder.clone(), 8)]).await);
    }
    for round in 1..=2 {
        let both = runners.iter().map(|runner| async {
            // A process that finds everything claimed looks again while the other one works.
            while due(&world, clock.now()).await > 0 {
                runner.run_due().await.unwrap();
            }
            runner.run_due().await.unwrap();
        });
        futures::future::join_all(both).await;
        let mut counts = HashMap::<String, usize>::new();
        for subject in recorder.runs() {
            *counts.entry(subject).or_default() += 1;
        }
        assert_eq!(counts.len(), TIMERS);
        assert!(counts.values().all(|count| *count == round), "{counts:?}");
        clock.set(NOW + seconds(60));
    }
    assert!(timer_rows(&world).await.is_empty());
}

async fn due(world: &World, now: Timestamp) -> usize {
    let due = timers::due(world.store.reader(), KIND, now, 1_000).await;
    due.unwrap().len()
}

/// Claims a timer in the name of a worker whose process does not go on.
async fn claimed(world: &World, kind: &str, subject: &str, now: Timestamp) -> Timer {
    let grant = LeaseGrant {
        worker: Uuid::new_v4(),
        now,
        until: now + seconds(30),
    };
    let mut transaction = world.begin().await;
    let claimed = timers::claim(&mut transaction, kind, &[subject.to_owned()], grant).await;
    transaction.commit().await.unwrap();
    claimed.unwrap().remove(0)
}

async fn a_run_without_its_lease_deletes_and_plans_nothing(world: &World) {
    let endpoint = world.endpoint().await.id;
    let (event, _) = world.failed(endpoint).await;
    let delivery = world.delivery(endpoint, event).await;
    retention::ensure_timers(&world.store, NOW).await.unwrap();
    let late = NOW + seconds(1_000 * 86_400);
    let clock = Arc::new(ManualClock::new(late));
    let sweeper = retention::timer_kind(world.store.clone(), Retention::default(), clock);
    for table in ["attempts", "messages"] {
        let timer = claimed(world, "retention", table, NOW).await;
        lose_leases(world).await;
        let run = sweeper.handler.run(&timer, late).await;
        assert!(matches!(run, Err(TimerError::LeaseLost)), "{run:?}");
    }
    let history = world
        .management
        .history(world.mine, &HistoryFilter::default(), Page::first(9))
        .await;
    assert_eq!(history.unwrap().items.len(), 1);
    let mut transaction = world.begin().await;
    let input = recovery::RecoverInput {
        since: NOW - seconds(60),
        until: None,
        states: Vec::new(),
    };
    let begun = NOW + seconds(1);
    let job = world
        .management
        .recover_endpoint(&mut transaction, world.mine, endpoint, input, begun)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let timer = claimed(world, "endpoint.recover", &job.id.to_string(), begun).await;
    lose_leases(world).await;
    let run = recovery::timer_kind(world.store.clone())
        .handler
        .run(&timer, late)
        .await;
    assert!(matches!(run, Err(TimerError::LeaseLost)), "{run:?}");
    assert_eq!(world.delivery(endpoint, event).await, delivery);
    assert_eq!(world.management.job(world.mine, job.id).await.unwrap(), job);
}

/// Every worker is declared dead.
async fn lose_leases(world: &World) {
    let mut transaction = world.begin().await;
    timers::recover(&mut transaction, NOW, NOW).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn retention_keeps_the_worker_that_gives_no_heartbeats(world: &World) {
    let clock = Arc::new(ManualClock::new(NOW));
    retention::ensure_timers(&world.store, NOW).await.unwrap();
    let kinds = vec![retention::timer_kind(
        world.store.clone(),
        Retention::default(),
        clock.clone(),
    )];
    let runner = runner(&world.store, &clock, kinds).await;
    clock.advance(seconds(48 * 3_600));
    run_all(&runner).await;
    let count = "SELECT COUNT(*) FROM workers";
    let reader = world.store.reader();
    let counted = Statement::from_string(reader.get_database_backend(), count);
    let counted = reader.query_one_raw(counted).await.unwrap().unwrap();
    let workers: i64 = counted.try_get_by_index(0).unwrap();
    // An SQLite file has one process, which is alive; on Postgres a worker that is silent for a day is gone.
    assert_eq!(workers, i64::from(world.store.backend() == Backend::Sqlite));
    let due = inspect::overdue_timers(world.store.reader(), clock.now())
        .await
        .unwrap();
    assert_eq!(due, [], "every table had its pass");
    assert_eq!(
        timer_rows(world)
            .await
            .iter()
            .filter(|row| row.failures > 0)
            .count(),
        0
    );
    assert_eq!(timer_rows(world).await.len(), 10);
}
