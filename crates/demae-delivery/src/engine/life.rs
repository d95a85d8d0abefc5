//! Until when this worker may believe that the others take it for alive.
//!
//! A process that was frozen, or cut off from the database, wakes up with deliveries in its hands that others have taken
//! over. Their leases may look good for a while yet, so before each attempt it asks when its last sign of life was
//! written: if that is too long ago, what it has not begun goes back, and only the exchanges that were under way can have
//! been duplicates.

use std::sync::atomic::{AtomicI64, Ordering};

use demae_event::Timestamp;

/// The end of this worker's own belief; shared by the keeper, which moves it, and the lanes, which ask.
#[derive(Debug)]
pub(super) struct Life(AtomicI64);

impl Life {
    /// Of a worker that nobody else takes for dead.
    pub(super) fn unquestioned() -> Self {
        Self(AtomicI64::new(i64::MAX))
    }

    /// Of a worker that lives by its signs.
    pub(super) fn until(end: Timestamp) -> Self {
        Self(AtomicI64::new(end.as_micros()))
    }

    /// A sign of life was written that the others believe until `end`.
    pub(super) fn extend(&self, end: Timestamp) {
        self.0.fetch_max(end.as_micros(), Ordering::Relaxed);
    }

    /// Whether the others may still take this worker for alive.
    pub(super) fn goes_on(&self, now: Timestamp) -> bool {
        now.as_micros() < self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_unless_it_is_extended() {
        let at = Timestamp::from_secs;
        let life = Life::until(at(10));
        assert!(life.goes_on(at(9)) && !life.goes_on(at(10)));
        life.extend(at(20));
        life.extend(at(15));
        assert!(life.goes_on(at(19)) && !life.goes_on(at(20)));
        assert!(Life::unquestioned().goes_on(Timestamp::from_micros(i64::MAX - 1)));
    }
}
