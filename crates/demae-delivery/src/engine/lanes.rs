//! Runs all lanes, and shares what the process has among them.
//!
//! A lane has as many tasks as it may have attempts at a time, and none while it is empty: a task takes a permit and the
//! next delivery, makes the attempt, passes the outcome to the recorder and goes on until the queue is empty. No
//! dispatcher stands in the middle that all deliveries pass.
//!
//! # Guarantees
//! - One endpoint's trouble is its own, and one organization's load is its own. Attempts in flight and deliveries in
//!   memory are shared among the organizations that have work, then among the endpoints of each ([`super::shares`]);
//!   [`super::scheduler`] shares claims in the same way. What does not fit waits in the table.
//! - A slow success counts as slow ([`super::lane`]). Slow, failing and new lanes together cannot take the permits that
//!   quick ones need ([`super::permits`]).
//! - What a lane has learnt about its receiver outlives its work ([`REMEMBER`]): an endpoint does not become well by
//!   pausing, and one that is known as quick does not have to prove it for each event.
//!
//! - Deliveries in memory and outcomes that wait for the recorder are bounded in bytes, and shared among organizations
//!   ([`super::places`], [`super::outcomes`]).
//! - A panic in an attempt releases its delivery, and the lane goes on with the next one.
//!
//! # Limits
//! - Only attempts that end give their permits back: nothing is cut off for fairness. A receiver that was quick and
//!   turns slow keeps what it holds until its timeout.
//! - Shares cost throughput where one organization is alone: it uses half of `concurrency` at most, three eighths while
//!   its receivers are slow. A slow receiver gets [`super::lane::SLOW_CONCURRENCY`] attempts at a time at most.
//! - Each process shares out what it has by itself; processes do not know of each other's shares.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use demae_event::{Clock, EndpointId, OrganizationId, Timestamp};
use demae_store::engine::{LeasedDelivery, Release};
use tokio::sync::{Notify, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    lane::Lane,
    life::Life,
    metric, outcomes,
    permits::{Answer, Permit, Permits, Standing},
    places::{Places, cost_of},
    sender::{Attempted, NotMade, Sender},
    supervise::caught,
};

/// A lease must outlast the exchange by this much, for the record to be written under it.
pub(super) const LEASE_MARGIN: Duration = Duration::from_secs(10);
/// How long a lane without work is kept, for what it knows about its receiver.
const REMEMBER: Duration = Duration::from_mins(10);
/// Wait before a task that panicked goes on.
const PANIC_PAUSE: Duration = Duration::from_secs(1);
/// A delivery whose attempt panicked, or whose endpoint cannot be opened, is due again after this time.
const HOPELESS_PAUSE: Duration = Duration::from_mins(1);
/// Lanes without work that are kept.
const REMEMBERED_LANES: usize = 4_096;

/// What an attempt leaves for the recorder.
#[derive(Debug)]
pub(super) enum Outcome {
    /// An attempt was made, or found pointless.
    Attempted(Box<Attempted>),
    /// A lease is given back unused.
    Released(Release),
}

/// How much may be in memory and in flight, over all lanes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Deliveries in memory that wait for their attempt.
    pub(super) queued: usize,
    /// Bytes of the deliveries in memory.
    pub(super) queued_bytes: u64,
    /// Attempts at a time.
    pub(super) exchanges: usize,
}

pub(super) struct Lanes {
    lanes: Mutex<HashMap<EndpointId, Arc<Mutex<Lane>>>>,
    /// Places in memory; a lane locks itself first.
    places: Mutex<Places>,
    permits: Arc<Permits>,
    hungry: Mutex<HashSet<EndpointId>>,
    wake_scheduler: Notify,
    sender: Sender,
    clock: Arc<dyn Clock>,
    life: Arc<Life>,
    outcomes: outcomes::Sender<Outcome>,
    tasks: TaskTracker,
    /// Ends waiting for a rate limit's slot or a permit; attempts in flight go on.
    stopping: CancellationToken,
    /// Ends attempts.
    aborting: CancellationToken,
}

