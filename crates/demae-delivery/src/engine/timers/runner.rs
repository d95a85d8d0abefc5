//! Claims due timers and runs their handlers within the bounds of their kinds.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use demae_event::{Clock, OrganizationId, Timestamp};
use demae_store::{
    Store, StoreError,
    engine::LeaseGrant,
    repository::timers::{self, DueTimer, SCAN_INTERVAL, Timer},
    silence::answer,
};
use tokio::{sync::Notify, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::kind::{Outcome, TimerError, TimerKind};
use crate::engine::{life::Life, metric, shares::Pool, supervise::caught};

/// The longest pause after a failed run.
pub const MAX_BACKOFF: Duration = Duration::from_mins(15);
/// The pause after the first failed run; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// A lease outlives the deadline of its run by this margin, in which the outcome is recorded.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
/// Due timers of a kind that are looked at in the order of their times.
const WINDOW: u64 = 64;
/// Organizations that are looked at in turn once the window holds too many of a few.
const TURNS: u32 = 64;
/// Before the outcome of a run is recorded again after the database failed.
const RECORD_PAUSE: Duration = Duration::from_secs(1);

/// Runs timers in one process. Cheap to clone.
#[derive(Clone)]
pub struct Runner {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    clock: Arc<dyn Clock>,
    worker: Uuid,
    life: Arc<Life>,
    kinds: HashMap<&'static str, Arc<KindState>>,
    /// Runs in flight.
    runs: TaskTracker,
    /// Ends runs in flight at their next await.
    stopping: CancellationToken,
    /// A run has ended.
    finished: Notify,
}

struct KindState {
    kind: TimerKind,
    sharing: Mutex<Sharing>,
}

struct Sharing {
    places: Pool,
    /// The organization that was looked at last.
    turn: Option<OrganizationId>,
}

impl Runner {
    /// A runner of its own, for a process without an engine. It must run in the name of a registered worker.
    pub fn new(store: Store, clock: Arc<dyn Clock>, worker: Uuid, kinds: Vec<TimerKind>) -> Self {
        Self::of_worker(store, clock, worker, Arc::new(Life::unquestioned()), kinds)
    }

    pub(in crate::engine) fn of_worker(
        store: Store,
        clock: Arc<dyn Clock>,
        worker: Uuid,
        life: Arc<Life>,
        kinds: Vec<TimerKind>,
    ) -> Self {
        let kinds = kinds
            .into_iter()
            .map(|kind| (kind.name, Arc::new(KindState::new(kind))));
        Self {
            shared: Arc::new(Shared {
                store,
                clock,
                worker,
                life,
                kinds: kinds.collect(),
                runs: TaskTracker::new(),
                stopping: CancellationToken::new(),
                finished: Notify::new(),
            }),
        }
    }

    /// Runs timers until `stopping`, then ends the runs in flight. Their leases are released by
    /// [`timers::release`] or return with the worker's.
    pub async fn run(self, stopping: CancellationToken) {
        let shared = &self.shared;
        let claiming = stopping.run_until_cancelled(async {
            loop {
                let next = caught("timers", answer(self.claim_all())).await;
                let next = match next {
                    Some(Ok(next)) => next,
                    Some(Err(error)) => {
                        metrics::counter!(metric::STORE_FAILURES, "part" => "timers").increment(1);
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "timers could not be claimed; trying again"
                        );
                        None
                    }
                    None => None,
                };
                self.wait(next).await;
            }
        });
        claiming.await;
        shared.stopping.cancel();
        shared.runs.close();
        shared.runs.wait().await;
    }

    /// Runs what is due now, once, and returns when it has ended. Returns the number of runs.
    ///
    /// For tests and for processes that look after timers by themselves.
    pub async fn run_due(&self) -> Result<usize, StoreError> {
        let (claimed, _) = self.claim_round().await?;
        self.shared.runs.close();
        self.shared.runs.wait().await;
        self.shared.runs.reopen();
        Ok(claimed)
    }

    /// Sleeps until `next`, until a timer is set that wakes earlier, or until a run has ended.
    async fn wait(&self, mut next: Option<Timestamp>) {
        let shared = &self.shared;
        let engine = shared.store.engine();
        let pause = |next: Option<Timestamp>| {
            let until = next.map_or(SCAN_INTERVAL, |next| next.since(shared.clock.now()));
            tokio::time::sleep(until.min(SCAN_INTERVAL))
        };
        let planned = pause(next);
        tokio::pin!(planned);
        loop {
            tokio::select! {
                () = &mut planned => return,
                () = shared.finished.notified() => return,
                at = engine.timers_changed() => if next.is_none_or(|next| at < next) {
                    next = Some(at);
                    planned.set(pause(next));
                }
            }
        }
    }

    /// Claims until nothing is due that has room. Returns when the next timer wakes.
    async fn claim_all(&self) -> Result<Option<Timestamp>, StoreError> {
        loop {
            let (claimed, next) = self.claim_round().await?;
            if claimed == 0 {
                return Ok(next);
            }
        }
    }

    /// Looks at each kind once and starts runs. Returns how many, and when the next timer wakes that is not due yet.
    async fn claim_round(&self) -> Result<(usize, Option<Timestamp>), StoreError> {
        let now = self.shared.clock.now();
        let (mut claimed, mut next) = (0, None::<Timestamp>);
        if !self.shared.life.goes_on(now) {
            // Other workers may take this one for dead, and would recover at once what it claims.
            return Ok((claimed, next));
        }
        for (kind, wake_at) in timers::earliest(self.shared.store.reader()).await? {
            let Some(kind) = self.shared.kinds.get(kind.as_str()) else {
                continue;
            };
            if wake_at <= now {
                claimed += self.claim(kind, now).await?;
            } else {
                next = Some(next.map_or(wake_at, |next| next.min(wake_at)));
            }
        }
        Ok((claimed, next))
    }

    /// Claims due timers of a kind for which there is room, and starts their runs. Returns how many.
    async fn claim(&self, kind: &Arc<KindState>, now: Timestamp) -> Result<usize, StoreError> {
        let picked = self.pick(kind, now).await?;
        if picked.is_empty() {
            return Ok(0);
        }
        let grant = LeaseGrant {
            worker: self.shared.worker,
            now,
            until: now + kind.kind.deadline + LEASE_MARGIN,
        };
        let subjects: Vec<String> = picked.iter().map(|(subject, _)| subject.clone()).collect();
        let mut transaction = self.shared.store.begin().await?;
        let claimed = timers::claim(&mut transaction, kind.kind.name, &subjects, grant).await?;
        transaction.commit().await?;
        // The places of those that another worker was quicker to claim are free again with the map.
        let mut places: HashMap<String, Place> = picked.into_iter().collect();
        let count = claimed.len();
        for timer in claimed {
            if let Some(place) = places.remove(&timer.subject) {
                self.start(kind.clone(), timer, place, now);
            }
        }
        Ok(count)
    }

    /// Chooses due timers and takes a place for each: in the order of their times, as far as their organizations have room.
    /// If the first ones leave places free that they may not have, the other organizations' are looked for in turn.
    async fn pick(&self, kind: &Arc<KindState>, now: Timestamp) -> Result<Vec<(String, Place)>, StoreError> {
        let reader = self.shared.store.reader();
        if !kind.has_room() {
            return Ok(Vec::new());
        }
        let window = timers::due(reader, kind.kind.name, now, WINDOW).await?;
        let is_full = window.len() as u64 == WINDOW;
        let mut picked = Vec::new();
        self.take_places(kind, window, &mut picked);
        if is_full && kind.has_room() {
            let after = kind.sharing().turn;
            let (others, turn) =
                timers::due_by_organization(reader, kind.kind.name, now, after, TURNS).await?;
            kind.sharing().turn = turn;
            self.take_places(kind, others, &mut picked);
        }
        Ok(picked)
    }

    fn take_places(&self, kind: &Arc<KindState>, due: Vec<DueTimer>, picked: &mut Vec<(String, Place)>) {
        for timer in due {
            let is_new = picked.iter().all(|(subject, _)| *subject != timer.subject);
            if is_new && kind.take(timer.organization_id) {
                let place = Place {
                    shared: self.shared.clone(),
                    kind: kind.clone(),
                    organization: timer.organization_id,
                    is_running: false,
                };
                picked.push((timer.subject, place));
            }
        }
    }

    fn start(&self, kind: Arc<KindState>, timer: Timer, mut place: Place, now: Timestamp) {
        place.is_running = true;
        let shared = self.shared.clone();
        let stopping = shared.stopping.clone();
        let run = async move {
            let run = kind.kind.handler.run(&timer, now);
            let result = caught("timers", timeout(kind.kind.deadline, run)).await;
            let result = match result {
                Some(Ok(result)) => result,
                Some(Err(_)) => Err(TimerError::Failed("the run exceeded its deadline".to_owned())),
                None => Err(TimerError::Failed("the handler panicked".to_owned())),
            };
            shared.settle(&timer, result).await;
            drop(place);
        };
        self.shared.runs.spawn(stopping.run_until_cancelled_owned(run));
    }
}

