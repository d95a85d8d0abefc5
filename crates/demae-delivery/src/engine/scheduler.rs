//! Brings deliveries that are due in the table to their lanes.
//!
//! Four things say that a lane has something due: the recorder and the router, which know what they just wrote; the
//! store, which passes on what a person asked for and what other processes wrote; a lane that ran low and knows of more;
//! and a scan of the whole table every [`SCAN_INTERVAL`], which finds deliveries that were not announced and those that a
//! crash left behind. The scan costs one index probe per endpoint that has anything waiting.
//!
//! # Fairness
//! Lanes are served in turns, organization by organization ([`super::ready`]). One claim takes at most
//! [`CLAIM_TOTAL`] deliveries, of which each of its lanes gets an equal part, and sets their places in memory aside
//! before it asks for them. It takes fewer lanes if their deliveries are large ([`CLAIM_COST`]).

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use demae_event::{Clock, EndpointId, OrganizationId, Timestamp};
use demae_store::{
    Engine, StoreError,
    engine::{CLAIM_BYTES, LaneRequest},
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{grants::Grants, lanes::Lanes, metric, places::cost, ready::Ready, supervise::caught};
use crate::directory::{Directory, Snapshot};

/// How often the whole table is looked at.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// Lanes served by one claim; each may bring [`CLAIM_BYTES`].
const LANES_PER_CLAIM: usize = 64;
/// Deliveries of one lane taken by one claim: others should not wait for a large one.
const CLAIM_LIMIT: u32 = 512;
/// Deliveries of all its lanes taken by one claim, for the same reason.
const CLAIM_TOTAL: u32 = 4_096;
/// What the deliveries of one claim are expected to cost, at most; the last lane may exceed it.
const CLAIM_COST: u64 = cost(8 << 20);
/// Due times remembered; more are found by the next look.
const NOTES_LIMIT: usize = 100_000;
/// Wait before a failed look at the database is repeated.
const FAILURE_PAUSE: Duration = Duration::from_millis(250);

/// What the recorder and the router tell the scheduler.
#[derive(Debug, Default)]
pub(super) struct DueNotes {
    heap: Mutex<BinaryHeap<Reverse<(Timestamp, EndpointId)>>>,
    sooner: Notify,
}

impl DueNotes {
    /// A delivery to `endpoint` waits in the table until `due_at`.
    pub(super) fn add(&self, endpoint: EndpointId, due_at: Timestamp) {
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        let first = heap
            .peek()
            .is_none_or(|Reverse((earliest, _))| due_at < *earliest);
        if heap.len() < NOTES_LIMIT {
            heap.push(Reverse((due_at, endpoint)));
        }
        drop(heap);
        if first {
            self.sooner.notify_one();
        }
    }

    fn take_due(&self, now: Timestamp, into: &mut HashSet<EndpointId>) {
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Reverse((due_at, endpoint))) = heap.peek().copied() {
            if due_at > now {
                break;
            }
            heap.pop();
            into.insert(endpoint);
        }
    }

    fn earliest(&self) -> Option<Timestamp> {
        let heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        heap.peek().map(|Reverse((due_at, _))| *due_at)
    }
}

pub(super) struct Scheduler {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) directory: Arc<Directory>,
    pub(super) notes: Arc<DueNotes>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) grants: Arc<Grants>,
}

