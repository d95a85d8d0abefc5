//! Times of many exchanges, in the space of a few.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency told apart, in microseconds: an hour.
const MAX: u64 = 3_600_000_000;

/// Microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Half are quicker.
    pub(crate) p50: u64,
    /// Nine in ten are quicker.
    pub(crate) p90: u64,
    /// 99 in 100 are quicker.
    pub(crate) p99: u64,
    /// The slowest.
    pub(crate) max: u64,
    /// How many were measured.
    pub(crate) count: u64,
}

/// Gathers them.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, MAX, 3)
            .unwrap_or_else(|_| unreachable!("the bounds are constants within what the histogram allows"));
        histogram.auto(true);
        Self(histogram)
    }
}

impl Latencies {
    /// One that began and ended then, in microseconds.
    pub(crate) fn record(&mut self, began: u64, ended: u64) {
        self.0.saturating_record(ended.saturating_sub(began).max(1));
    }

    /// What they come to.
    pub(crate) fn summary(&self) -> Latency {
        Latency {
            p50: self.0.value_at_quantile(0.5),
            p90: self.0.value_at_quantile(0.9),
            p99: self.0.value_at_quantile(0.99),
            max: self.0.max(),
            count: self.0.len(),
        }
    }
}
