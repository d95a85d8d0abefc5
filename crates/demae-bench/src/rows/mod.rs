//! The rows of the table: what is measured and how, one module each.

mod backlog;
mod ceiling;
mod commit;
mod isolation;
mod latency;
mod listing;
mod reports;
mod start;
mod throughput;
mod waiting;
mod wal;
mod workers;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use crate::{
    bed::{Arrived, Bed, Cpu, StoreKind, drive},
    driver::{Outcome, Plan},
    progress::Progress,
    report::Figure,
};

/// Bytes of one event's JSON: the 1 KB of the design's targets.
pub(crate) const EVENT_BYTES: usize = 1_024;
/// The driver's connections at saturation.
pub(crate) const CONNECTIONS: usize = 128;
/// Events in one request, where a row sends several at once.
const BATCH: usize = 50;
/// The part of a run at saturation that counts as warming up.
const WARM_UP_SHARE: f64 = 0.2;

/// Catalogue events to give endpoints of their own.
const NAMES: [&str; 20] = [
    "CUSTOMER_CREATION",
    "CUSTOMER_UPDATE",
    "CUSTOMER_DELETION",
    "INSTANCE_CREATION",
    "INSTANCE_UPDATE",
    "INSTANCE_DELETION",
    "INSTANCE_DEPLOYMENT",
    "INSTANCE_MIGRATION",
    "LICENSE_CREATION",
    "LICENSE_UPDATE",
    "LICENSE_DELETION",
    "LICENSE_ENTITLEMENT_ASSIGNMENT",
    "LICENSE_ENTITLEMENT_UNASSIGNMENT",
    "LICENSE_ENTITLEMENT_UPDATE",
    "ENTITLEMENT_CREATION",
    "ENTITLEMENT_UPDATE",
    "ENTITLEMENT_DELETION",
    "FEATUREFLAG_CREATION",
    "FEATUREFLAG_UPDATE",
    "FEATUREFLAG_DELETION",
];

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

/// How long and how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Effort {
    /// Of a run at saturation.
    pub(crate) saturation_seconds: f64,
    /// Before latencies count.
    pub(crate) warm_up_seconds: f64,
    /// Of a run at a fixed rate.
    pub(crate) rate_seconds: f64,
    /// Deliveries in a backlog to drain.
    pub(crate) backlog: u64,
    /// Deliveries that only wait: few and many.
    pub(crate) waiting: [u64; 2],
    /// Deliveries made meanwhile.
    pub(crate) made_meanwhile: u64,
    /// Endpoints among which some are dead and slow.
    pub(crate) endpoints_per_event: u64,
    /// Customers in a list: few and many.
    pub(crate) customers: [u64; 2],
    /// Starts.
    pub(crate) starts: usize,
}

impl Effort {
    /// For figures.
    pub(crate) const FULL: Self = Self {
        saturation_seconds: 20.0,
        warm_up_seconds: 3.0,
        rate_seconds: 30.0,
        backlog: 200_000,
        waiting: [10_000, 1_000_000],
        made_meanwhile: 150_000,
        endpoints_per_event: 50,
        customers: [1_000, 100_000],
        starts: 7,
    };
    /// To see that everything runs.
    pub(crate) const QUICK: Self = Self {
        saturation_seconds: 2.0,
        warm_up_seconds: 0.5,
        rate_seconds: 2.0,
        backlog: 2_000,
        waiting: [100, 10_000],
        made_meanwhile: 2_000,
        endpoints_per_event: 4,
        customers: [400, 2_000],
        starts: 3,
    };
}

/// What every measurement has at hand.
#[derive(Debug)]
pub(crate) struct Lab {
    /// How long and how much.
    pub(crate) effort: Effort,
    /// What the person sees.
    pub(crate) progress: Progress,
}

impl Lab {
    /// Measures a row. What cannot be measured becomes a figure that says why.
    pub(crate) async fn run(&self, row: Row, store: Option<StoreKind>) -> Vec<Figure> {
        let place = store.map_or_else(String::new, |store| format!(", {store}"));
        self.progress.measuring(format!("{}{place}", row.title()));
        let measured = match (row, store) {
            (Row::Throughput, Some(store)) => throughput::measure(self, store).await,
            (Row::Latency, Some(store)) => latency::measure(self, store).await,
            (Row::Backlog, Some(store)) => backlog::measure(self, store).await,
            (Row::Waiting, Some(store)) => waiting::measure(self, store).await,
            (Row::Isolation, Some(store)) => isolation::measure(self, store).await,
            (Row::Listing, Some(store)) => listing::measure(self, store).await,
            (Row::Usage, Some(store)) => reports::measure(self, store).await,
            (Row::Start, Some(store)) => start::measure(self, store).await,
            (Row::Wal, Some(store)) => wal::measure(self, store).await,
            (Row::Commit, Some(store)) => commit::measure(self, store).await,
            (Row::Workers, Some(store)) => workers::measure(self, store).await,
            (Row::Ceiling, _) | (_, None) => ceiling::measure(self).await,
        };
        measured.unwrap_or_else(|error| vec![Figure::new(row, store, "").noting(format!("{error:#}"))])
    }
}

/// What a driver's run came to, once all of it had arrived.
#[derive(Debug)]
struct Run {
    outcome: Outcome,
    arrived: Arrived,
    cpu: Cpu,
}

/// Drives, waits for everything that was accepted, and takes the processor time of all four.
async fn run_to_the_end(lab: &Lab, bed: &Bed, plan: &Plan, lanes: u64) -> Result<Run> {
    let before = bed.cpu()?;
    lab.progress.doing("driving");
    let outcome = drive(plan).await?;
    let arrived = bed.all_of(&outcome, lanes, &lab.progress).await?;
    let cpu = Cpu {
        driver: outcome.cpu_seconds,
        ..bed.cpu()?.since(before)
    };
    Ok(Run {
        outcome,
        arrived,
        cpu,
    })
}

impl Run {
    /// Says what would make the figure less than it seems; nothing if all is well.
    fn admit(&self, mut figure: Figure) -> Figure {
        let report = &self.arrived.report;
        if !self.arrived.lost.is_empty() {
            figure = figure.noting(format!(
                "**{} accepted events did not arrive**",
                self.arrived.lost.len()
            ));
        }
        if report.duplicates > 0 {
            figure = figure.noting(format!("{} duplicates", report.duplicates));
        }
        admit_refusals(&self.outcome, figure)
    }
}

/// Says what was not accepted.
fn admit_refusals(outcome: &Outcome, figure: Figure) -> Figure {
    if outcome.refused.is_empty() {
        return figure;
    }
    figure.noting(format!(
        "{} of {} not accepted: {:?}",
        outcome.refused.len(),
        outcome.sent,
        outcome.statuses
    ))
}