/// What a task of a lane does next.
enum Next {
    Attempt(Box<LeasedDelivery>, Permit),
    /// Wait for the rate limit's slot, then ask again.
    Sleep(Timestamp),
    Wait(oneshot::Receiver<Permit>),
    End,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves these plain collections whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lanes {
    pub(super) fn new(
        bounds: Bounds,
        sender: Sender,
        clock: Arc<dyn Clock>,
        life: Arc<Life>,
        outcomes: outcomes::Sender<Outcome>,
    ) -> Arc<Self> {
        Arc::new(Self {
            lanes: Mutex::default(),
            places: Mutex::new(Places::new(bounds.queued, bounds.queued_bytes)),
            permits: Permits::new(bounds.exchanges),
            hungry: Mutex::default(),
            wake_scheduler: Notify::new(),
            sender,
            clock,
            life,
            outcomes,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            aborting: CancellationToken::new(),
        })
    }

    fn lane(&self, endpoint: EndpointId, organization: OrganizationId) -> Arc<Mutex<Lane>> {
        locked(&self.lanes)
            .entry(endpoint)
            .or_insert_with(|| Arc::new(Mutex::new(Lane::new(organization))))
            .clone()
    }

    fn known_lane(&self, endpoint: EndpointId) -> Option<Arc<Mutex<Lane>>> {
        locked(&self.lanes).get(&endpoint).cloned()
    }

    /// Sets a place and `size` bytes aside for a fresh delivery; refused if it should wait in the table instead.
    pub(super) fn reserve(
        &self,
        endpoint: EndpointId,
        organization: OrganizationId,
        rate_limit: Option<u32>,
        size: u64,
    ) -> bool {
        let lane = self.lane(endpoint, organization);
        let mut lane = locked(&lane);
        lane.set_rate_limit(rate_limit);
        let granted = lane.takes_fresh() && locked(&self.places).take_fresh(&mut lane, size);
        if !granted {
            lane.set_more_waiting(true);
        }
        granted
    }

    /// Sets places aside for a claim, at most `limit`; if there are none, the lane asks again when it has room. Returns
    /// how many, and what their deliveries are expected to cost.
    pub(super) fn reserve_for_claim(
        &self,
        endpoint: EndpointId,
        organization: OrganizationId,
        rate_limit: Option<u32>,
        limit: u32,
    ) -> (u32, u64) {
        let lane = self.lane(endpoint, organization);
        let mut lane = locked(&lane);
        lane.set_rate_limit(rate_limit);
        lane.set_more_waiting(true);
        let mut places = locked(&self.places);
        let wanted = lane.room().min(limit).min(places.claimable(&lane));
        let taken = places.take_for_claim(&mut lane, wanted);
        (taken, Places::expected(&lane, taken))
    }

    /// Gives back what [`Lanes::reserve`] set aside.
    pub(super) fn unreserve(&self, endpoint: EndpointId, size: u64) {
        if let Some(lane) = self.known_lane(endpoint) {
            let mut lane = locked(&lane);
            self.give_up(&mut lane, 1);
            locked(&self.places).give_back_bytes(&mut lane, size);
        }
    }

    fn give_up(&self, lane: &mut Lane, places: u32) {
        let given_up = lane.unreserve(places);
        locked(&self.places).give_back(lane.organization(), u64::from(given_up));
    }

    /// Takes in a fresh delivery, for which a place and its bytes were set aside.
    pub(super) fn push(self: &Arc<Self>, delivery: LeasedDelivery) {
        self.push_counted(delivery, 0);
    }

    /// Takes in a claimed delivery, for which a place was set aside.
    pub(super) fn push_claimed(self: &Arc<Self>, delivery: LeasedDelivery) {
        let size = cost_of(&delivery.message);
        self.push_counted(delivery, size);
    }

    fn push_counted(self: &Arc<Self>, delivery: LeasedDelivery, size: u64) {
        let endpoint = delivery.endpoint_id;
        let lane = self.lane(endpoint, delivery.message.scope.organization);
        let start = {
            let mut lane = locked(&lane);
            if size > 0 {
                locked(&self.places).take_bytes(&mut lane, size);
            }
            lane.push(delivery)
        };
        if start {
            self.start_task(endpoint, lane);
        }
    }

    /// Notes what a claim showed about the rest in the table, and gives back the places that it left.
    pub(super) fn note_claim(&self, endpoint: EndpointId, unused: u32, more: bool) {
        let Some(lane) = self.known_lane(endpoint) else {
            return;
        };
        let hungry = {
            let mut lane = locked(&lane);
            self.give_up(&mut lane, unused);
            lane.set_more_waiting(more);
            lane.is_hungry()
        };
        if hungry {
            self.ask_scheduler(endpoint);
        }
    }

    /// A claim failed: its places are given back, and nothing is known about the table.
    pub(super) fn cancel_claim(&self, endpoint: EndpointId, places: u32) {
        if let Some(lane) = self.known_lane(endpoint) {
            self.give_up(&mut locked(&lane), places);
        }
    }

    /// The lanes that ran low and know of more in the table; forgets them.
    pub(super) fn take_hungry(&self) -> HashSet<EndpointId> {
        std::mem::take(&mut *locked(&self.hungry))
    }

    /// Returns when a lane ran low.
    pub(super) async fn ran_low(&self) {
        self.wake_scheduler.notified().await;
    }

    fn ask_scheduler(&self, endpoint: EndpointId) {
        if locked(&self.hungry).insert(endpoint) {
            self.wake_scheduler.notify_one();
        }
    }

    fn start_task(self: &Arc<Self>, endpoint: EndpointId, lane: Arc<Mutex<Lane>>) {
        let lanes = self.clone();
        self.tasks.spawn(async move {
            // After a panic the task goes on; it still counts as active.
            while caught("lane", lanes.work(endpoint, &lane)).await.is_none() {
                tokio::select! {
                    () = lanes.stopping.cancelled() => {}
                    () = tokio::time::sleep(PANIC_PAUSE) => {}
                }
            }
        });
    }

    /// One task of a lane.
    async fn work(self: &Arc<Self>, endpoint: EndpointId, lane: &Arc<Mutex<Lane>>) {
        while let Some((delivery, permit)) = self.next(endpoint, lane).await {
            let outcome = if self.lease_suffices(&delivery) {
                self.attempt(&delivery, permit).await
            } else {
                drop(permit);
                Some(Outcome::Released(release(&delivery)))
            };
            let Some(outcome) = outcome else { break };
            let excess = self.note(endpoint, lane, &outcome, cost_of(&delivery.message));
            let organization = delivery.message.scope.organization;
            drop(delivery);
            let outcomes = std::iter::once(outcome)
                .chain(excess.iter().map(|delivery| Outcome::Released(release(delivery))));
            for outcome in outcomes {
                if self.send(organization, outcome).await.is_err() {
                    // The recorder is gone only when the process ends; the lease lapses and another worker goes on.
                    return;
                }
            }
        }
        if locked(lane).is_hungry() {
            self.ask_scheduler(endpoint);
        }
    }

    /// Waits until the lane may begin its next attempt; none if this task ends.
    async fn next(
        self: &Arc<Self>,
        endpoint: EndpointId,
        lane: &Arc<Mutex<Lane>>,
    ) -> Option<(Box<LeasedDelivery>, Permit)> {
        let mut next = self.begin(lane, false);
        loop {
            match next {
                Next::Attempt(delivery, permit) => return Some((delivery, permit)),
                Next::End => return None,
                Next::Sleep(slot) => {
                    let wait = slot.since(self.clock.now());
                    tokio::select! {
                        () = self.stopping.cancelled() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                    next = self.begin(lane, true);
                }
                Next::Wait(permit) => {
                    let permit = tokio::select! {
                        biased;
                        () = self.stopping.cancelled() => None,
                        permit = permit => permit.ok(),
                    };
                    next = self.begin_from_line(endpoint, lane, permit);
                }
            }
        }
    }

    /// What a task does that was started, or has ended an attempt or a wait for the rate limit's slot.
    fn begin(&self, lane: &Mutex<Lane>, slot_taken: bool) -> Next {
        let now = self.clock.now();
        let mut lane = locked(lane);
        if self.stopping.is_cancelled() {
            lane.leave();
            return Next::End;
        }
        if !lane.goes_on() {
            return Next::End;
        }
        if !slot_taken {
            let slot = lane.take_slot(now);
            if slot > now {
                return Next::Sleep(slot);
            }
        }
        match self
            .permits
            .take(lane.holder(), lane.standing(), lane.is_in_line())
        {
            Answer::Permit(permit) => self.pop(&mut lane, permit, now),
            Answer::Wait(permit) => {
                lane.set_in_line(true);
                Next::Wait(permit)
            }
            Answer::Refused => {
                lane.leave();
                Next::End
            }
        }
    }

    /// What a task does that stood in line; it has no permit if the lanes stop.
    fn begin_from_line(
        self: &Arc<Self>,
        endpoint: EndpointId,
        lane: &Arc<Mutex<Lane>>,
        permit: Option<Permit>,
    ) -> Next {
        let mut state = locked(lane);
        state.set_in_line(false);
        let Some(permit) = permit else {
            state.leave();
            return Next::End;
        };
        let next = self.pop(&mut state, permit, self.clock.now());
        if state.start_another() {
            self.start_task(endpoint, lane.clone());
        }
        next
    }

    fn pop(&self, lane: &mut Lane, permit: Permit, now: Timestamp) -> Next {
        if let Some(delivery) = lane.pop(now) {
            locked(&self.places).give_back(lane.organization(), 1);
            Next::Attempt(Box::new(delivery), permit)
        } else {
            lane.leave();
            Next::End
        }
    }

    /// Draws the conclusions from an outcome. Answers the deliveries that the lane should no longer keep in memory.
    fn note(
        self: &Arc<Self>,
        endpoint: EndpointId,
        lane: &Arc<Mutex<Lane>>,
        outcome: &Outcome,
        size: u64,
    ) -> Vec<LeasedDelivery> {
        let mut state = locked(lane);
        locked(&self.places).give_back_bytes(&mut state, size);
        let mut excess = Vec::new();
        if let Outcome::Attempted(attempted) = outcome {
            let before = state.standing();
            if state.note(attempted.trouble, attempted.took(), self.clock.now()) {
                self.start_task(endpoint, lane.clone());
            }
            if before == Standing::Doubtful && state.standing() == Standing::Quick && state.is_in_line() {
                self.permits.promote(state.holder());
            }
            excess = state.take_excess();
            if !excess.is_empty() {
                let size = excess.iter().map(|delivery| cost_of(&delivery.message)).sum();
                let mut places = locked(&self.places);
                places.give_back(state.organization(), excess.len() as u64);
                places.give_back_bytes(&mut state, size);
            }
        }
        let hungry = state.is_hungry();
        drop(state);
        if hungry {
            self.ask_scheduler(endpoint);
        }
        excess
    }

    fn lease_suffices(&self, delivery: &LeasedDelivery) -> bool {
        let needed = self.sender.timeout_of(delivery.endpoint_id) + LEASE_MARGIN;
        let now = self.clock.now();
        now + needed < delivery.lease_until && self.life.goes_on(now)
    }

    async fn attempt(&self, delivery: &LeasedDelivery, _permit: Permit) -> Option<Outcome> {
        let gauge = metrics::gauge!(metric::EXCHANGES);
        gauge.increment(1.0);
        let attempted = tokio::select! {
            attempted = caught("lane", self.sender.attempt(delivery)) => Some(attempted),
            () = self.aborting.cancelled() => None,
        };
        gauge.decrement(1.0);
        Some(match attempted? {
            Some(Ok(attempted)) => Outcome::Attempted(Box::new(attempted)),
            // It may do so again; and secrets that cannot be opened are a person's work.
            None | Some(Err(NotMade::Closed)) => Outcome::Released(Release {
                due_at: self.clock.now() + HOPELESS_PAUSE,
                ..release(delivery)
            }),
            Some(Err(NotMade::Store(error))) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    endpoint = %delivery.endpoint_id,
                    "the endpoint could not be looked up; its delivery goes back"
                );
                Outcome::Released(release(delivery))
            }
        })
    }

