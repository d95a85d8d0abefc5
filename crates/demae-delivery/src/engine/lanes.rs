//! All lanes, and the tasks that work through them.
//!
//! A lane has as many tasks as it may have exchanges at a time, and none while it is empty: a task takes the next
//! delivery, makes the attempt, hands the outcome to the recorder and goes on until the queue is empty. There is no
//! dispatcher in the middle that all deliveries pass.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use demae_event::{Clock, EndpointId, Timestamp};
use demae_store::engine::{LeasedDelivery, Release};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    lane::{Lane, Next},
    life::Life,
    metric,
    sender::{Attempted, Sender},
};

/// A lease must outlast the exchange by this much, for the record to be written under it.
pub(super) const LEASE_MARGIN: Duration = Duration::from_secs(10);

/// What an attempt leaves for the recorder.
#[derive(Debug)]
pub(super) enum Outcome {
    /// An attempt was made (or found pointless).
    Attempted(Box<Attempted>),
    /// A lease is given back unused.
    Released(Release),
}

/// How much may be in memory and under way, over all lanes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Deliveries in memory.
    pub(super) queued: usize,
    /// Exchanges at a time; lanes in trouble share a quarter of them, and cannot take the rest.
    pub(super) exchanges: usize,
}

pub(super) struct Lanes {
    lanes: Mutex<HashMap<EndpointId, Arc<Mutex<Lane>>>>,
    queued: AtomicUsize,
    bounds: Bounds,
    healthy_permits: Semaphore,
    probation_permits: Semaphore,
    hungry: Mutex<HashSet<EndpointId>>,
    wake_scheduler: Notify,
    sender: Sender,
    clock: Arc<dyn Clock>,
    life: Arc<Life>,
    outcomes: mpsc::Sender<Outcome>,
    tasks: TaskTracker,
    /// Ends waiting for a rate limit's slot or a permit; exchanges under way go on.
    stopping: CancellationToken,
    /// Ends exchanges.
    aborting: CancellationToken,
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
        outcomes: mpsc::Sender<Outcome>,
    ) -> Arc<Self> {
        Arc::new(Self {
            lanes: Mutex::default(),
            queued: AtomicUsize::new(0),
            healthy_permits: Semaphore::new(bounds.exchanges - bounds.exchanges / 4),
            probation_permits: Semaphore::new((bounds.exchanges / 4).max(1)),
            bounds,
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

    fn lane(&self, endpoint: EndpointId) -> Arc<Mutex<Lane>> {
        locked(&self.lanes)
            .entry(endpoint)
            .or_insert_with(|| Arc::new(Mutex::new(Lane::new())))
            .clone()
    }

    /// Sets a place aside for a fresh delivery; refused if it should wait in the table instead.
    pub(super) fn reserve(&self, endpoint: EndpointId, rate_limit: Option<u32>) -> bool {
        let lane = self.lane(endpoint);
        let mut lane = locked(&lane);
        lane.set_rate_limit(rate_limit);
        if self.queued.load(Ordering::Relaxed) >= self.bounds.queued {
            lane.set_more_waiting(true);
            return false;
        }
        lane.reserve()
    }

    /// Gives back what [`Lanes::reserve`] set aside.
    pub(super) fn unreserve(&self, endpoint: EndpointId) {
        locked(&self.lane(endpoint)).unreserve();
    }

    /// Takes in a delivery for which a place was reserved.
    pub(super) fn push_reserved(self: &Arc<Self>, delivery: LeasedDelivery) {
        let lane = self.lane(delivery.endpoint_id);
        locked(&lane).unreserve();
        self.push_into(&lane, delivery);
    }

    /// Takes in a claimed delivery.
    pub(super) fn push(self: &Arc<Self>, delivery: LeasedDelivery) {
        let lane = self.lane(delivery.endpoint_id);
        self.push_into(&lane, delivery);
    }

    fn push_into(self: &Arc<Self>, lane: &Arc<Mutex<Lane>>, delivery: LeasedDelivery) {
        let endpoint = delivery.endpoint_id;
        self.queued.fetch_add(1, Ordering::Relaxed);
        let start = locked(lane).push(delivery);
        if start {
            self.start_task(endpoint, lane.clone());
        }
    }

    /// How many deliveries to claim for the endpoint; if none, the lane asks again when it has room.
    pub(super) fn room_or_ask_later(&self, endpoint: EndpointId, rate_limit: Option<u32>) -> u32 {
        let lane = self.lane(endpoint);
        let mut lane = locked(&lane);
        lane.set_rate_limit(rate_limit);
        let left = self
            .bounds
            .queued
            .saturating_sub(self.queued.load(Ordering::Relaxed));
        let room = lane.room().min(left as u32);
        lane.set_more_waiting(true);
        room
    }

    /// Notes what a claim showed about the rest in the table.
    pub(super) fn set_more_waiting(&self, endpoint: EndpointId, more: bool) {
        let lane = self.lane(endpoint);
        let hungry = {
            let mut lane = locked(&lane);
            lane.set_more_waiting(more);
            lane.is_hungry()
        };
        if hungry {
            self.ask_scheduler(endpoint);
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
        self.tasks.spawn(async move { lanes.work(endpoint, &lane).await });
    }

    /// One task of a lane.
    async fn work(self: &Arc<Self>, endpoint: EndpointId, lane: &Arc<Mutex<Lane>>) {
        loop {
            let (delivery, slot, probation) = {
                let mut lane = locked(lane);
                match lane.next() {
                    Next::Stop => break,
                    Next::Attempt(delivery) => {
                        (delivery, lane.take_slot(self.clock.now()), lane.is_on_probation())
                    }
                }
            };
            self.queued.fetch_sub(1, Ordering::Relaxed);
            let permit = tokio::select! {
                biased;
                () = self.stopping.cancelled() => None,
                permit = self.admit(slot, probation) => permit,
            };
            let outcome = match permit {
                Some(permit) if self.lease_suffices(&delivery) => self.attempt(&delivery, permit).await,
                _ => Some(Outcome::Released(release(&delivery))),
            };
            let Some(outcome) = outcome else { break };
            let trouble = match &outcome {
                Outcome::Attempted(attempted) => Some(attempted.trouble),
                Outcome::Released(_) => None,
            };
            if self.outcomes.send(outcome).await.is_err() {
                // The recorder is gone only when the process ends; the lease lapses and another worker goes on.
                break;
            }
            let (another, hungry) = {
                let mut lane = locked(lane);
                (
                    trouble.is_some_and(|trouble| lane.note(trouble)),
                    lane.is_hungry(),
                )
            };
            if another {
                self.start_task(endpoint, lane.clone());
            }
            if hungry {
                self.ask_scheduler(endpoint);
            }
        }
        if locked(lane).is_hungry() {
            self.ask_scheduler(endpoint);
        }
    }

    /// Waits for the rate limit's slot, then for a permit.
    async fn admit(&self, slot: Timestamp, probation: bool) -> Option<SemaphorePermit<'_>> {
        let wait = slot.since(self.clock.now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let permits = if probation {
            &self.probation_permits
        } else {
            &self.healthy_permits
        };
        permits.acquire().await.ok()
    }

    fn lease_suffices(&self, delivery: &LeasedDelivery) -> bool {
        let needed = self.sender.timeout_of(delivery.endpoint_id) + LEASE_MARGIN;
        let now = self.clock.now();
        now + needed < delivery.lease_until && self.life.goes_on(now)
    }

    async fn attempt(&self, delivery: &LeasedDelivery, _permit: SemaphorePermit<'_>) -> Option<Outcome> {
        let gauge = metrics::gauge!(metric::EXCHANGES);
        gauge.increment(1.0);
        let attempted = tokio::select! {
            attempted = self.sender.attempt(delivery) => Some(attempted),
            () = self.aborting.cancelled() => None,
        };
        gauge.decrement(1.0);
        Some(match attempted? {
            Ok(attempted) => Outcome::Attempted(Box::new(attempted)),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    endpoint = %delivery.endpoint_id,
                    "the endpoint could not be looked up; its delivery goes back"
                );
                Outcome::Released(release(delivery))
            }
        })
    }

    /// Forgets lanes that have nothing to do, so that memory does not grow with every endpoint ever seen.
    pub(super) fn sweep(&self) {
        // An Arc held elsewhere means that somebody is about to use the lane.
        locked(&self.lanes).retain(|_, lane| Arc::strong_count(lane) > 1 || !locked(lane).is_idle());
    }

    /// Ends: what was not begun is handed back, what is under way goes on until `deadline`, then is cut off. While the
    /// recorder cannot write it does not return; the caller has a deadline of its own.
    pub(super) async fn drain(&self, deadline: tokio::time::Instant) {
        self.stopping.cancel();
        let lanes: Vec<_> = locked(&self.lanes).values().cloned().collect();
        let hand_back = async {
            for lane in lanes {
                let unbegun = locked(&lane).drain();
                self.queued.fetch_sub(unbegun.len(), Ordering::Relaxed);
                for delivery in unbegun {
                    // The recorder outlives the lanes; if it does not, the worker's retirement frees the lease.
                    let _ = self.outcomes.send(Outcome::Released(release(&delivery))).await;
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

fn release(delivery: &LeasedDelivery) -> Release {
    Release {
        lease: delivery.lease,
        endpoint_id: delivery.endpoint_id,
        event_id: delivery.message.event_id,
        due_at: delivery.due_at,
    }
}
