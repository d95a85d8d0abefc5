//! How promptly events reached their endpoints: in time, for people to read, and in places, for a judgement.
//!
//! A judgement by time would depend on the machine and on who else uses it. Two counts do not, because writers wait for
//! each answer before they write again, so that a slow machine slows them as well:
//!
//! - *behind*: how many of the writers' own events were committed between an event's commit and its arrival;
//! - *late*: how many places later an event arrived than its turn was, among the events of its kind of writer at its
//!   endpoint. (Events of the two kinds have no turn among each other: a row in SQL is found by polling.)

use std::{collections::BTreeMap, fmt};

use tokio::time::Instant;

use super::way::Way;

/// The first arrival of an event at an endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receipt {
    pub(super) at: Instant,
    /// Its place among all first arrivals.
    pub(super) order: u64,
    /// The events committed so far.
    pub(super) committed: u64,
}

/// A committed event's way to an endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passage {
    pub(super) way: Way,
    pub(super) endpoint: usize,
    /// When its writer began.
    pub(super) begun: Instant,
    /// The events committed before it.
    pub(super) committed: u64,
    pub(super) receipt: Receipt,
}

/// What many passages come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pace {
    passages: usize,
    /// From the request to the receipt of half, of 99 in 100, and of all of them.
    milliseconds: [u64; 3],
    /// The most events that one event was behind.
    pub(super) behind: u64,
    /// The most places that one event was late.
    pub(super) late: u64,
}

impl Pace {
    pub(super) fn of(passages: &[Passage]) -> Self {
        let mut times: Vec<u64> = passages.iter().map(Passage::milliseconds).collect();
        times.sort_unstable();
        let at = |share: f64| {
            let last = times.len().saturating_sub(1);
            times
                .get((last as f64 * share) as usize)
                .copied()
                .unwrap_or_default()
        };
        Self {
            passages: passages.len(),
            milliseconds: [at(0.5), at(0.99), at(1.0)],
            behind: passages.iter().map(Passage::behind).max().unwrap_or_default(),
            late: most_places_late(passages),
        }
    }

    /// How often the half of `other` goes into the half of this one; a half of less than `least_ms` counts as that.
    pub(super) fn slower_than(&self, other: &Self, least_ms: u64) -> u64 {
        self.milliseconds[0] / other.milliseconds[0].max(least_ms)
    }
}

impl Passage {
    fn milliseconds(&self) -> u64 {
        (self.receipt.at - self.begun).as_millis() as u64
    }

    fn behind(&self) -> u64 {
        self.receipt.committed.saturating_sub(self.committed)
    }
}

fn most_places_late(passages: &[Passage]) -> u64 {
    let mut queues: BTreeMap<(Way, usize), Vec<&Passage>> = BTreeMap::new();
    for passage in passages {
        queues
            .entry((passage.way, passage.endpoint))
            .or_default()
            .push(passage);
    }
    let late = |mut queue: Vec<&Passage>| {
        queue.sort_by_key(|passage| passage.committed);
        let mut arrivals: Vec<u64> = queue.iter().map(|passage| passage.receipt.order).collect();
        arrivals.sort_unstable();
        let places = queue.iter().enumerate().map(|(turn, passage)| {
            let place = arrivals.partition_point(|order| *order < passage.receipt.order);
            place.saturating_sub(turn) as u64
        });
        places.max().unwrap_or_default()
    };
    queues.into_values().map(late).max().unwrap_or_default()
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passages,
            milliseconds: [half, most, all],
            behind,
            late,
        } = self;
        write!(
            f,
            "{passages} receipts, {half} ms after the request (p50), {most} ms (p99), {all} ms at most; at most {behind} \
             own events behind, {late} places late"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn passage(committed: u64, order: u64, committed_then: u64, milliseconds: u64) -> Passage {
        let begun = Instant::now();
        Passage {
            way: Way::Http,
            endpoint: 0,
            begun,
            committed,
            receipt: Receipt {
                at: begun + Duration::from_millis(milliseconds),
                order,
                committed: committed_then,
            },
        }
    }

    #[test]
    fn events_in_their_turn_are_neither_behind_nor_late() {
        let pace = Pace::of(&[passage(0, 0, 1, 3), passage(1, 1, 2, 4), passage(2, 2, 3, 5)]);
        assert_eq!((pace.behind, pace.late), (1, 0));
        assert_eq!(pace.milliseconds, [4, 4, 5]);
    }

    #[test]
    fn an_event_that_others_overtake_is_late_by_their_number() {
        let pace = Pace::of(&[passage(0, 9, 4, 90), passage(1, 1, 2, 4), passage(2, 2, 3, 5)]);
        assert_eq!((pace.behind, pace.late), (4, 2));
    }

    #[test]
    fn kinds_of_writers_and_endpoints_have_turns_of_their_own() {
        let polled = Passage {
            way: Way::Sql,
            ..passage(0, 9, 4, 90)
        };
        let elsewhere = Passage {
            endpoint: 1,
            ..passage(0, 9, 4, 90)
        };
        assert_eq!(Pace::of(&[polled, elsewhere, passage(1, 1, 2, 4)]).late, 0);
    }

    #[test]
    fn a_pace_is_compared_with_another_one() {
        let pace = |milliseconds| Pace::of(&[passage(0, 0, 1, milliseconds)]);
        assert_eq!(pace(900).slower_than(&pace(300), 100), 3);
        assert_eq!(pace(900).slower_than(&pace(3), 100), 9);
    }

    #[test]
    fn nothing_has_no_pace() {
        assert_eq!(Pace::of(&[]), Pace::default());
    }
}
