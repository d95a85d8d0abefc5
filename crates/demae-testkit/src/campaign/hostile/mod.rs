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
//! - Requests of the bystander, and to `/healthz` and `/readyz`, are answered by success. One in a hundred may be
//!   refused and repeated, because the machine may be used by others; a program whose room is taken refuses nearly all.
//! - Each of its events is at both of its endpoints, under one id and with one body ([`books`](super::books)), and each of
//!   its deliveries has succeeded. The last of them were written behind everything that the actors wrote.
//! - Unless [`Judged::Arrival`] is chosen, its events arrive in their turn and not behind the hostile tenant's. This is judged by counts, not by time, because the
//!   machine may be slow and busy; [`pace`](super::pace) says which, [`judgement`] how many are too many.
//! - Each odd row is an event, or a rejected event that `demae dead-letters` lists; nothing else is rejected ([`rows`]).
//! - The program takes no more memory than it may.
//! - No hostile request is answered with an error of the program's own (500).
//! - The program runs on, and obeys SIGTERM.
//! - If [`Judged::OrderAndPace`] is chosen: the bystander's median is compared with that of the calm before, in the
//!   same process.

mod actor;
mod bystander;
mod judgement;
mod options;
mod receivers;
mod rows;
mod stage;
mod strangers;
mod tally;
mod tenant;

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result};
use tokio::time::sleep;

pub use self::options::{Database, Judged, Options};
use self::{
    actor::{Actor as _, Cast},
    bystander::Bystander,
    judgement::{judge, judge_memory},
    receivers::Receivers,
    rows::{Fates, Rows},
    stage::Stage,
    tally::Tally,
};
use super::{
    books::Books,
    pace::{Others, Pace},
    totals::Totals,
};

/// This part of the time the bystander is alone: one in so many.
const CALM: u32 = 6;

/// What a campaign came to. There is one only if everything held.
#[derive(Debug)]
pub struct Summary {
    options: Options,
    acts: Tally,
    totals: Totals,
    calm: Pace,
    storm: Pace,
    /// Of odd rows, if there were any.
    fates: Option<Fates>,
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

    let rows = let_actors_act(options, books, &mut stage, tally, storm).await?;
    (options.tell)(&format!("the actors have left: {tally}"));

    let in_the_storm = storm_began_at..books.begun();
    stage.meanwhile(books, bystander.stop()).await??;
    stage.meanwhile(books, books.all_arrived()).await??;
    (options.tell)("everything of the bystander's has arrived");
    stage.settle().await?;
    let fates = if tally.has_acted(Rows::NAME) {
        Some(rows.judge(&stage).await.context("the odd rows")?)
    } else {
        None
    };
    let memory = stage.memory()?;
    stage.end().await?;

    let totals = books.judge()?;
    let calm = Pace::of(&books.passages(0..storm_began_at));
    let storm = Pace::of(&books.passages(in_the_storm));
    (options.tell)(&format!("storm: {storm}"));
    judge(options.judged, books, &calm, &storm).with_context(|| totals.to_string())?;
    judge_memory(memory)?;
    tally.judge().context("the hostile requests")?;
    Ok(Summary {
        options: options.clone(),
        acts: tally.clone(),
        totals,
        calm,
        storm,
        fates,
        memory,
    })
}

/// Lets them act for so long; answers with the one whose rows have to be looked at.
async fn let_actors_act(
    options: &Options,
    books: &Books,
    stage: &mut Stage,
    tally: &Tally,
    length: Duration,
) -> Result<Rows> {
    let receivers = Receivers::start().await;
    let (attempts, acts) = (receivers.attempts(), tally.clone());
    books.compare_with(move || Others {
        acts: acts.total(),
        attempts: attempts(),
    });
    let rows = Rows::new(stage);
    let mut cast = Cast::new(options.seed, options.only.clone(), tally.clone());
    // The tenant first, whose token would otherwise be looked up among those that nobody has.
    tenant::enter(&mut cast, stage, &receivers).await;
    strangers::enter(&mut cast, stage.address());
    cast.add(&rows);
    let told = tell(options, books, tally);
    stage
        .meanwhile(books, async {
            tokio::select! {
                () = sleep(length) => {}
                never = told => match never {},
            }
        })
        .await?;
    cast.leave().await?;
    Ok(rows)
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
            fates,
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
        if let Some(fates) = fates {
            writeln!(f, "{fates}")?;
        }
        writeln!(f, "calm:  {calm}")?;
        write!(f, "storm: {storm}")
    }
}
