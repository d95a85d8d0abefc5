//! The hostile campaign: one program, and everything that a stranger, a tenant, a receiver or a row can do to it, at once.
//!
//! # What runs
//!
//! ```text
//! strangers (no token, 127.0.0.2…) ──▶ ┌─────────────┐ ──▶ receivers that are slow, odd or endless
//! the hostile tenant (a token)     ──▶ │ demae serve │
//! rows that cannot be read ──SQL──▶    │ one process │
//! the bystander (127.0.0.1) ──HTTP──▶  │             │ ──▶ the bystander's receiver, which keeps the books
//!                           ──SQL──▶   └─────────────┘
//! ```
//!
//! The *bystander* is a tenant with ordinary traffic: it writes one event at a time, over HTTP and in SQL, and waits for
//! each answer. It writes alone at first ([`CALM`] of the time), then while every [`actor`] acts. Everything that an
//! actor draws comes from the campaign's seed, so the same seed does the same harm in the same order; how much of it fits
//! into the time is the machine's affair.
//!
//! Actors are bounded in number and time by one [runner](actor), act only against the loopback address of the program
//! that the campaign started, and end with the campaign.
//!
//! # What is proved
//!
//! - Requests of the bystander, and to `/healthz` and `/readyz`, are answered by success. One in [`REFUSED_ONE_IN`] may be
//!   refused and repeated, because the machine may be used by others; a program whose room is taken refuses nearly all.
//! - Each of its events is at both of its endpoints, under one id and with one body ([`books`](super::books)), and each of
//!   its deliveries has succeeded.
//! - Its events arrive in their turn and not behind the hostile tenant's. This is judged by counts, not by time, because the
//!   machine may be slow and busy; [`pace`](super::pace) says which. The bounds are [`BEHIND_AT_MOST`] and
//!   [`LATE_AT_MOST`]. Time is compared only with that of the calm before, in the same process ([`SLOWER_AT_MOST`]).
//! - The program takes no more memory than [`MEMORY_AT_MOST`].
//! - No hostile request is answered with an error of the program's own (500).
//! - The program runs on, and obeys SIGTERM.

mod actor;
mod bystander;
mod options;
mod receivers;
mod rows;
mod stage;
mod strangers;
mod tally;
mod tenant;

use std::fmt;

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

pub use self::options::{Database, Options};
use self::{actor::Cast, bystander::Bystander, stage::Stage, tally::Tally};
use super::{books::Books, pace::Pace, totals::Totals};

/// This part of the time the bystander is alone: one in so many.
const CALM: u32 = 6;
/// One request in so many may be refused.
const REFUSED_ONE_IN: u64 = 100;
/// So many events of its own the bystander may commit between an event's commit and its arrival. In calm it is a handful;
/// an event that waits for a slow lane, a full pool or another tenant's backlog is thousands behind.
const BEHIND_AT_MOST: u64 = 250;
/// So many places an event may arrive after its turn. A lane makes 48 exchanges at a time, which may end in any order.
const LATE_AT_MOST: u64 = 100;

/// The median from request to receipt may be so many times that of the calm before. The actors share the processor with the
/// program, so this is no small number; a program that they stop is slower by far.
const SLOWER_AT_MOST: u64 = 20;
/// A calm median below this counts as this: on a quick machine a small multiple of it is no harm.
const CALM_MEDIAN_MS: u64 = 100;
/// Bytes of memory that the program may have at most.
const MEMORY_AT_MOST: u64 = 512 * 1_048_576;

/// What a campaign came to. There is one only if everything held.
#[derive(Debug)]
pub struct Summary {
    options: Options,
    acts: Tally,
    totals: Totals,
    calm: Pace,
    storm: Pace,
    /// Bytes of memory that the program had at most.
    memory: u64,
}

