//! What every measurement has at hand.

use anyhow::Result;

use crate::{
    bed::{Arrived, Bed, Cpu, drive},
    driver::{Outcome, Plan},
    progress::Progress,
    report::Figure,
};

/// Events in one request, where a row sends several at once.
pub(super) const BATCH: usize = 50;

/// The part of a run at saturation that counts as warming up.
pub(super) const WARM_UP_SHARE: f64 = 0.2;

/// Catalogue events to give endpoints of their own.
pub(super) const NAMES: [&str; 20] = [
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

/// What a driver's run came to, once all of it had arrived.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) outcome: Outcome,
    pub(super) arrived: Arrived,
    pub(super) cpu: Cpu,
}

/// Drives, waits for everything that was accepted, and takes the processor time of all four.
pub(super) async fn run_to_the_end(lab: &Lab, bed: &Bed, plan: &Plan, lanes: u64) -> Result<Run> {
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
    pub(super) fn admit(&self, mut figure: Figure) -> Figure {
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
pub(super) fn admit_refusals(outcome: &Outcome, figure: Figure) -> Figure {
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