impl Shared {
    /// Records what became of a run, again and again while the database fails and the lease lasts.
    async fn settle(&self, timer: &Timer, result: Result<Outcome, TimerError>) {
        let outcome = match &result {
            Ok(_) => "done",
            Err(TimerError::LeaseLost) => "lost",
            Err(_) => "failed",
        };
        metrics::counter!(metric::TIMER_RUNS, "kind" => timer.kind.clone(), "outcome" => outcome)
            .increment(1);
        if let Err(error @ (TimerError::Store(_) | TimerError::Failed(_))) = &result {
            tracing::warn!(
                kind = timer.kind,
                subject = timer.subject,
                failures = timer.failures + 1,
                error = error as &dyn std::error::Error,
                "a timer failed; it runs again later"
            );
        }
        while self.clock.now() < timer.lease_until {
            match answer(self.record(timer, &result)).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::debug!(
                        kind = timer.kind,
                        subject = timer.subject,
                        "the lease of a timer was lost"
                    );
                    return;
                }
                Err(error) => {
                    metrics::counter!(metric::STORE_FAILURES, "part" => "timers").increment(1);
                    tracing::warn!(
                        kind = timer.kind,
                        subject = timer.subject,
                        error = &error as &dyn std::error::Error,
                        "the outcome of a timer could not be recorded; trying again"
                    );
                    tokio::time::sleep(RECORD_PAUSE).await;
                }
            }
        }
    }

    /// Returns whether the lease was still held.
    async fn record(&self, timer: &Timer, result: &Result<Outcome, TimerError>) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let error = match result {
            Ok(Outcome::Settled) | Err(TimerError::LeaseLost) => return Ok(true),
            Ok(outcome) => Ok(outcome),
            Err(TimerError::Store(error)) => Err(error.reason()),
            Err(error) => Err(error.to_string()),
        };
        let mut transaction = self.store.begin().await?;
        let held = match error {
            Ok(Outcome::Again { at, data }) => {
                timers::reschedule(&mut transaction, timer, *at, data.clone()).await?
            }
            Ok(Outcome::Done | Outcome::Settled) => timers::complete(&mut transaction, timer).await?,
            Err(error) => {
                let wake_at = now + backoff(timer.failures);
                timers::fail(&mut transaction, timer, &error, wake_at).await?
            }
        };
        transaction.commit().await?;
        Ok(held)
    }
}

