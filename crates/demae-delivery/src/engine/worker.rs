//! The engine as one thing that starts and drains.

use std::{sync::Arc, time::Duration};

use demae_event::{Clock, Timestamp};
use demae_store::{Backend, Store, StoreError, repository::timers};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    EventSource,
    grants::Grants,
    health::{Health, HealthPolicy},
    keeper::{Keeper, RECOVER_BATCH},
    lanes::{Bounds, Lanes},
    life::Life,
    outcomes,
    recorder::Recorder,
    router::{HandOver, Router},
    scheduler::{DueNotes, Scheduler},
    sender::Sender,
    timers::{Runner, TimerKind},
};
use crate::{
    client::DeliveryClient,
    directory::Directory,
    management::{Retention, recovery, retention},
    policy::RetrySchedule,
};

/// The shortest usable lease: the longest exchange, the time to record it, and as much again for waiting in the lane.
pub const MIN_LEASE: Duration = Duration::from_mins(1);

/// How the engine runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For endpoints without one of their own.
    pub schedule: RetrySchedule,
    /// Send nothing over plain http, to endpoints written before this was so either.
    pub https_only: bool,
    /// How long a delivery is leased; at least [`MIN_LEASE`].
    pub lease: Duration,
    /// Deliveries in memory that have not been begun.
    pub queued: usize,
    /// Bytes of deliveries in memory, waiting or in flight: each counts for its message and for the encoded body.
    pub queued_bytes: u64,
    /// Exchanges at a time over all endpoints.
    pub exchanges: usize,
    /// When endpoints that fail are disabled.
    pub health: HealthPolicy,
    /// What is deleted when.
    pub retention: Retention,
    /// Timers that domains add to the engine's own.
    pub timers: Vec<TimerKind>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            schedule: RetrySchedule::default(),
            https_only: false,
            lease: Duration::from_mins(2),
            queued: 20_000,
            queued_bytes: 64 << 20,
            exchanges: 1_024,
            health: HealthPolicy::default(),
            retention: Retention::default(),
            timers: Vec::new(),
        }
    }
}

/// A running engine.
pub struct Worker {
    id: Uuid,
    store: Store,
    clock: Arc<dyn Clock>,
    lanes: Arc<Lanes>,
    /// Ends the parts that bring new work.
    stopping: CancellationToken,
    intake: TaskTracker,
    keeping: CancellationToken,
    /// Ends the parts that bring new work in the middle of what they do.
    cutting: CancellationToken,
    keeper: tokio::task::JoinHandle<()>,
    timers: tokio::task::JoinHandle<()>,
    recorder: tokio::task::JoinHandle<()>,
}

