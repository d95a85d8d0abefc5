//! The campaign: all of Demae as separate processes, on its real database and broker, under faults drawn at random.
//!
//! # What runs
//!
//! ```text
//! writers ──HTTP──▶ api ───┐                     ┌─── relay 1 (active) ───┐            ┌──▶ worker 1 ───┐
//!         ──SQL──▶ outbox  ├──▶ Postgres ──WAL──▶┤                        ├─▶ RabbitMQ ┤                ├──▶ receiver
//!                          ┘                     └─── relay 2 (standby) ──┘            └──▶ worker 2 ───┘
//! ```
//!
//! Every line between a process and a server is a [`FaultProxy`](crate::proxy::FaultProxy). Writers commit, roll back, and
//! roll back parts; what they know of each event is in the [`books`]. Faults are planned beforehand by a [`schedule`] for
//! each target, drawn from the campaign's seed: the same seed and length plan the same faults at the same times. What the
//! programs do meanwhile is theirs, so a replay is the same storm, not the same run.
//!
//! # What is proved
//!
//! After the last fault everything is healed and nobody touches anything. Then ([`verdict`]):
//!
//! - every committed event is at both endpoints at least once, under one id and with one body;
//! - no rolled-back event is, and of a transaction whose outcome nobody learnt, all or nothing;
//! - nothing is stuck: outbox, deliveries, queue and dead letters are empty, the slot has moved past the last write;
//! - the history of each delivery is in order: numbers without a gap, each attempt after the end of the one before, one
//!   success at the end;
//! - no process ended by itself once it was ready, and each obeys its last SIGTERM.
//!
//! The [`hostile`] campaign beside it shares the books and the seed. It asks not what happens to Demae, but what others do to
//! it.
//!
//! It knows Demae from outside, by its settings, its tables and its HTTP surface, and none of its code.

mod books;
mod disasters;
pub mod hostile;
mod node;
mod options;
mod pace;
mod schedule;
mod sql;
mod stage;
mod tally;
mod totals;
mod until;
mod verdict;
mod way;
mod writers;

use std::{fmt, time::Duration};

use anyhow::Result;
use tokio::time::{Instant, MissedTickBehavior, interval};

pub use self::options::Options;
use self::{
    books::Books, disasters::Disasters, stage::Stage, tally::Tally, totals::Totals, verdict::Settled,
    writers::Writers,
};

/// How often progress is told.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// What a campaign came to. There is one only if everything held.
#[derive(Debug)]
pub struct Summary {
    seed: u64,
    length: Duration,
    faults: Tally,
    totals: Totals,
    settled: Settled,
}

/// Runs a campaign. An error is what did not hold, with the folder where the processes' logs are kept.
pub async fn run(options: &Options) -> Result<Summary> {
    let books = Books::start().await;
    let stage = Stage::start(options, &books).await?;
    let logs = stage.logs();
    let held = play(options, &books, stage).await;
    held.or_else(|error| {
        let kept = logs.keep(options.seed)?;
        Err(error.context(format!(
            "seed {}, {:?}; logs are in {}",
            options.seed,
            options.length,
            kept.display()
        )))
    })
}

async fn play(options: &Options, books: &Books, stage: Stage) -> Result<Summary> {
    let writers = Writers::start(options.seed, books, &stage);
    let (nodes, servers) = stage.split();
    let mut disasters = Disasters::start(options, books, nodes, &servers);
    let faults = disasters.tally();
    let survivors = tokio::select! {
        survivors = disasters.over() => survivors?,
        fault = books.fault() => return Err(fault),
        never = tell(options, books, &faults) => match never {},
    };
    (options.tell)(&format!("all faults are healed: {faults}"));

    writers.stop().await?;
    books.all_arrived().await?;
    (options.tell)("everything committed has arrived");
    let settled = verdict::settle(options, &servers).await?;
    for node in survivors {
        node.end().await?;
    }
    let totals = books.judge()?;
    verdict::judge_history(&servers, books).await?;
    Ok(Summary {
        seed: options.seed,
        length: options.length,
        faults,
        totals,
        settled,
    })
}

async fn tell(options: &Options, books: &Books, tally: &Tally) -> std::convert::Infallible {
    let begun = Instant::now();
    let mut ticks = interval(TELL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        (options.tell)(&format!(
            "{:>4} s of {}: {} faults, {}",
            begun.elapsed().as_secs(),
            options.length.as_secs(),
            tally.total(),
            books.progress()
        ));
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            length,
            faults,
            totals,
            settled,
        } = self;
        writeln!(
            f,
            "seed {seed}, {} s: {} faults",
            length.as_secs(),
            faults.total()
        )?;
        writeln!(f, "  {faults}")?;
        writeln!(f, "{totals}")?;
        write!(f, "{settled}")
    }
}
