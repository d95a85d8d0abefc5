//! Accepting events over HTTP and delivering them, as fast as it goes.
//!
//! The figure is what the *receiver* takes per second while the driver still sends and the first fifth is over. The
//! rate of acceptance beside it shows whether a backlog grew meanwhile, and the rate from the first delivery to the last
//! whether one that grew while warming up flatters it; the target is met if both meet it.

use anyhow::Result;

use super::lab::{BATCH, Lab, NAMES, WARM_UP_SHARE, run_to_the_end};
use crate::{
    bed::{Bed, StoreKind},
    driver::{CONNECTIONS, Pace, Plan},
    report::{CpuPerMessage, Figure, Unit},
    row::Row,
};

/// Ten times what the Svix server does on such a machine.
const TARGET: (&str, f64) = ("≥ 9,300/s", 9_300.0);
/// Target: docs/benchmarks.md.
const MEMORY_TARGET: (&str, f64) = ("≤ 100 MiB", 100.0);

struct Case {
    title: &'static str,
    endpoints: usize,
    batch: usize,
}

const CASES: [Case; 4] = [
    Case {
        title: "(1 endpoint)",
        endpoints: 1,
        batch: 1,
    },
    Case {
        title: "(10 endpoints)",
        endpoints: 10,
        batch: 1,
    },
    Case {
        title: "(1 endpoint, 50 events a call)",
        endpoints: 1,
        batch: BATCH,
    },
    Case {
        title: "(10 endpoints, 50 events a call)",
        endpoints: 10,
        batch: BATCH,
    },
];

pub(super) async fn measure(lab: &Lab, store: StoreKind) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for case in &CASES {
        lab.progress
            .measuring(format!("{} {}, {store}", Row::Throughput.title(), case.title));
        figures.extend(one(lab, store, case).await?);
    }
    Ok(figures)
}

async fn one(lab: &Lab, store: StoreKind, case: &Case) -> Result<Vec<Figure>> {
    let bed = Bed::start(store, 1).await?;
    let names = &NAMES[..case.endpoints];
    for (number, name) in names.iter().enumerate() {
        bed.create_endpoint(&format!("/ok/0?endpoint={number}"), name)
            .await?;
    }
    let pace = Pace::Saturate {
        seconds: lab.effort.saturation_seconds,
    };
    // The connections of single events hold as many events as those of batches hold calls of fifty, within reason.
    let connections = if case.batch == 1 {
        CONNECTIONS
    } else {
        CONNECTIONS / 16
    };
    let plan = Plan {
        batch: case.batch,
        connections,
        ..bed.plan(names, pace)
    };
    let run = run_to_the_end(lab, &bed, &plan, 1).await?;
    let memory = bed.server_memory()?;

    let warm = run.outcome.started + (run.outcome.seconds() * WARM_UP_SHARE * 1e6) as u64;
    let report = &run.arrived.report;
    let delivered = report.rate_between(warm, run.outcome.ended).unwrap_or(0.0);
    let accepted = run.outcome.accepted as f64 / run.outcome.seconds();
    let met = delivered.min(report.rate()) >= TARGET.1 && run.arrived.lost.is_empty();
    let figure = Figure::new(Row::Throughput, Some(store), case.title)
        .with("", delivered, Unit::PerSecond)
        .with("accepted", accepted, Unit::PerSecond)
        .with("first to last", report.rate(), Unit::PerSecond)
        .aiming(TARGET.0, met)
        .costing(CpuPerMessage::of(run.cpu, report.distinct))
        .noting(format!(
            "{connections} connections; all arrived {:.1} s after the last answer",
            report.last.saturating_sub(run.outcome.ended) as f64 / 1e6
        ));
    let mut figures = vec![run.admit(figure)];
    if case.batch == 1 {
        figures.push(
            Figure::new(
                Row::Throughput,
                Some(store),
                format!("{}: memory of the server", case.title),
            )
            .with("peak", memory.peak, Unit::Mebibytes)
            .with("afterwards", memory.resident, Unit::Mebibytes)
            .aiming(MEMORY_TARGET.0, memory.peak <= MEMORY_TARGET.1),
        );
    }
    Ok(figures)
}
