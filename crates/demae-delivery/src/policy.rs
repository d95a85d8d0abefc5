//! What follows from an attempt: success, another attempt and when, or the end.
//!
//! Pure: the time and the dice are arguments. The kinds of failure are mapped in one match without a wildcard, so that
//! a new kind has to choose.

use std::time::Duration;

use demae_event::Timestamp;
use demae_store::engine::DeliveryState;

use crate::client::ErrorKind;

/// Waits are varied by this share in both directions (docs/receiving.md).
const JITTER: f64 = 0.2;
/// `Retry-After` may stretch a wait to this multiple of the planned one (docs/receiving.md).
const RETRY_AFTER_STRETCH: u32 = 2;
/// The most waits a schedule may have.
pub const MAX_STEPS: usize = 20;
/// The longest single wait.
pub const MAX_WAIT: Duration = Duration::from_hours(168);

/// The waits between scheduled attempts; the first attempt is made at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

/// A schedule beyond [`MAX_STEPS`] or [`MAX_WAIT`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleFault {
    /// Too many waits.
    #[error("at most {MAX_STEPS} waits are allowed")]
    TooMany,
    /// A wait is too long; its place in the list.
    #[error("a wait may be at most {} seconds long", MAX_WAIT.as_secs())]
    TooLong(usize),
}

impl RetrySchedule {
    /// From waits in seconds. An empty list means one attempt.
    pub fn from_seconds(seconds: &[u64]) -> Result<Self, ScheduleFault> {
        if seconds.len() > MAX_STEPS {
            return Err(ScheduleFault::TooMany);
        }
        if let Some(place) = seconds.iter().position(|wait| *wait > MAX_WAIT.as_secs()) {
            return Err(ScheduleFault::TooLong(place));
        }
        Ok(Self(
            seconds.iter().map(|wait| Duration::from_secs(*wait)).collect(),
        ))
    }

    /// The waits in seconds.
    pub fn as_seconds(&self) -> Vec<u64> {
        self.0.iter().map(Duration::as_secs).collect()
    }

    /// How many attempts there are in all.
    pub fn attempts(&self) -> u32 {
        self.0.len() as u32 + 1
    }
}

impl Default for RetrySchedule {
    /// 6 attempts: at once, then after 5 s, 5 min, 30 min, 2 h and 8 h (kaiten.md, section 7).
    fn default() -> Self {
        Self([5, 300, 1_800, 7_200, 28_800].map(Duration::from_secs).to_vec())
    }
}

/// How an exchange ended, as far as the policy cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A complete answer with this status.
    Status(u16),
    /// No complete answer.
    Error(ErrorKind),
}

/// What an ending calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Delivered.
    Success,
    /// Worth another attempt.
    RetryLater,
    /// Not worth another attempt, whatever the schedule says.
    GiveUp,
    /// The receiver says that it wants nothing any more: disable the endpoint.
    Gone,
}

impl Ending {
    /// The policy.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Status(200..=299) => Verdict::Success,
            Self::Status(410) => Verdict::Gone,
            Self::Status(_) => Verdict::RetryLater,
            Self::Error(kind) => match kind {
                // The URL must be changed, or the operator's allow-list; time alone changes nothing.
                ErrorKind::AddressRefused => Verdict::GiveUp,
                ErrorKind::Dns
                | ErrorKind::ConnectRefused
                | ErrorKind::ConnectTimeout
                | ErrorKind::ConnectFailed
                | ErrorKind::Tls
                | ErrorKind::Timeout
                | ErrorKind::ConnectionReset
                | ErrorKind::Protocol
                | ErrorKind::BodyBroken
                | ErrorKind::BodyTimeout => Verdict::RetryLater,
            },
        }
    }

    /// Whether the endpoint's server seems to be away or overloaded, rather than to refuse this message: a reason to
    /// send it fewer at a time.
    pub fn is_trouble(self) -> bool {
        match self {
            Self::Status(status) => matches!(status, 429 | 502 | 503 | 504),
            Self::Error(_) => true,
        }
    }

    /// The name of the failure in history and metrics; none for a success.
    pub fn error_kind(self) -> Option<&'static str> {
        match self {
            Self::Status(200..=299) => None,
            Self::Status(300..=399) => Some("redirect"),
            Self::Status(_) => Some("http_status"),
            Self::Error(kind) => Some(kind.as_str()),
        }
    }
}

