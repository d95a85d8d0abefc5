//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// Before the second attempt; the first is made at once.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait, before jitter.
const LONGEST: Duration = Duration::from_secs(5);
/// Waits vary by this part upwards and downwards, so that processes that lost the same broker do not come back at once.
const JITTER: f64 = 0.2;

/// Waits that double from failure to failure.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Something failed.
    pub(crate) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Something worked: the next failure is a first one.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Waits as long as the failures in a row call for.
    pub(crate) async fn wait(&self) {
        let wait = self.duration(rand::random_range(-JITTER..=JITTER));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn duration(&self, jitter: f64) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        FIRST
            .saturating_mul(1 << doublings.min(16))
            .min(LONGEST)
            .mul_f64(1.0 + jitter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_attempt_is_made_at_once() {
        assert_eq!(Backoff::default().duration(JITTER), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn waits_grow_to_a_bound(failures in 1_u32.., jitter in -JITTER..=JITTER) {
            let wait = |failures| Backoff { failures }.duration(jitter);
            prop_assert!(wait(failures) >= FIRST.mul_f64(1.0 - JITTER));
            prop_assert!(wait(failures) <= LONGEST.mul_f64(1.0 + JITTER));
            prop_assert!(wait(failures.saturating_add(1)) >= wait(failures));
        }
    }
}
