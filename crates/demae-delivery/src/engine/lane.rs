//! One endpoint's queue and how much of it may be under way.
//!
//! Pure: no clock, no tasks. [`super::lanes`] drives it.
//!
//! # How many at a time
//!
//! A lane begins with [`INITIAL_CONCURRENCY`] exchanges at a time. A success while more wait than are under way allows
//! one more, up to [`MAX_CONCURRENCY`]; an empty queue takes one back. So a slow receiver is served by many at a time,
//! and a quick one by a few on warm connections. Each sign of trouble (no answer, 429, 502, 503, 504) halves the number,
//! down to one: a dead endpoint soon holds one connection and a queue of two.

use std::{collections::VecDeque, time::Duration};

use demae_event::Timestamp;
use demae_store::engine::LeasedDelivery;

/// Exchanges at a time of a new lane.
pub(super) const INITIAL_CONCURRENCY: u32 = 4;
/// Exchanges at a time of a lane in the best of health.
pub(super) const MAX_CONCURRENCY: u32 = 48;
/// Deliveries kept in memory by a lane that is well: what the router brings at once.
const QUEUE: u32 = 1_024;
/// Deliveries kept in memory, per exchange at a time, by a lane in trouble.
const QUEUE_IN_TROUBLE: u32 = 2;
/// A lane with a rate limit keeps in memory what it can send within so many seconds: leases do not last for ever.
const RATE_LIMITED_QUEUE_SECONDS: u32 = 20;
/// A lane asks for more when it has less than this share of its capacity.
const LOW_WATER_DIVISOR: u32 = 2;

/// The state of one lane.
#[derive(Debug)]
pub(super) struct Lane {
    queue: VecDeque<LeasedDelivery>,
    /// Promised to the router, not arrived yet.
    reserved: u32,
    /// Tasks that take from the queue.
    active: u32,
    concurrency: u32,
    rate_limit: Option<u32>,
    next_slot: Timestamp,
    /// The table holds more that is due.
    more_waiting: bool,
}

/// Whether a lane task should go on.
#[derive(Debug)]
pub(super) enum Next {
    /// Attempt this one.
    Attempt(Box<LeasedDelivery>),
    /// End: nothing is left, or others suffice.
    Stop,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            reserved: 0,
            active: 0,
            concurrency: INITIAL_CONCURRENCY,
            rate_limit: None,
            next_slot: Timestamp::default(),
            more_waiting: false,
        }
    }

    pub(super) fn set_rate_limit(&mut self, rate_limit: Option<u32>) {
        self.rate_limit = rate_limit;
    }

    /// How many more deliveries this lane takes into memory.
    pub(super) fn room(&self) -> u32 {
        self.capacity()
            .saturating_sub(self.queue.len() as u32 + self.reserved)
    }

    fn capacity(&self) -> u32 {
        let capacity = if self.concurrency < INITIAL_CONCURRENCY {
            self.concurrency * QUEUE_IN_TROUBLE
        } else {
            QUEUE
        };
        match self.rate_limit {
            None => capacity,
            Some(rate) => capacity
                .min(rate.saturating_mul(RATE_LIMITED_QUEUE_SECONDS))
                .max(1),
        }
    }

    /// Sets a place aside for a fresh delivery. Refused if the lane is full, or if older ones wait in the table: they
    /// come first.
    pub(super) fn reserve(&mut self) -> bool {
        let granted = !self.more_waiting && self.room() > 0;
        if granted {
            self.reserved += 1;
        } else {
            self.more_waiting = true;
        }
        granted
    }

    /// Gives a place back that [`Lane::reserve`] set aside.
    pub(super) fn unreserve(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// Takes a delivery in. Answers whether a task should be started for it; it counts as active then.
    pub(super) fn push(&mut self, delivery: LeasedDelivery) -> bool {
        self.queue.push_back(delivery);
        let start = self.active < self.concurrency;
        if start {
            self.active += 1;
        }
        start
    }

    /// What a task that was started, or finished an attempt, does next.
    pub(super) fn next(&mut self) -> Next {
        if self.active > self.concurrency {
            self.active -= 1;
            return Next::Stop;
        }
        if let Some(delivery) = self.queue.pop_front() {
            Next::Attempt(Box::new(delivery))
        } else {
            self.active -= 1;
            if self.concurrency > INITIAL_CONCURRENCY {
                self.concurrency -= 1;
            }
            Next::Stop
        }
    }

    /// When the next exchange may begin; takes that slot. Slots are evenly spaced, so a burst never exceeds the limit.
    pub(super) fn take_slot(&mut self, now: Timestamp) -> Timestamp {
        let Some(rate) = self.rate_limit else { return now };
        let slot = now.max(self.next_slot);
        self.next_slot = slot + Duration::from_secs(1) / rate.max(1);
        slot
    }

    /// Notes how an attempt went. Answers whether another task should be started; it counts as active then.
    pub(super) fn note(&mut self, trouble: bool) -> bool {
        if trouble {
            self.concurrency = (self.concurrency / 2).max(1);
            return false;
        }
        let needed = self.queue.len() as u32 > self.concurrency || self.concurrency < INITIAL_CONCURRENCY;
        if needed {
            self.concurrency = (self.concurrency + 1).min(MAX_CONCURRENCY);
        }
        let start = self.active < self.concurrency && !self.queue.is_empty();
        if start {
            self.active += 1;
        }
        start
    }

    /// Whether the scheduler should look into the table for this lane; asked after each attempt.
    pub(super) fn is_hungry(&self) -> bool {
        self.more_waiting && self.room() > self.capacity() / LOW_WATER_DIVISOR
    }

    /// What the scheduler found out about the table.
    pub(super) fn set_more_waiting(&mut self, more_waiting: bool) {
        self.more_waiting = more_waiting;
    }

    /// In trouble: only one exchange at a time.
    pub(super) fn is_on_probation(&self) -> bool {
        self.concurrency == 1
    }

    /// Nothing queued, promised, under way or known to wait: it can be forgotten, unless it remembers trouble.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.reserved == 0 && self.active == 0 && !self.more_waiting
    }

    /// Takes everything out that has not been begun.
    pub(super) fn drain(&mut self) -> Vec<LeasedDelivery> {
        self.queue.drain(..).collect()
    }
}
