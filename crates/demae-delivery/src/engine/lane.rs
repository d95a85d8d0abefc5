//! Holds the queue of one endpoint and decides how many of its attempts may be in flight.
//!
//! Pure: no clock, no tasks. [`super::lanes`] drives it, and [`super::permits`] and [`super::shares`] decide what it may
//! take of what all lanes share.
//!
//! # How many at a time
//!
//! A lane begins with [`INITIAL_CONCURRENCY`] attempts at a time. A success while more wait than are in flight allows
//! one more, up to [`MAX_CONCURRENCY`]; an empty queue takes one back. Each sign of trouble (no answer, 429, 502, 503,
//! 504) halves the number, down to one: a dead endpoint soon holds one connection and a queue of two.
//!
//! # Slow is not well
//!
//! A slow success keeps a permit, memory and a lease as long as a failure does. A lane whose attempts take longer than
//! [`SLOW`] on average, or that has waited that long for the first of them to end, is slow: it grows to
//! [`SLOW_CONCURRENCY`] at most, keeps as little in memory as a lane in trouble, and takes permits as
//! [`Standing::Doubtful`]. So does a lane that has not ended an attempt yet, because nothing is known about it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use demae_event::{OrganizationId, Timestamp};
use demae_store::engine::LeasedDelivery;

use super::permits::{Holder, Standing};

/// Attempts at a time of a new lane.
pub(super) const INITIAL_CONCURRENCY: u32 = 4;
/// Attempts at a time of a lane in the best of health.
pub(super) const MAX_CONCURRENCY: u32 = 48;
/// Attempts at a time of a slow lane.
pub(super) const SLOW_CONCURRENCY: u32 = 16;
/// A lane whose attempts take longer on average is slow.
pub(super) const SLOW: Duration = Duration::from_secs(1);
/// Each attempt moves the average by one part in so many.
const AVERAGE_OVER: u32 = 4;
/// Each delivery brings what is remembered as the largest down by one part in so many.
const LARGEST_OVER: u64 = 16;
/// Deliveries kept in memory by a lane that is well: what the router brings at once.
const QUEUE: u32 = 1_024;
/// Deliveries kept in memory, per attempt at a time, by a lane that is slow or in trouble.
const QUEUE_IN_TROUBLE: u32 = 2;
/// A lane with a rate limit keeps in memory what it can send within so many seconds: leases do not last for ever.
const RATE_LIMITED_QUEUE_SECONDS: u32 = 20;
/// A lane asks for more when it has less than this share of its capacity.
const LOW_WATER_DIVISOR: u32 = 2;

/// The state of one lane.
#[derive(Debug)]
pub(super) struct Lane {
    organization: OrganizationId,
    holder: Arc<Holder>,
    queue: VecDeque<LeasedDelivery>,
    /// Places taken for deliveries that have not arrived yet.
    reserved: u32,
    /// Of the deliveries in the queue and in flight.
    bytes: u64,
    /// About the size of the largest delivery of late.
    largest: u64,
    /// Tasks that take from the queue.
    active: u32,
    /// One of them waits for a permit.
    in_line: bool,
    concurrency: u32,
    /// How long an attempt takes, a moving average; none before the first.
    average: Option<Duration>,
    /// Since when attempts are in flight and none has ended.
    silent_since: Timestamp,
    last_used: Timestamp,
    rate_limit: Option<u32>,
    next_slot: Timestamp,
    /// The table holds more that is due.
    more_waiting: bool,
}

impl Lane {
    pub(super) fn new(organization: OrganizationId) -> Self {
        Self {
            organization,
            holder: Holder::new(organization),
            queue: VecDeque::new(),
            reserved: 0,
            bytes: 0,
            largest: 0,
            active: 0,
            in_line: false,
            concurrency: INITIAL_CONCURRENCY,
            average: None,
            silent_since: Timestamp::default(),
            last_used: Timestamp::default(),
            rate_limit: None,
            next_slot: Timestamp::default(),
            more_waiting: false,
        }
    }