/// A delivery's place, as its lease says.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Scheduled attempts made before this one.
    pub step: u32,
    /// This one was asked for by a person.
    pub manual: bool,
    /// Where a failed manual attempt returns to.
    pub resume: Option<(DeliveryState, Timestamp)>,
}

/// What becomes of the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Finished: delivered.
    Delivered,
    /// Finished: given up.
    Exhausted,
    /// Finished, and the endpoint is to be disabled.
    Gone,
    /// Another attempt then; the number of scheduled attempts made.
    Retry {
        /// When.
        at: Timestamp,
    },
    /// A failed manual attempt of a delivery that was finished: it stays what it was.
    Unchanged(DeliveryState),
}

/// Decides. `dice` is uniform in `0.0..1.0`; `retry_after` what the answer asked for, if it did.
pub fn decide(
    ending: Ending,
    place: Place,
    schedule: &RetrySchedule,
    now: Timestamp,
    retry_after: Option<Duration>,
    dice: f64,
) -> Decision {
    match ending.verdict() {
        Verdict::Success => Decision::Delivered,
        // The endpoint is disabled all the same; what has arrived stays delivered.
        Verdict::Gone => match place.resume {
            Some((DeliveryState::Succeeded, _)) if place.manual => resume(place),
            _ => Decision::Gone,
        },
        Verdict::GiveUp if !place.manual => Decision::Exhausted,
        Verdict::GiveUp | Verdict::RetryLater if place.manual => resume(place),
        Verdict::GiveUp | Verdict::RetryLater => match schedule.0.get(place.step as usize) {
            None => Decision::Exhausted,
            Some(planned) => Decision::Retry {
                at: now + wait(*planned, retry_after, dice),
            },
        },
    }
}

/// A manual attempt that failed leaves the schedule as it was before.
fn resume(place: Place) -> Decision {
    match place.resume {
        Some((DeliveryState::Waiting | DeliveryState::Leased, at)) => Decision::Retry { at },
        Some((state, _)) => Decision::Unchanged(state),
        None => Decision::Exhausted,
    }
}

fn wait(planned: Duration, retry_after: Option<Duration>, dice: f64) -> Duration {
    let jittered = planned.mul_f64(1.0 - JITTER + 2.0 * JITTER * dice.clamp(0.0, 1.0));
    match retry_after {
        None => jittered,
        Some(asked) => jittered.max(asked.min(planned * RETRY_AFTER_STRETCH)),
    }
}