    /// Waits until the organization's outcomes have room for one more.
    async fn send(&self, organization: OrganizationId, outcome: Outcome) -> Result<(), outcomes::Closed> {
        let size = match &outcome {
            Outcome::Attempted(attempted) => std::mem::size_of::<Attempted>() + attempted.record.size(),
            Outcome::Released(_) => std::mem::size_of::<Outcome>(),
        };
        self.outcomes.send(organization, size as u64, outcome).await
    }

    /// Called about every second: notices lanes whose attempts do not end, and forgets lanes without work, so that memory
    /// does not grow with every endpoint ever seen. What a receiver was like is remembered for [`REMEMBER`] after its
    /// last attempt, of [`REMEMBERED_LANES`] at most.
    pub(super) fn sweep(&self) {
        forget_idle(&mut locked(&self.lanes), self.clock.now());
        let usage = self.permits.usage();
        metrics::gauge!(metric::EXCHANGES_DOUBTFUL).set(usage.doubtful as f64);
        metrics::gauge!(metric::LANES_IN_LINE).set(usage.waiting as f64);
    }

    /// Ends: what was not begun is handed back, what is under way goes on until `deadline`, then is cut off. While the
    /// recorder cannot write it does not return; the caller has a deadline of its own.
    pub(super) async fn drain(&self, deadline: tokio::time::Instant) {
        self.stopping.cancel();
        let lanes: Vec<_> = locked(&self.lanes).values().cloned().collect();
        let hand_back = async {
            for lane in lanes {
                let unbegun = locked(&lane).drain();
                for delivery in unbegun {
                    // The recorder outlives the lanes; if it does not, the worker's retirement frees the lease.
                    let organization = delivery.message.scope.organization;
                    let released = Outcome::Released(release(&delivery));
                    let _ = self.send(organization, released).await;
                }
            }
        };
        self.tasks.close();
        let ended = async { tokio::join!(hand_back, self.tasks.wait()) };
        if tokio::time::timeout_at(deadline, ended).await.is_err() {
            tracing::warn!(
                exchanges = self.tasks.len(),
                "cutting off exchanges at the end of the drain deadline"
            );
            self.aborting.cancel();
            self.tasks.wait().await;
        }
    }
}