/// Why a drain left leases behind. They end by themselves, and their deliveries are attempted again.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The deadline passed first: usually the database is unavailable.
    #[error("the drain did not finish before its deadline")]
    TimedOut,
    /// The database failed while leases were released.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Worker {
    /// Starts the engine. `sources` is where events come from, each with a router of its own, so that one that stands
    /// still does not hold up the others; none for a process that only delivers.
    pub async fn start(
        settings: Settings,
        store: Store,
        client: DeliveryClient,
        clock: Arc<dyn Clock>,
        sources: Vec<Box<dyn EventSource>>,
    ) -> Result<Self, StoreError> {
        // Requests use the others, also all of them.
        let store = store.apart();
        let id = demae_event::id::new_uuid(clock.now());
        let engine = store.engine().clone();
        let directory = Arc::new(Directory::new(store.clone()));
        directory.refresh().await?;
        // An SQLite file has one serving process: whatever is leased was leased by one that is gone, and nobody takes
        // this one for dead.
        let alone = store.backend() == Backend::Sqlite;
        let life = Arc::new(if alone {
            Life::unquestioned()
        } else {
            Life::until(clock.now())
        });
        let grants = Arc::new(Grants::new(id, settings.lease));
        let keeper = Keeper {
            store: store.clone(),
            clock: clock.clone(),
            worker: id,
            grants: grants.clone(),
            alone,
            life: life.clone(),
        };
        keeper.take_over().await?;
        retention::ensure_timers(&store, clock.now()).await?;
        let mut kinds = vec![
            recovery::timer_kind(store.clone()),
            retention::timer_kind(store.clone(), settings.retention, clock.clone()),
        ];
        kinds.extend(settings.timers);
        let timers = Runner::of_worker(store.clone(), clock.clone(), id, life.clone(), kinds);

        let notes = Arc::new(DueNotes::default());
        let (outcomes, finished) = outcomes::channel();
        let sender = Sender {
            client,
            directory: directory.clone(),
            clock: clock.clone(),
            schedule: settings.schedule,
            https_only: settings.https_only,
        };
        let bounds = Bounds {
            queued: settings.queued,
            queued_bytes: settings.queued_bytes,
            exchanges: settings.exchanges,
        };
        let lanes = Lanes::new(bounds, sender, clock.clone(), life, outcomes);
        let recorder = Recorder {
            engine: engine.clone(),
            notes: notes.clone(),
            health: Health::new(settings.health, store.clone()),
            clock: clock.clone(),
        };
        let scheduler = Scheduler {
            engine: engine.clone(),
            lanes: lanes.clone(),
            directory: directory.clone(),
            notes: notes.clone(),
            clock: clock.clone(),
            grants: grants.clone(),
        };

        let stopping = CancellationToken::new();
        let keeping = CancellationToken::new();
        let cutting = CancellationToken::new();
        let intake = TaskTracker::new();
        intake.spawn(
            cutting
                .clone()
                .run_until_cancelled_owned(scheduler.run(stopping.clone())),
        );
        let router = Arc::new(Router {
            engine,
            directory,
            clock: clock.clone(),
            hand_over: Some(HandOver {
                lanes: lanes.clone(),
                notes,
                grants,
            }),
        });
        for source in sources {
            let routing = router.clone().run(source, stopping.clone());
            intake.spawn(cutting.clone().run_until_cancelled_owned(routing));
        }
        intake.close();
        Ok(Self {
            id,
            store,
            clock,
            lanes,
            stopping,
            intake,
            keeper: tokio::spawn(keeper.run(keeping.clone())),
            timers: tokio::spawn(timers.run(keeping.clone())),
            keeping,
            cutting,
            recorder: tokio::spawn(recorder.run(finished)),
        })
    }

    /// Stops accepting work. Attempts in flight may go on until `cut_off`; between `cut_off` and `end` their outcomes are
    /// recorded and all leases released. Returns by `end`, whatever the database does.
    pub async fn drain(self, cut_off: Instant, end: Instant) -> Result<(), DrainError> {
        let cutting = self.cutting.clone();
        let aborts = [&self.keeper, &self.timers, &self.recorder].map(tokio::task::JoinHandle::abort_handle);
        let drained = tokio::time::timeout_at(end, self.drain_in_order(cut_off, end)).await;
        drained.unwrap_or_else(|_| {
            // Tasks of lanes end with the recorder's end of their channel.
            cutting.cancel();
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
            Err(DrainError::TimedOut)
        })
    }

    async fn drain_in_order(self, cut_off: Instant, end: Instant) -> Result<(), DrainError> {
        self.stopping.cancel();
        if tokio::time::timeout_at(cut_off, self.intake.wait())
            .await
            .is_err()
        {
            self.cutting.cancel();
        }
        self.lanes.drain(cut_off).await;
        // The lanes hold the recorder's other end: when they are gone it has seen everything.
        drop(self.lanes);
        let recorded_by = end - end.saturating_duration_since(Instant::now()) / 2;
        if tokio::time::timeout_at(recorded_by, self.recorder).await.is_err() {
            tracing::warn!(
                "outcomes were left unrecorded: the database did not accept them before the drain deadline"
            );
        }
        self.keeping.cancel();
        // They end at the next await; a panic in them has been logged by the runtime.
        let _ = tokio::join!(self.keeper, self.timers);
        Ok(hand_back(self.id, &self.store, self.clock.now()).await?)
    }
}

/// Gives back what exchanges that were cut off still lease.
async fn hand_back(worker: Uuid, store: &Store, now: Timestamp) -> Result<(), StoreError> {
    let engine = store.engine();
    let mut transaction = store.begin().await?;
    timers::release(&mut transaction, worker, now).await?;
    transaction.commit().await?;
    engine.retire(worker).await?;
    // Nobody is declared dead here: only leases of workers that are not registered come back.
    while engine
        .recover_leases(now, Timestamp::default(), RECOVER_BATCH)
        .await?
        > 0
    {}
    Ok(())
}
