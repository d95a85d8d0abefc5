//! In whose name and until when this worker leases, and the leases that it may hold without knowing.
//!
//! A claim, or a routing that leases at once, whose answer is lost may have been carried out all the same. Then the rows
//! are leased to a worker that lives, so nobody takes them for left behind, and that knows nothing of them, so nobody
//! attempts them: they would wait until the lease ends. Asking once does not help: what was on its way when the line
//! broke can arrive, and commit, after the question.
//!
//! So no two grants of a worker end at the same time, which makes the end of a lease the name of its grant; and what was
//! leased under a grant whose answer was lost is given back again and again until that end.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use demae_event::Timestamp;
use demae_store::{Engine, StoreError, engine::LeaseGrant};
use uuid::Uuid;

/// Grants in doubt that are remembered. One is added by each failure, each failure is followed by a pause, and a lease
/// lasts minutes; what is forgotten here comes back when its lease ends.
const DOUBTS: usize = 4_096;

/// The grants of one worker.
#[derive(Debug)]
pub(super) struct Grants {
    worker: Uuid,
    lease: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the last grant ends.
    last: Timestamp,
    /// When those end whose answer was lost.
    doubtful: Vec<Timestamp>,
}

impl Grants {
    pub(super) fn new(worker: Uuid, lease: Duration) -> Self {
        Self {
            worker,
            lease,
            state: Mutex::default(),
        }
    }

    /// A grant for one call, which ends at a time of its own. A clock that was set back makes leases longer until it has
    /// caught up.
    pub(super) fn grant(&self, now: Timestamp) -> LeaseGrant {
        let mut state = self.state();
        let until = (now + self.lease).max(state.last + Duration::from_micros(1));
        state.last = until;
        LeaseGrant {
            worker: self.worker,
            now,
            until,
        }
    }

    /// The call failed, and nobody knows whether it was carried out.
    pub(super) fn doubt(&self, grant: LeaseGrant) {
        let mut state = self.state();
        if state.doubtful.len() < DOUBTS {
            state.doubtful.push(grant.until);
        }
    }

    /// Makes due again what is leased under the grants in doubt. Answers how many deliveries there were.
    pub(super) async fn give_back(&self, engine: &dyn Engine, now: Timestamp) -> Result<u64, StoreError> {
        let doubtful = {
            let mut state = self.state();
            // From then on they have lapsed, and are looked for with all others.
            state.doubtful.retain(|until| *until >= now);
            state.doubtful.clone()
        };
        if doubtful.is_empty() {
            return Ok(0);
        }
        engine.give_back(self.worker, &doubtful, now).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves these plain values whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_grants_end_at_the_same_time() {
        let now = Timestamp::from_secs(10);
        let grants = Grants::new(Uuid::nil(), Duration::from_secs(5));
        // A clock may be set back.
        let times = [now, now, now, now - Duration::from_secs(1)];
        let ends = times.map(|now| grants.grant(now).until.as_micros());
        assert_eq!(ends, [15_000_000, 15_000_001, 15_000_002, 15_000_003]);
        let later = grants.grant(now + Duration::from_secs(1));
        assert_eq!(later.until, Timestamp::from_secs(16));
    }
}
