//! What came, counted so that nothing grows with time: a byte per expected delivery, a count per tenth of a second, and
//! a histogram of latencies.

use serde::{Deserialize, Serialize};

use crate::{
    latency::{Latencies, Latency},
    mark::Mark,
};

/// Microseconds that one entry of [`Report::per_bucket`] covers.
pub(crate) const BUCKET: u64 = 100_000;
/// Event numbers above this can only be a fault of the driver.
const MAX_NUMBER: u64 = 100_000_000;
/// Buckets kept: over a day.
const MAX_BUCKETS: usize = 1_000_000;

/// Everything received.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Copies expected of each event.
    lanes: u64,
    /// How often each delivery came, at `number * lanes + lane`.
    seen: Vec<u8>,
    latency: Latencies,
    report: Report,
}

/// What a ledger says. Times are [`clock::now`](crate::clock::now).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Deliveries that came for the first time.
    pub(crate) distinct: u64,
    /// Deliveries that had come before.
    pub(crate) duplicates: u64,
    /// Requests without a mark.
    pub(crate) strays: u64,
    /// When the first came.
    pub(crate) first: u64,
    /// When the last came that had not come before.
    pub(crate) last: u64,
    /// First-time deliveries in each [`BUCKET`] since `first`.
    pub(crate) per_bucket: Vec<u32>,
    /// From the intended time to receipt.
    pub(crate) latency: Latency,
}

impl Report {
    /// Deliveries per second between two times, whole buckets only. `None` if there is none between them.
    pub(crate) fn rate_between(&self, from: u64, until: u64) -> Option<f64> {
        let begin = from.saturating_sub(self.first).div_ceil(BUCKET) as usize;
        let end = (until.saturating_sub(self.first) / BUCKET) as usize;
        let count = |bucket| u64::from(self.per_bucket.get(bucket).copied().unwrap_or(0));
        let received: u64 = (begin..end).map(count).sum();
        (end > begin).then(|| received as f64 / ((end - begin) as u64 * BUCKET) as f64 * 1e6)
    }

    /// Deliveries per second from the first to the last.
    pub(crate) fn rate(&self) -> f64 {
        self.distinct as f64 / (self.last - self.first).max(1) as f64 * 1e6
    }
}

impl Ledger {
    pub(super) fn new(lanes: u64) -> Self {
        Self {
            lanes: lanes.max(1),
            seen: Vec::new(),
            latency: Latencies::default(),
            report: Report::default(),
        }
    }

    pub(super) fn enter(&mut self, mark: Option<Mark>, lane: u64, now: u64) {
        let known = mark.filter(|mark| mark.number < MAX_NUMBER && lane < self.lanes);
        let Some(mark) = known else {
            self.report.strays += 1;
            return;
        };
        let place = (mark.number * self.lanes + lane) as usize;
        if place >= self.seen.len() {
            self.seen.resize((place + 1).next_power_of_two(), 0);
        }
        self.seen[place] = self.seen[place].saturating_add(1);
        if self.seen[place] > 1 {
            self.report.duplicates += 1;
            return;
        }
        if mark.intended > 0 {
            self.latency.record(mark.intended, now);
        }
        self.count(now);
    }

    fn count(&mut self, now: u64) {
        let report = &mut self.report;
        if report.distinct == 0 {
            report.first = now;
        }
        report.distinct += 1;
        report.last = now;
        let bucket = ((now - report.first) / BUCKET) as usize;
        if bucket >= report.per_bucket.len() && bucket < MAX_BUCKETS {
            report.per_bucket.resize(bucket + 1, 0);
        }
        if let Some(count) = report.per_bucket.get_mut(bucket) {
            *count += 1;
        }
    }

    pub(super) fn report(&self) -> Report {
        Report {
            latency: self.latency.summary(),
            ..self.report.clone()
        }
    }

    /// Numbers below `below` of which a copy is missing.
    pub(super) fn missing(&self, below: u64) -> Vec<u64> {
        let came = |place: u64| self.seen.get(place as usize).is_some_and(|times| *times > 0);
        (0..below.min(MAX_NUMBER))
            .filter(|number| !(number * self.lanes..(number + 1) * self.lanes).all(came))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(ledger: &mut Ledger, number: u64, intended: u64, lane: u64, now: u64) {
        ledger.enter(Some(Mark { number, intended }), lane, now);
    }

    #[test]
    fn each_copy_is_counted_once_and_again_as_a_duplicate() {
        let mut ledger = Ledger::new(2);
        enter(&mut ledger, 0, 10, 0, 1_010);
        enter(&mut ledger, 0, 10, 0, 5_000);
        enter(&mut ledger, 2, 10, 0, 2_010);
        enter(&mut ledger, 2, 10, 1, 3_010);
        ledger.enter(None, 0, 4_000);
        enter(&mut ledger, 0, 10, 2, 4_000);
        let report = ledger.report();
        assert_eq!((report.distinct, report.duplicates, report.strays), (3, 1, 2));
        assert_eq!((report.first, report.last), (1_010, 3_010));
        assert_eq!(ledger.missing(3), [0, 1]);
    }

    #[test]
    fn latencies_start_at_the_intended_time_and_skip_the_warm_up() {
        let mut ledger = Ledger::new(1);
        enter(&mut ledger, 0, 0, 0, 2_000);
        enter(&mut ledger, 1, 1_000, 0, 3_000);
        let latency = ledger.report().latency;
        assert_eq!((latency.count, latency.p50), (1, 2_000));
    }

    #[test]
    fn a_rate_is_taken_over_whole_buckets() {
        let mut ledger = Ledger::new(1);
        for number in 0..100 {
            enter(&mut ledger, number, 0, 0, 1_000_000 + number * 10_000);
        }
        let report = ledger.report();
        assert_eq!(report.rate_between(1_200_000, 1_800_000), Some(100.0));
        assert_eq!(report.rate_between(1_150_000, 1_190_000), None);
    }
}
