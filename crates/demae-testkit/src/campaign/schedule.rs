//! Which faults happen when: drawn from the seed before anything runs, for each target by itself.
//!
//! Pure. A target is afflicted by one fault at a time; different targets overlap freely, which is the point. The draws of
//! one target do not depend on which others there are.

use std::{fmt, ops::RangeInclusive, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};

/// What can be afflicted. A number tells those of a kind apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// A process of Demae.
    Node(u64),
    /// The line from a process to Postgres.
    DatabaseLine(u64),
    /// The line from a process to RabbitMQ.
    BrokerLine(u64),
    Postgres,
    RabbitMq,
    /// The connection that reads the replication slot.
    SlotReader,
    Receiver,
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Fault {
    /// SIGKILL, or what comes nearest; started again at the end.
    Kill,
    /// An orderly stop; started again at the end.
    Restart,
    /// SIGSTOP, and SIGCONT at the end.
    Freeze,
    /// Connections are reset, and new ones too.
    Cut,
    /// Connections stay open and nothing moves.
    Stall,
    /// Everything takes longer.
    Slow,
    /// The connection is ended by the server.
    Disconnect,
    /// RabbitMQ takes nothing from publishers.
    Alarm,
}

/// One fault of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disaster {
    /// From the beginning of the campaign.
    pub(super) at: Duration,
    pub(super) fault: Fault,
    /// Until it is healed.
    pub(super) lasts: Duration,
}

/// How a kind of target is afflicted.
struct Habit {
    /// Milliseconds of peace before a fault.
    peace: RangeInclusive<u64>,
    /// A fault, how often it is drawn among the others, and milliseconds.
    faults: &'static [(Fault, u32, RangeInclusive<u64>)],
}

const NODE: Habit = Habit {
    peace: 3_000..=15_000,
    faults: &[
        (Fault::Kill, 5, 0..=3_000),
        (Fault::Restart, 2, 0..=500),
        (Fault::Freeze, 3, 100..=4_000),
        // Long enough to be taken for dead, which is after ten seconds of silence.
        (Fault::Freeze, 1, 10_500..=14_000),
    ],
};
const LINE: Habit = Habit {
    peace: 4_000..=20_000,
    faults: &[
        (Fault::Cut, 3, 50..=3_000),
        (Fault::Stall, 2, 100..=6_000),
        (Fault::Slow, 3, 1_000..=6_000),
    ],
};
const POSTGRES: Habit = Habit {
    peace: 8_000..=25_000,
    faults: &[
        (Fault::Kill, 3, 0..=2_000),
        (Fault::Restart, 1, 0..=1_000),
        (Fault::Freeze, 2, 100..=4_000),
    ],
};
const RABBITMQ: Habit = Habit {
    peace: 8_000..=25_000,
    faults: &[
        (Fault::Kill, 3, 0..=2_000),
        (Fault::Restart, 1, 0..=1_000),
        (Fault::Freeze, 2, 100..=4_000),
        (Fault::Alarm, 1, 1_000..=4_000),
    ],
};
const SLOT_READER: Habit = Habit {
    peace: 2_000..=10_000,
    faults: &[(Fault::Disconnect, 1, 0..=0)],
};
const RECEIVER: Habit = Habit {
    peace: 5_000..=20_000,
    faults: &[(Fault::Stall, 1, 500..=6_000)],
};

impl Target {
    fn habit(self) -> Habit {
        match self {
            Self::Node(_) => NODE,
            Self::DatabaseLine(_) | Self::BrokerLine(_) => LINE,
            Self::Postgres => POSTGRES,
            Self::RabbitMq => RABBITMQ,
            Self::SlotReader => SLOT_READER,
            Self::Receiver => RECEIVER,
        }
    }

    /// Tells the draws of targets apart.
    fn stream(self) -> u64 {
        match self {
            Self::Node(number) => 100 + number,
            Self::DatabaseLine(number) => 200 + number,
            Self::BrokerLine(number) => 300 + number,
            Self::Postgres => 1,
            Self::RabbitMq => 2,
            Self::SlotReader => 3,
            Self::Receiver => 4,
        }
    }
}

/// The faults of a target, in order; the last one ends before `length`.
pub(super) fn schedule(seed: u64, length: Duration, target: Target) -> Vec<Disaster> {
    let habit = target.habit();
    let mut random = random(seed, target.stream());
    let mut disasters = Vec::new();
    let mut now = Duration::ZERO;
    loop {
        let at = now + Duration::from_millis(random.random_range(habit.peace.clone()));
        let (fault, _, lasts) = habit
            .faults
            .choose_weighted(&mut random, |(_, weight, _)| *weight)
            .expect("weights are positive numbers");
        let lasts = Duration::from_millis(random.random_range(lasts.clone()));
        now = at + lasts;
        if now > length {
            return disasters;
        }
        disasters.push(Disaster {
            at,
            fault: *fault,
            lasts,
        });
    }
}

/// The generator of one part of a campaign.
pub(super) fn random(seed: u64, stream: u64) -> SmallRng {
    // Any mixture will do in which neighbouring numbers give unlike states; the generator's own seeding does the rest.
    SmallRng::seed_from_u64(seed ^ (stream + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node(_) => "process",
            Self::DatabaseLine(_) => "line to Postgres",
            Self::BrokerLine(_) => "line to RabbitMQ",
            Self::Postgres => "Postgres",
            Self::RabbitMq => "RabbitMQ",
            Self::SlotReader => "slot's connection",
            Self::Receiver => "receiver",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "killed",
            Self::Restart => "restarted",
            Self::Freeze => "frozen",
            Self::Cut => "cut",
            Self::Stall => "stalled",
            Self::Slow => "slowed",
            Self::Disconnect => "dropped",
            Self::Alarm => "blocked",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_mins(10);
    const ALL: [Target; 7] = [
        Target::Node(1),
        Target::DatabaseLine(1),
        Target::BrokerLine(1),
        Target::Postgres,
        Target::RabbitMq,
        Target::SlotReader,
        Target::Receiver,
    ];

    #[test]
    fn a_seed_plans_the_same_again_and_another_one_something_else() {
        for target in ALL {
            let plan = schedule(7, LENGTH, target);
            assert_eq!(plan, schedule(7, LENGTH, target));
            assert_ne!(plan, schedule(8, LENGTH, target));
        }
        assert_ne!(
            schedule(7, LENGTH, Target::Node(1)),
            schedule(7, LENGTH, Target::Node(2))
        );
    }

    #[test]
    fn faults_of_a_target_follow_each_other_and_end_in_time() {
        for target in ALL {
            let plan = schedule(1, LENGTH, target);
            assert!(plan.len() > 10, "{target}: {}", plan.len());
            for pair in plan.windows(2) {
                assert!(pair[0].at + pair[0].lasts < pair[1].at, "{target}: {pair:?}");
            }
            assert!(plan.iter().all(|disaster| disaster.at + disaster.lasts <= LENGTH));
        }
    }

    #[test]
    fn every_fault_of_a_target_comes_up() {
        for target in ALL {
            let plan = schedule(3, 10 * LENGTH, target);
            for (fault, _, _) in target.habit().faults {
                assert!(
                    plan.iter().any(|disaster| disaster.fault == *fault),
                    "{target}: {fault}"
                );
            }
        }
    }

    #[test]
    fn a_longer_campaign_begins_like_a_shorter_one() {
        let short = schedule(5, LENGTH, Target::Postgres);
        let long = schedule(5, 2 * LENGTH, Target::Postgres);
        assert_eq!(short[..], long[..short.len()]);
    }
}
