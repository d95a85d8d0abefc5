//! From request to receipt at 200 a second: open loop, from the time each request was due.

use anyhow::Result;

use super::lab::{Lab, NAMES, run_to_the_end};
use crate::{
    bed::{Bed, StoreKind},
    driver::{Pace, Plan},
    latency::Latency,
    report::{CpuPerMessage, Figure, Unit},
    row::Row,
};

/// Requests per second.
const RATE: f64 = 200.0;
/// Enough that a stall of the server does not keep requests from being sent.
const CONNECTIONS: usize = 32;
/// Target in milliseconds: docs/benchmarks.md.
const TARGET: (&str, f64, f64) = ("p50 ≤ 2 ms, p99 ≤ 5 ms", 2.0, 5.0);

pub(super) async fn measure(lab: &Lab, store: StoreKind) -> Result<Vec<Figure>> {
    let bed = Bed::start(store, 1).await?;
    let names = &NAMES[..1];
    bed.create_endpoint("/ok/0", names[0]).await?;
    let pace = Pace::Rate {
        per_second: RATE,
        warm_up: lab.effort.warm_up_seconds,
        seconds: lab.effort.rate_seconds,
    };
    let plan = Plan {
        connections: CONNECTIONS,
        ..bed.plan(names, pace)
    };
    let run = run_to_the_end(lab, &bed, &plan, 1).await?;
    let latency = run.arrived.report.latency;
    let met = milliseconds(latency.p50) <= TARGET.1 && milliseconds(latency.p99) <= TARGET.2;
    let figure = with_latency(Figure::new(Row::Latency, Some(store), "at 200/s"), latency)
        .aiming(TARGET.0, met && run.arrived.lost.is_empty())
        .costing(CpuPerMessage::of(run.cpu, run.arrived.report.distinct))
        .noting(format!("{} measured from the time each was due", latency.count));
    Ok(vec![run.admit(figure)])
}

pub(super) fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1e3
}

pub(super) fn with_latency(figure: Figure, latency: Latency) -> Figure {
    figure
        .with("p50", milliseconds(latency.p50), Unit::Milliseconds)
        .with("p90", milliseconds(latency.p90), Unit::Milliseconds)
        .with("p99", milliseconds(latency.p99), Unit::Milliseconds)
        .with("max", milliseconds(latency.max), Unit::Milliseconds)
}