    pub(super) fn organization(&self) -> OrganizationId {
        self.organization
    }

    /// Who takes its permits.
    pub(super) fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    pub(super) fn set_rate_limit(&mut self, rate_limit: Option<u32>) {
        self.rate_limit = rate_limit;
    }

    /// The places in memory that it has, those that are reserved included.
    pub(super) fn places(&self) -> u32 {
        self.queue.len() as u32 + self.reserved
    }

    /// How many more deliveries this lane takes into memory.
    pub(super) fn room(&self) -> u32 {
        self.capacity().saturating_sub(self.places())
    }

    fn capacity(&self) -> u32 {
        let capacity = if self.is_slow() || self.concurrency < INITIAL_CONCURRENCY {
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

    /// Whether a fresh delivery may come into memory: the lane is not full, and no older ones wait in the table, which
    /// come first.
    pub(super) fn takes_fresh(&self) -> bool {
        !self.more_waiting && self.room() > 0
    }

    /// The bytes of its deliveries in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// About the size of its largest delivery of late; 0 if there was none.
    pub(super) fn largest(&self) -> u64 {
        self.largest
    }

    pub(super) fn add_bytes(&mut self, size: u64) {
        self.bytes += size;
        self.largest = size.max(self.largest - self.largest / LARGEST_OVER).max(1);
    }

    pub(super) fn remove_bytes(&mut self, size: u64) {
        self.bytes = self.bytes.saturating_sub(size);
    }

    /// Sets places aside; they were taken from those that all lanes share.
    pub(super) fn reserve(&mut self, places: u32) {
        self.reserved += places;
    }

    /// Gives up places that were set aside. Answers how many there were.
    pub(super) fn unreserve(&mut self, places: u32) -> u32 {
        let given_up = places.min(self.reserved);
        self.reserved -= given_up;
        given_up
    }

    /// Takes a delivery in, on a place that was set aside. Answers whether a task should be started for it; it counts
    /// as active then.
    pub(super) fn push(&mut self, delivery: LeasedDelivery) -> bool {
        self.unreserve(1);
        self.queue.push_back(delivery);
        self.start_another()
    }

    /// Whether one more task should be started; it counts as active then.
    pub(super) fn start_another(&mut self) -> bool {
        let start = !self.queue.is_empty() && self.active < self.concurrency && !self.in_line;
        if start {
            self.active += 1;
        }
        start
    }

    /// Whether a task that was started, or finished an attempt, goes on. If not, it no longer counts as active.
    pub(super) fn goes_on(&mut self) -> bool {
        if self.active > self.concurrency {
            self.leave();
            return false;
        }
        if self.queue.is_empty() {
            self.leave();
            if self.concurrency > INITIAL_CONCURRENCY {
                self.concurrency -= 1;
            }
            return false;
        }
        true
    }

    /// A task ends.
    pub(super) fn leave(&mut self) {
        self.active = self.active.saturating_sub(1);
    }

    /// Whether one of its tasks stands in line for a permit: one is enough.
    pub(super) fn is_in_line(&self) -> bool {
        self.in_line
    }

    pub(super) fn set_in_line(&mut self, in_line: bool) {
        self.in_line = in_line;
    }

    /// The next delivery, for a task with a permit.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<LeasedDelivery> {
        let delivery = self.queue.pop_front()?;
        if self.holder.in_flight() <= 1 {
            self.silent_since = now;
        }
        self.last_used = now;
        Some(delivery)
    }

    /// When the next attempt may begin; takes that slot. Slots are evenly spaced, so a burst never exceeds the limit.
    pub(super) fn take_slot(&mut self, now: Timestamp) -> Timestamp {
        let Some(rate) = self.rate_limit else { return now };
        let slot = now.max(self.next_slot);
        self.next_slot = slot + Duration::from_secs(1) / rate.max(1);
        slot
    }

    /// Notes how an attempt went; `took` is none if nothing was sent. Answers whether another task should be started;
    /// it counts as active then.
    pub(super) fn note(&mut self, trouble: bool, took: Option<Duration>, now: Timestamp) -> bool {
        self.silent_since = now;
        if let Some(took) = took {
            self.average = Some(match self.average {
                None => took,
                Some(average) => (average * (AVERAGE_OVER - 1) + took) / AVERAGE_OVER,
            });
        }
        if trouble {
            self.concurrency = (self.concurrency / 2).max(1);
            return false;
        }
        let needed = self.queue.len() as u32 > self.concurrency || self.concurrency < INITIAL_CONCURRENCY;
        if needed {
            self.concurrency += 1;
        }
        self.bound_concurrency();
        self.start_another()
    }

    /// Notes that nothing was heard of the attempts in flight until `now`.
    pub(super) fn note_silence(&mut self, now: Timestamp) {
        let silence = now.since(self.silent_since);
        if self.holder.in_flight() > 0 && silence > SLOW {
            self.average = Some(self.average.unwrap_or_default().max(silence));
            self.bound_concurrency();
        }
    }

    fn bound_concurrency(&mut self) {
        let most = if self.is_slow() {
            SLOW_CONCURRENCY
        } else {
            MAX_CONCURRENCY
        };
        self.concurrency = self.concurrency.min(most);
    }

    fn is_slow(&self) -> bool {
        self.average.is_some_and(|average| average > SLOW)
    }

    /// How its next permit is taken.
    pub(super) fn standing(&self) -> Standing {
        if self.average.is_none() || self.is_slow() || self.concurrency == 1 {
            Standing::Doubtful
        } else {
            Standing::Quick
        }
    }

    /// What a lane that became slow holds beyond what it may: it would wait here until its leases end. The table has it.
    pub(super) fn take_excess(&mut self) -> Vec<LeasedDelivery> {
        if !self.is_slow() || self.queue.len() as u32 <= self.capacity() {
            return Vec::new();
        }
        self.more_waiting = true;
        self.queue.split_off(self.capacity() as usize).into()
    }

    /// Whether the scheduler should look into the table for this lane; asked after each attempt.
    pub(super) fn is_hungry(&self) -> bool {
        self.more_waiting && self.room() > self.capacity() / LOW_WATER_DIVISOR
    }

    /// What the scheduler found out about the table.
    pub(super) fn set_more_waiting(&mut self, more_waiting: bool) {
        self.more_waiting = more_waiting;
    }

    /// Nothing queued, promised, in flight or known to wait.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.reserved == 0 && self.active == 0 && !self.more_waiting
    }

