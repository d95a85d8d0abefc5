//! What a hostile campaign runs, and on what.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use anyhow::{Context as _, Result};

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program to try.
    pub binary: PathBuf,
    /// How long it lasts, without the start, the delivery of the rest, and the judgement.
    pub length: Duration,
    /// Everything random is drawn from it.
    pub seed: u64,
    /// Where the program keeps its rows.
    pub database: Database,
    /// What is judged.
    pub judged: Judged,
    /// Only actors whose names contain it act: to find out which one does the harm.
    pub only: Option<String>,
    /// Where progress is told, a line at a time.
    pub tell: fn(&str),
}

/// Where the program keeps its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// In its own file.
    Sqlite,
    /// In a server of the campaign's own, whose outbox table is polled.
    Postgres,
    /// In a server of the campaign's own, whose write-ahead log is followed.
    PostgresWal,
}

impl Database {
    /// All of them, by the names that [`FromStr`] reads.
    pub const ALL: [(&'static str, Self); 3] = [
        ("sqlite", Self::Sqlite),
        ("postgres", Self::Postgres),
        ("postgres-wal", Self::PostgresWal),
    ];
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.into_iter().find(|(_, database)| database == self);
        f.write_str(named.map_or("?", |(name, _)| name))
    }
}

impl FromStr for Database {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|(name, _)| *name == text);
        named
            .map(|(_, database)| database)
            .with_context(|| format!("unknown database {text}: choose sqlite, postgres or postgres-wal"))
    }
}

/// What is judged beside losses, refusals, memory, and what must never happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Nothing more.
    Arrival,
    /// In which order events arrive, and who is served before them. It is counted, and holds however slow the machine is.
    Order,
    /// The time as well, compared with that of the calm: for a release build on a machine of its own.
    OrderAndPace,
}

impl Judged {
    /// All of them, by the names that [`FromStr`] reads.
    pub const ALL: [(&'static str, Self); 3] = [
        ("arrival", Self::Arrival),
        ("order", Self::Order),
        ("order-and-pace", Self::OrderAndPace),
    ];
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.into_iter().find(|(_, judged)| judged == self);
        f.write_str(named.map_or("?", |(name, _)| name))
    }
}

impl FromStr for Judged {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|(name, _)| *name == text);
        named
            .map(|(_, judged)| judged)
            .with_context(|| format!("unknown judgement {text}: choose arrival, order or order-and-pace"))
    }
}
