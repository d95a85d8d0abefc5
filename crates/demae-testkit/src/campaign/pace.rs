//! How promptly events reached their endpoints: in time, for people to read, and in counts, for a judgement.
//!
//! A judgement by time would depend on the machine and on who else uses it. Counts do not, because whatever slows the
//! machine slows what is counted as well:
//!
//! - *overtaken*: how many attempts the program made for others between an event's commit and its arrival. A program that
//!   shares fairly makes a few for each of the event's own; an event that stands behind another tenant's backlog waits
//!   for all of it.
//! - *outrun*: how many of the others' acts ended while an event's writer waited for its commit.
//! - *behind*: how many of the writers' own events were committed between an event's commit and its arrival;
//! - *late*: how many places later an event arrived than its turn was, among the events of its kind of writer at its
//!   endpoint. (Events of the two kinds have no turn among each other: a row in SQL is found by polling.)

use std::{collections::BTreeMap, fmt};

use tokio::time::Instant;

use super::way::Way;

/// What all others got of the program so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Others {
    /// Acts that ended, most of them a request.
    pub(super) acts: u64,
    /// Attempts that reached their receivers.
    pub(super) attempts: u64,
}

/// A point of the campaign, by the clock and by counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Instant,
    /// The writers' own events committed so far.
    pub(super) own: u64,
    pub(super) others: Others,
}

/// The first arrival of an event at an endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receipt {
    /// Its place among all first arrivals.
    pub(super) order: u64,
    pub(super) moment: Moment,
}

/// A committed event's way to an endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passage {
    pub(super) way: Way,
    pub(super) endpoint: usize,
    /// Before its writer began.
    pub(super) begun: Moment,
    /// After its writer learnt of the commit, which may be later than the arrival.
    pub(super) committed: Moment,
    pub(super) receipt: Receipt,
}

/// What many passages come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pace {
    passages: usize,
    /// Milliseconds from the request to the commit.
    commit: Spread,
    /// Milliseconds from the request to the receipt.
    pub(super) receipt: Spread,
    pub(super) overtaken: Spread,
    pub(super) outrun: Spread,
    pub(super) behind: Spread,
    pub(super) late: Spread,
}

/// How a number is spread over many passages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spread {
    /// Half have at most this.
    pub(super) half: u64,
    /// 99 in 100 have at most this.
    pub(super) most: u64,
    /// All have at most this.
    pub(super) all: u64,
}

impl Pace {
    pub(super) fn of(passages: &[Passage]) -> Self {
        let spread = |number: fn(&Passage) -> u64| Spread::of(passages.iter().map(number).collect());
        Self {
            passages: passages.len(),
            commit: spread(|passage| milliseconds(&passage.begun, &passage.committed)),
            receipt: spread(|passage| milliseconds(&passage.begun, &passage.receipt.moment)),
            overtaken: spread(Passage::overtaken),
            outrun: spread(Passage::outrun),
            behind: spread(Passage::behind),
            late: Spread::of(places_late(passages)),
        }
    }

    /// How often the half of `other` goes into the half of this one; a half of less than `least_ms` counts as that.
    pub(super) fn slower_than(&self, other: &Self, least_ms: u64) -> u64 {
        self.receipt.half / other.receipt.half.max(least_ms)
    }
}

impl Passage {
    fn overtaken(&self) -> u64 {
        let (from, to) = (self.committed.others, self.receipt.moment.others);
        to.attempts.saturating_sub(from.attempts)
    }

    fn outrun(&self) -> u64 {
        self.committed.others.acts - self.begun.others.acts
    }

    fn behind(&self) -> u64 {
        self.receipt.moment.own.saturating_sub(self.committed.own)
    }
}

fn milliseconds(from: &Moment, to: &Moment) -> u64 {
    (to.at - from.at).as_millis() as u64
}

impl Spread {
    fn of(mut numbers: Vec<u64>) -> Self {
        numbers.sort_unstable();
        let at = |share: f64| {
            let last = numbers.len().saturating_sub(1);
            let found = numbers.get((last as f64 * share) as usize);
            found.copied().unwrap_or_default()
        };
        Self {
            half: at(0.5),
            most: at(0.99),
            all: at(1.0),
        }
    }
}

fn places_late(passages: &[Passage]) -> Vec<u64> {
    let mut queues: BTreeMap<(Way, usize), Vec<&Passage>> = BTreeMap::new();
    for passage in passages {
        queues
            .entry((passage.way, passage.endpoint))
            .or_default()
            .push(passage);
    }
    let late = |mut queue: Vec<&Passage>| {
        queue.sort_by_key(|passage| passage.committed.own);
        let mut arrivals: Vec<u64> = queue.iter().map(|passage| passage.receipt.order).collect();
        arrivals.sort_unstable();
        let places = queue.iter().enumerate().map(|(turn, passage)| {
            let place = arrivals.partition_point(|order| *order < passage.receipt.order);
            place.saturating_sub(turn) as u64
        });
        places.collect::<Vec<_>>()
    };
    queues.into_values().flat_map(late).collect()
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passages,
            commit,
            receipt,
            overtaken,
            outrun,
            behind,
            late,
        } = self;
        write!(
            f,
            "{passages} receipts; p50, p99 and most: {receipt} ms from request to receipt, {commit} ms to the commit, \
             {outrun} acts of others meanwhile; then {overtaken} attempts for others, {behind} own events; {late} places late"
        )
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { half, most, all } = self;
        write!(f, "{half}/{most}/{all}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn passage(committed: u64, order: u64, committed_then: u64, milliseconds: u64) -> Passage {
        let begun = Moment {
            at: Instant::now(),
            own: committed,
            others: Others::default(),
        };
        Passage {
            way: Way::Http,
            endpoint: 0,
            begun,
            committed: begun,
            receipt: Receipt {
                order,
                moment: Moment {
                    at: begun.at + Duration::from_millis(milliseconds),
                    own: committed_then,
                    ..begun
                },
            },
        }
    }

    #[test]
    fn events_in_their_turn_are_neither_behind_nor_late() {
        let pace = Pace::of(&[passage(0, 0, 1, 3), passage(1, 1, 2, 4), passage(2, 2, 3, 5)]);
        assert_eq!((pace.behind.all, pace.late.all), (1, 0));
        assert_eq!(pace.receipt.to_string(), "4/4/5");
    }

    #[test]
    fn an_event_that_others_overtake_is_late_by_their_number() {
        let pace = Pace::of(&[passage(0, 9, 4, 90), passage(1, 1, 2, 4), passage(2, 2, 3, 5)]);
        assert_eq!((pace.behind.all, pace.late.all), (4, 2));
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
        let pace = Pace::of(&[polled, elsewhere, passage(1, 1, 2, 4)]);
        assert_eq!(pace.late.all, 0);
    }

    #[test]
    fn what_others_got_is_counted_before_and_after_the_commit() {
        let mut event = passage(0, 0, 1, 3);
        event.begun.others = Others {
            acts: 5,
            attempts: 50,
        };
        event.committed.others = Others {
            acts: 12,
            attempts: 60,
        };
        event.receipt.moment.others = Others {
            acts: 99,
            attempts: 63,
        };
        let pace = Pace::of(&[event]);
        assert_eq!((pace.outrun.all, pace.overtaken.all), (7, 3));
        // It arrived before its writer learnt of the commit.
        event.receipt.moment.others.attempts = 55;
        assert_eq!(Pace::of(&[event]).overtaken.all, 0);
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