/// Runs a campaign. An error is what did not hold, with the folder where the program's log is kept.
pub async fn run(options: &Options) -> Result<Summary> {
    let books = Books::start().await;
    let stage = Stage::start(options, &books).await?;
    let logs = stage.logs();
    let tally = Tally::default();
    play(options, &books, stage, &tally).await.or_else(|error| {
        let kept = logs.keep(options.seed)?;
        Err(error.context(format!(
            "seed {}, {:?}, {}; {tally}; the log is in {}",
            options.seed,
            options.length,
            options.database,
            kept.display()
        )))
    })
}

async fn play(options: &Options, books: &Books, mut stage: Stage, tally: &Tally) -> Result<Summary> {
    let bystander = Bystander::start(options.seed, books, &stage);
    let calm = options.length / CALM;
    let storm = options.length.saturating_sub(calm);
    stage.meanwhile(books, sleep(calm)).await?;
    let storm_began_at = books.begun();
    (options.tell)(&format!("calm: {}", Pace::of(&books.passages(0..storm_began_at))));

    let receivers = receivers::Receivers::start().await;
    let mut cast = Cast::new(options.seed, options.only.clone(), tally.clone());
    // The tenant first, whose token would otherwise be looked up among those that nobody has.
    tenant::enter(&mut cast, &stage, &receivers).await;
    strangers::enter(&mut cast, stage.address());
    cast.add(&rows::Rows::new(&stage));
    let told = tell(options, books, tally);
    stage
        .meanwhile(books, async {
            tokio::select! {
                () = sleep(storm) => {}
                never = told => match never {},
            }
        })
        .await?;
    cast.leave().await?;
    drop(receivers);
    (options.tell)(&format!("the actors have left: {tally}"));

    let committed_in_the_storm = storm_began_at..books.begun();
    stage.meanwhile(books, bystander.stop()).await??;
    stage.meanwhile(books, books.all_arrived()).await??;
    (options.tell)("everything of the bystander's has arrived");
    stage.settle().await?;
    let memory = stage.memory()?;
    stage.end().await?;

    let totals = books.judge()?;
    let storm = Pace::of(&books.passages(committed_in_the_storm));
    (options.tell)(&format!("storm: {storm}"));
    ensure!(
        storm.behind <= BEHIND_AT_MOST,
        "an event of the bystander's was {} of its own events behind: {storm}",
        storm.behind
    );
    ensure!(
        storm.late <= LATE_AT_MOST,
        "an event of the bystander's arrived {} places late: {storm}",
        storm.late
    );
    let calm = Pace::of(&books.passages(0..storm_began_at));
    ensure!(
        storm.slower_than(&calm, CALM_MEDIAN_MS) <= SLOWER_AT_MOST,
        "the bystander was slowed down: {storm}; before: {calm}"
    );
    ensure!(
        memory <= MEMORY_AT_MOST,
        "the program took {} MiB of memory",
        memory / 1_048_576
    );
    let (refused, committed) = (books.refused(), books.begun() as u64);
    ensure!(
        refused * REFUSED_ONE_IN <= committed.max(REFUSED_ONE_IN),
        "the bystander was refused {refused} times with {committed} events: {totals}"
    );
    tally.judge().context("the hostile requests")?;
    Ok(Summary {
        options: options.clone(),
        acts: tally.clone(),
        totals,
        calm,
        storm,
        memory,
    })
}

async fn tell(options: &Options, books: &Books, tally: &Tally) -> std::convert::Infallible {
    let mut ticks = tokio::time::interval(super::TELL_INTERVAL);
    loop {
        ticks.tick().await;
        (options.tell)(&format!("{} hostile acts; {}", tally.total(), books.progress()));
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            options,
            acts,
            totals,
            calm,
            storm,
            memory,
        } = self;
        writeln!(
            f,
            "seed {}, {} s, {}: {} hostile acts, at most {} MiB of memory",
            options.seed,
            options.length.as_secs(),
            options.database,
            acts.total(),
            memory / 1_048_576
        )?;
        writeln!(f, "{acts}")?;
        writeln!(f, "{totals}")?;
        writeln!(f, "calm:  {calm}")?;
        write!(f, "storm: {storm}")
    }
}
