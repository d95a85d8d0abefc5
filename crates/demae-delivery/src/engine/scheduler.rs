//! Brings what is due in the table to its lane.
//!
//! Four things say that a lane has something due: the recorder and the router, which know what they just wrote; the
//! store, which passes on what a person asked for and what other processes wrote; a lane that ran low and knows of more;
//! and a look at the whole table every [`SCAN_INTERVAL`], which finds what nobody told of and what a crash left. The look costs one index probe per endpoint that has anything waiting.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use demae_event::{Clock, EndpointId, Timestamp};
use demae_store::{Engine, StoreError, engine::LaneRequest};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{grants::Grants, lanes::Lanes, metric};
use crate::directory::Directory;

/// How often the whole table is looked at.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// Lanes served by one claim.
const LANES_PER_CLAIM: usize = 128;
/// Deliveries of one lane taken by one claim: others should not wait for a large one.
const CLAIM_LIMIT: u32 = 512;
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
        let mut ready = HashSet::new();
        while !stopping.is_cancelled() {
            if let Err(error) = self.turn(&mut ready, &mut next_scan).await {
                metrics::counter!(metric::STORE_FAILURES, "part" => "scheduler").increment(1);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the scheduler could not reach the database; trying again"
                );
                tokio::select! {
                    () = tokio::time::sleep(FAILURE_PAUSE) => {}
                    () = stopping.cancelled() => {}
                }
                continue;
            }
            if ready.is_empty() {
                self.rest(&mut ready, next_scan, &stopping).await;
            }
        }
    }

    /// Waits for the next thing to do.
    async fn rest(&self, ready: &mut HashSet<EndpointId>, next_scan: Instant, stopping: &CancellationToken) {
        let until_due = self
            .notes
            .earliest()
            .map(|due_at| Instant::now() + due_at.since(self.clock.now()));
        let wake_at = until_due.map_or(next_scan, |due| due.min(next_scan));
        tokio::select! {
            () = tokio::time::sleep_until(wake_at) => {}
            () = self.notes.sooner.notified() => {}
            () = self.lanes.ran_low() => {}
            told = self.engine.deliveries_changed() => ready.extend(told),
            () = stopping.cancelled() => {}
        }
    }

    /// Finds the lanes that have something due and serves some of them; `ready` keeps the others.
    async fn turn(&self, ready: &mut HashSet<EndpointId>, next_scan: &mut Instant) -> Result<(), StoreError> {
        if Instant::now() >= *next_scan {
            let now = self.clock.now();
            let horizon = now + SCAN_INTERVAL;
            for (endpoint, due_at) in self.engine.waiting_lanes().await? {
                if due_at <= now {
                    ready.insert(endpoint);
                } else if due_at <= horizon {
                    self.notes.add(endpoint, due_at);
                }
            }
            *next_scan = Instant::now() + SCAN_INTERVAL;
            self.lanes.sweep();
        }
        self.notes.take_due(self.clock.now(), ready);
        ready.extend(self.lanes.take_hungry());
        self.claim(ready).await
    }

    async fn claim(&self, ready: &mut HashSet<EndpointId>) -> Result<(), StoreError> {
        if ready.is_empty() {
            return Ok(());
        }
        // What is claimed from here on goes out under the settings of now, as what the router brings does.
        let directory = self.directory.refresh().await?;
        let mut requests = Vec::new();
        let served: Vec<EndpointId> = ready.iter().copied().take(LANES_PER_CLAIM).collect();
        for endpoint_id in served {
            let rate_limit = directory
                .get(endpoint_id)
                .and_then(|endpoint| endpoint.rate_limit);
            let limit = self
                .lanes
                .room_or_ask_later(endpoint_id, rate_limit)
                .min(CLAIM_LIMIT);
            ready.remove(&endpoint_id);
            if limit > 0 {
                requests.push(LaneRequest { endpoint_id, limit });
            }
        }
        if requests.is_empty() {
            return Ok(());
        }
        let grant = self.grants.grant(self.clock.now());
        let claimed = match self.engine.claim(&requests, grant).await {
            Ok(claimed) => claimed,
            Err(error) => {
                self.grants.doubt(grant);
                ready.extend(requests.iter().map(|request| request.endpoint_id));
                return Err(error);
            }
        };
        let mut counts: std::collections::HashMap<EndpointId, u32> = std::collections::HashMap::new();
        for delivery in claimed {
            *counts.entry(delivery.endpoint_id).or_default() += 1;
            self.lanes.push(delivery);
        }
        for request in requests {
            let full = counts.get(&request.endpoint_id).copied().unwrap_or_default() >= request.limit;
            self.lanes.set_more_waiting(request.endpoint_id, full);
        }
        Ok(())
    }
}
