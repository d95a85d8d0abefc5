//! How many faults there were.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::schedule::{Fault, Target};

/// How many faults there were. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    faults: BTreeMap<(String, Fault), u64>,
    stillborn: u64,
}

impl Tally {
    pub(super) fn count(&self, target: Target, fault: Fault) {
        *self
            .counts()
            .faults
            .entry((target.to_string(), fault))
            .or_default() += 1;
    }

    /// A process that ended before it was ever ready, and was started again.
    pub(super) fn count_stillborn(&self) {
        self.counts().stillborn += 1;
    }

    pub(super) fn total(&self) -> u64 {
        self.counts().faults.values().sum()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        for ((target, fault), count) in &counts.faults {
            write!(f, "{target} {fault} {count}, ")?;
        }
        write!(f, "starts in vain {}", counts.stillborn)
    }
}