fn forget_idle(lanes: &mut HashMap<EndpointId, Arc<Mutex<Lane>>>, now: Timestamp) {
    let mut remembered = 0;
    lanes.retain(|_, lane| {
        // An Arc held elsewhere means that a task is about to use the lane.
        let in_use = Arc::strong_count(lane) > 1;
        let mut lane = locked(lane);
        lane.note_silence(now);
        if in_use || !lane.is_idle() {
            return true;
        }
        let keep = remembered < REMEMBERED_LANES && now.since(lane.last_used()) < REMEMBER;
        if keep {
            lane.shrink();
            remembered += 1;
        }
        keep
    });
}

fn release(delivery: &LeasedDelivery) -> Release {
    Release {
        lease: delivery.lease,
        endpoint_id: delivery.endpoint_id,
        event_id: delivery.message.event_id,
        due_at: delivery.due_at,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::engine::lane::tests::{begin, lane_with};

    /// A lane that made one attempt at `used`, which took so long, and has nothing to do any more.
    fn idle(used: Timestamp, took: Duration) -> Arc<Mutex<Lane>> {
        let mut lane = lane_with(1);
        drop(begin(&mut lane, &Permits::new(16), used));
        lane.note(false, Some(took), used);
        assert!(!lane.goes_on() && lane.is_idle());
        Arc::new(Mutex::new(lane))
    }

    #[test]
    fn what_a_lane_learnt_outlives_its_work_for_a_while() {
        let used = Timestamp::from_secs(1_000);
        let id = |number| EndpointId(Uuid::from_u128(number));
        let mut lanes = HashMap::from([
            (id(1), idle(used, Duration::from_secs(20))),
            (id(2), idle(used, Duration::from_millis(3))),
        ]);
        forget_idle(&mut lanes, used + REMEMBER - Duration::from_secs(1));
        let standing = |number| locked(&lanes[&id(number)]).standing();
        assert_eq!((standing(1), standing(2)), (Standing::Doubtful, Standing::Quick));
        forget_idle(&mut lanes, used + REMEMBER);
        assert!(lanes.is_empty(), "but not for ever");
        for number in 0..=REMEMBERED_LANES as u128 {
            lanes.insert(id(number), idle(used, Duration::ZERO));
        }
        forget_idle(&mut lanes, used);
        assert_eq!(lanes.len(), REMEMBERED_LANES, "nor of any number");
    }
}