/// Reads `Retry-After` (RFC 9110, section 10.2.3): whole seconds or an HTTP date.
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let date = time::PrimitiveDateTime::parse(value, &format).ok()?;
    Some(Timestamp::from(date.assume_utc()).since(now))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);
    const FIRST: Place = Place {
        step: 0,
        manual: false,
        resume: None,
    };

    #[test]
    fn follows_the_schedule_to_its_end() {
        let schedule = RetrySchedule::default();
        let failed = Ending::Status(500);
        for (step, seconds) in [5, 300, 1_800, 7_200, 28_800].into_iter().enumerate() {
            let place = Place {
                step: step as u32,
                ..FIRST
            };
            let decision = decide(failed, place, &schedule, NOW, None, 0.5);
            assert_eq!(
                decision,
                Decision::Retry {
                    at: NOW + Duration::from_secs(seconds)
                }
            );
        }
        let last = Place { step: 5, ..FIRST };
        assert_eq!(
            decide(failed, last, &schedule, NOW, None, 0.5),
            Decision::Exhausted
        );
        assert_eq!(schedule.attempts(), 6);
    }

    #[test]
    fn refuses_redirects_and_gives_up_on_refused_addresses() {
        let schedule = RetrySchedule::default();
        assert_eq!(Ending::Status(302).verdict(), Verdict::RetryLater);
        assert_eq!(Ending::Status(302).error_kind(), Some("redirect"));
        let refused = Ending::Error(ErrorKind::AddressRefused);
        assert_eq!(
            decide(refused, FIRST, &schedule, NOW, None, 0.5),
            Decision::Exhausted
        );
        assert_eq!(
            decide(Ending::Status(410), FIRST, &schedule, NOW, None, 0.5),
            Decision::Gone
        );
    }

    #[test]
    fn a_failed_manual_attempt_keeps_the_schedule() {
        let schedule = RetrySchedule::default();
        let planned = NOW + Duration::from_secs(7_000);
        let place = |state| Place {
            step: 2,
            manual: true,
            resume: Some((state, planned)),
        };
        let decide = |place| decide(Ending::Status(500), place, &schedule, NOW, None, 0.5);
        assert_eq!(
            decide(place(DeliveryState::Waiting)),
            Decision::Retry { at: planned }
        );
        for state in [
            DeliveryState::Failed,
            DeliveryState::Succeeded,
            DeliveryState::Canceled,
        ] {
            assert_eq!(decide(place(state)), Decision::Unchanged(state));
        }
    }

    #[test]
    fn no_answer_to_a_manual_attempt_takes_a_success_away() {
        let schedule = RetrySchedule::default();
        let place = |state| Place {
            step: 6,
            manual: true,
            resume: Some((state, NOW)),
        };
        let refused = [ErrorKind::AddressRefused, ErrorKind::Timeout].map(Ending::Error);
        for ending in (300..=999).map(Ending::Status).chain(refused) {
            assert_eq!(
                decide(ending, place(DeliveryState::Succeeded), &schedule, NOW, None, 0.5),
                Decision::Unchanged(DeliveryState::Succeeded)
            );
        }
        let gone = decide(
            Ending::Status(410),
            place(DeliveryState::Canceled),
            &schedule,
            NOW,
            None,
            0.5,
        );
        assert_eq!(gone, Decision::Gone);
    }

    #[test]
    fn reads_both_forms_of_retry_after() {
        assert_eq!(parse_retry_after(" 120 ", NOW), Some(Duration::from_mins(2)));
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let date = "Sat, 21 Nov 2026 10:02:00 GMT";
        assert_eq!(parse_retry_after(date, now), Some(Duration::from_mins(2)));
        assert_eq!(parse_retry_after("soon", now), None);
        assert_eq!(parse_retry_after("-5", now), None);
    }

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(
            seconds in 0_u64..1_000_000, asked in proptest::option::of(0_u64..10_000_000), dice in 0.0_f64..1.0,
        ) {
            let planned = Duration::from_secs(seconds.min(MAX_WAIT.as_secs()));
            let waited = wait(planned, asked.map(Duration::from_secs), dice);
            prop_assert!(waited >= planned.mul_f64(1.0 - JITTER));
            prop_assert!(waited <= planned * RETRY_AFTER_STRETCH);
            if let Some(asked) = asked {
                prop_assert!(waited >= Duration::from_secs(asked).min(planned * RETRY_AFTER_STRETCH));
            }
        }

        #[test]
        fn never_panics_on_a_retry_after(value in ".*") {
            let _ = parse_retry_after(&value, NOW);
        }

        #[test]
        fn every_status_has_a_decision_and_retries_end(status in 100_u16..=999, step in 0_u32..100) {
            let place = Place { step, ..FIRST };
            let decision = decide(Ending::Status(status), place, &RetrySchedule::default(), NOW, None, 0.0);
            match decision {
                Decision::Delivered => prop_assert!((200..300).contains(&status)),
                Decision::Gone => prop_assert_eq!(status, 410),
                Decision::Retry { at } => prop_assert!(step < 5 && at > NOW),
                Decision::Exhausted => prop_assert!(step >= 5),
                Decision::Unchanged(_) => prop_assert!(false, "only for manual attempts"),
            }
        }
    }
}