/// The pause after a failed run that `failures` others preceded.
fn backoff(failures: u32) -> Duration {
    FIRST_BACKOFF
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(MAX_BACKOFF)
}

impl KindState {
    fn new(kind: TimerKind) -> Self {
        let places = Pool::new(u64::from(kind.concurrency.max(1)));
        Self {
            kind,
            sharing: Mutex::new(Sharing { places, turn: None }),
        }
    }

    /// Whether an organization that holds no place would get one.
    fn has_room(&self) -> bool {
        self.sharing().places.room(NEWCOMER, 0) > 0
    }

    fn take(&self, organization: OrganizationId) -> bool {
        let mut sharing = self.sharing();
        let has_room = sharing.places.room(organization, 0) > 0;
        if has_room {
            sharing.places.take(organization, 1);
        }
        has_room
    }

    fn sharing(&self) -> MutexGuard<'_, Sharing> {
        // A panic elsewhere leaves these plain values whole.
        self.sharing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An organization that never holds a place.
const NEWCOMER: OrganizationId = OrganizationId(Uuid::max());

/// The right to one run; dropping it frees it.
struct Place {
    shared: Arc<Shared>,
    kind: Arc<KindState>,
    organization: OrganizationId,
    is_running: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kind.sharing().places.give_back(self.organization, 1);
        if self.is_running {
            self.shared.finished.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_have_a_bound() {
        let seconds = [0, 1, 2, 9, 10, 31, u32::MAX].map(|failures| backoff(failures).as_secs());
        assert_eq!(seconds, [1, 2, 4, 512, 900, 900, 900]);
    }
}