impl Scheduler {
    /// Runs until `stopping`.
    pub(super) async fn run(self, stopping: CancellationToken) {
        let mut next_scan = Instant::now();
        let mut found = HashSet::new();
        let mut ready = Ready::default();
        while !stopping.is_cancelled() {
            let turn = caught("scheduler", self.turn(&mut found, &mut ready, &mut next_scan)).await;
            let Some(result) = turn else {
                pause(&stopping).await;
                continue;
            };
            if let Err(error) = result {
                metrics::counter!(metric::STORE_FAILURES, "part" => "scheduler").increment(1);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the scheduler could not reach the database; trying again"
                );
                pause(&stopping).await;
                continue;
            }
            if ready.is_empty() {
                self.rest(&mut found, next_scan, &stopping).await;
            }
        }
    }

    /// Waits for the next thing to do.
    async fn rest(&self, found: &mut HashSet<EndpointId>, next_scan: Instant, stopping: &CancellationToken) {
        let until_due = self
            .notes
            .earliest()
            .map(|due_at| Instant::now() + due_at.since(self.clock.now()));
        let wake_at = until_due.map_or(next_scan, |due| due.min(next_scan));
        tokio::select! {
            () = tokio::time::sleep_until(wake_at) => {}
            () = self.notes.sooner.notified() => {}
            () = self.lanes.ran_low() => {}
            told = self.engine.deliveries_changed() => found.extend(told),
            () = stopping.cancelled() => {}
        }
    }

    /// Finds the lanes that have something due and serves some of them; `ready` keeps the others.
    async fn turn(
        &self,
        found: &mut HashSet<EndpointId>,
        ready: &mut Ready,
        next_scan: &mut Instant,
    ) -> Result<(), StoreError> {
        if Instant::now() >= *next_scan {
            let now = self.clock.now();
            let horizon = now + SCAN_INTERVAL;
            for (endpoint, due_at) in self.engine.waiting_lanes().await? {
                if due_at <= now {
                    found.insert(endpoint);
                } else if due_at <= horizon {
                    self.notes.add(endpoint, due_at);
                }
            }
            *next_scan = Instant::now() + SCAN_INTERVAL;
            self.lanes.sweep();
        }
        self.notes.take_due(self.clock.now(), found);
        found.extend(self.lanes.take_hungry());
        if found.is_empty() && ready.is_empty() {
            return Ok(());
        }
        // What is claimed from here on goes out under the settings of now, as what the router brings does.
        let directory = self.directory.refresh().await?;
        for endpoint in found.drain() {
            ready.add(organization_of(&directory, endpoint), endpoint);
        }
        self.claim(ready, &directory).await
    }

    async fn claim(&self, ready: &mut Ready, directory: &Snapshot) -> Result<(), StoreError> {
        let requests = self.requests(ready, directory);
        if requests.is_empty() {
            return Ok(());
        }
        let grant = self.grants.grant(self.clock.now());
        // Caught here, because the places that were set aside must be given back.
        let claimed = caught("scheduler", self.engine.claim(&requests, grant)).await;
        let claimed = match claimed.unwrap_or(Err(StoreError::Unreadable("the claim panicked"))) {
            Ok(claimed) => claimed,
            Err(error) => {
                self.grants.doubt(grant);
                for LaneRequest { endpoint_id, limit } in requests {
                    self.lanes.cancel_claim(endpoint_id, limit);
                    ready.add(organization_of(directory, endpoint_id), endpoint_id);
                }
                return Err(error);
            }
        };
        let mut taken: HashMap<EndpointId, (u32, u64)> = HashMap::new();
        for delivery in claimed {
            let (count, bytes) = taken.entry(delivery.endpoint_id).or_default();
            *count += 1;
            *bytes += delivery.message.size() as u64;
            self.lanes.push_claimed(delivery);
        }
        for LaneRequest { endpoint_id, limit } in requests {
            let (count, bytes) = taken.get(&endpoint_id).copied().unwrap_or_default();
            let more = count >= limit || bytes >= CLAIM_BYTES;
            self.lanes
                .note_claim(endpoint_id, limit.saturating_sub(count), more);
        }
        Ok(())
    }

    /// What the next lanes can take; places in memory are set aside for it.
    fn requests(&self, ready: &mut Ready, directory: &Snapshot) -> Vec<LaneRequest> {
        let lanes = ready.len().clamp(1, LANES_PER_CLAIM);
        let limit = (CLAIM_TOTAL / lanes as u32).min(CLAIM_LIMIT);
        let mut requests = Vec::with_capacity(lanes);
        let mut expected_cost = 0;
        for _ in 0..lanes {
            if expected_cost >= CLAIM_COST {
                break;
            }
            let Some((organization, endpoint_id)) = ready.take() else {
                break;
            };
            let rate_limit = directory
                .get(endpoint_id)
                .and_then(|endpoint| endpoint.rate_limit);
            let (limit, expected) =
                self.lanes
                    .reserve_for_claim(endpoint_id, organization, rate_limit, limit);
            expected_cost += expected;
            if limit > 0 {
                requests.push(LaneRequest { endpoint_id, limit });
            }
        }
        requests
    }
}

/// Waits before a failed turn is repeated.
async fn pause(stopping: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(FAILURE_PAUSE) => {}
        () = stopping.cancelled() => {}
    }
}

/// Whose the endpoint is; those that nobody knows (any more) are taken together.
fn organization_of(directory: &Snapshot, endpoint: EndpointId) -> OrganizationId {
    directory
        .get(endpoint)
        .map_or(OrganizationId(Uuid::nil()), |endpoint| {
            endpoint.scope.organization
        })
}