    /// When its last attempt began.
    pub(super) fn last_used(&self) -> Timestamp {
        self.last_used
    }

    /// Gives the queue's memory back; what is known about the receiver stays.
    pub(super) fn shrink(&mut self) {
        self.queue.shrink_to_fit();
    }

    /// Takes everything out that has not been begun.
    pub(super) fn drain(&mut self) -> Vec<LeasedDelivery> {
        self.queue.drain(..).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use demae_event::{AttemptId, EndpointId, EventId, Scope};
    use demae_store::engine::Message;
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::*;
    use crate::engine::permits::{Answer, Permit, Permits};

    const QUICK: Option<Duration> = Some(Duration::from_millis(5));
    const LONG: Option<Duration> = Some(Duration::from_secs(20));

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    pub(in crate::engine) fn lane_with(deliveries: usize) -> Lane {
        let organization = OrganizationId(Uuid::nil());
        let mut lane = Lane::new(organization);
        let now = at(0);
        let message = Arc::new(Message {
            event_id: EventId::new(now),
            scope: Scope::default_of(organization),
            event_name: "A".to_owned(),
            event_type: "a".to_owned(),
            data: RawValue::NULL.to_owned(),
            headers: None,
            traceparent: None,
            created_at: now,
            expunged_at: None,
        });
        for _ in 0..deliveries {
            lane.reserve(1);
            lane.push(LeasedDelivery {
                endpoint_id: EndpointId(Uuid::nil()),
                lease: AttemptId::new(now),
                lease_until: now,
                due_at: now,
                attempts: 0,
                step: 0,
                manual: false,
                resume: None,
                delivered_name: "A".to_owned(),
                message: message.clone(),
            });
        }
        lane
    }

    pub(in crate::engine) fn begin(lane: &mut Lane, permits: &Arc<Permits>, now: Timestamp) -> Permit {
        let Answer::Permit(permit) = permits.take(lane.holder(), lane.standing(), false) else {
            panic!("there are enough permits");
        };
        assert!(lane.pop(now).is_some());
        permit
    }

    #[test]
    fn a_quick_lane_grows_while_more_wait() {
        let mut lane = lane_with(500);
        assert_eq!(lane.standing(), Standing::Doubtful, "nothing is known about it");
        for _ in 0..100 {
            lane.note(false, QUICK, at(0));
        }
        assert_eq!(
            (lane.concurrency, lane.standing()),
            (MAX_CONCURRENCY, Standing::Quick)
        );
        assert_eq!(lane.capacity(), QUEUE);
    }

    #[test]
    fn a_slow_lane_stays_small() {
        let mut lane = lane_with(500);
        for _ in 0..100 {
            lane.note(false, LONG, at(0));
        }
        assert_eq!(
            (lane.concurrency, lane.standing()),
            (SLOW_CONCURRENCY, Standing::Doubtful)
        );
        assert_eq!(lane.take_excess().len(), 500 - 2 * SLOW_CONCURRENCY as usize);
        assert_eq!(
            (lane.room(), lane.takes_fresh()),
            (0, false),
            "the rest waits in the table"
        );
    }

    #[test]
    fn a_lane_that_becomes_slow_shrinks_and_recovers() {
        let mut lane = lane_with(500);
        for _ in 0..100 {
            lane.note(false, QUICK, at(0));
        }
        lane.note(false, LONG, at(20));
        assert_eq!(
            (lane.concurrency, lane.standing()),
            (SLOW_CONCURRENCY, Standing::Doubtful)
        );
        for _ in 0..10 {
            lane.note(false, QUICK, at(21));
        }
        assert_eq!(lane.standing(), Standing::Quick);
        assert!(lane.concurrency > SLOW_CONCURRENCY && lane.take_excess().is_empty());
    }

    #[test]
    fn a_lane_is_slow_while_its_attempts_do_not_end() {
        let permits = Permits::new(1_024);
        let mut lane = lane_with(10);
        lane.note(false, QUICK, at(0));
        assert_eq!(lane.standing(), Standing::Quick);
        lane.note_silence(at(60));
        assert_eq!(lane.standing(), Standing::Quick, "it had nothing to do");
        let _first = begin(&mut lane, &permits, at(60));
        let _second = begin(&mut lane, &permits, at(61));
        lane.note_silence(at(61));
        assert_eq!(lane.standing(), Standing::Quick);
        lane.note_silence(at(62));
        assert_eq!(lane.standing(), Standing::Doubtful);
    }

    #[test]
    fn trouble_halves_and_one_task_in_line_is_enough() {
        let mut lane = lane_with(10);
        for (left, standing) in [
            (2, Standing::Quick),
            (1, Standing::Doubtful),
            (1, Standing::Doubtful),
        ] {
            lane.note(true, QUICK, at(0));
            assert_eq!((lane.concurrency, lane.standing()), (left, standing));
        }
        let mut lane = lane_with(10);
        lane.leave();
        lane.set_in_line(true);
        assert!(!lane.start_another());
        lane.set_in_line(false);
        assert!(lane.start_another());
    }
}
