//! The rows of the table, by name.

use clap::ValueEnum;
use serde::Serialize;

use crate::bed::StoreKind;

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Row {
    /// The driver straight into the receiver
    Ceiling,
    /// Accepting events and delivering them, at saturation
    Throughput,
    /// From request to receipt at a fixed rate
    Latency,
    /// Draining what has piled up
    Backlog,
    /// What a delivery costs while many others wait, and their memory
    Waiting,
    /// Healthy endpoints among dead and slow ones
    Isolation,
    /// Pages of a long list
    Listing,
    /// Reports of usage
    Usage,
    /// From the start of the process to readiness
    Start,
    /// From the write-ahead log to the router
    Wal,
    /// From a commit in SQL to receipt
    Commit,
    /// What more worker processes give
    Workers,
}

impl Row {
    /// As the table calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Ceiling => "bare client into the receiver",
            Self::Throughput => "accept over HTTP and deliver",
            Self::Latency => "request to receipt",
            Self::Backlog => "drain a backlog",
            Self::Waiting => "cost per delivery",
            Self::Isolation => "healthy endpoints",
            Self::Listing => "a page of 200",
            Self::Usage => "usage reports",
            Self::Start => "start to ready",
            Self::Wal => "write-ahead log to router",
            Self::Commit => "commit to receipt",
            Self::Workers => "several workers",
        }
    }

    /// Whether it is measured on this store; `None` for the one that needs no store.
    pub(crate) fn is_on(self, store: Option<StoreKind>) -> bool {
        match self {
            Self::Ceiling => store.is_none(),
            Self::Wal | Self::Commit | Self::Workers => store == Some(StoreKind::Postgres),
            _ => store.is_some(),
        }
    }
}
