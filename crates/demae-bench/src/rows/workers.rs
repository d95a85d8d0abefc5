//! What more worker processes give: a backlog drained by one, two and four of them.
//!
//! Once deliveries that wait in the table, for which workers compete by leases in Postgres; once events in the log, which a
//! relay carries to RabbitMQ and the workers take from there, route and deliver. On one machine all of them share its
//! cores: where the figure stops growing, the machine is full, and `docs/scaling.md` says what to read from it.

use anyhow::Result;

use super::lab::{Lab, NAMES};
use crate::{
    bed::{Nodes, Seed, Stage, StoreKind},
    report::{CpuPerMessage, Figure, Unit},
    row::Row,
};

const WORKERS: [usize; 3] = [1, 2, 4];
const ENDPOINTS: usize = 10;

pub(super) async fn measure(lab: &Lab, store: StoreKind) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for stage in [Stage::Due, Stage::Unrouted] {
        for workers in WORKERS {
            figures.push(drain(lab, store, stage, workers).await?);
        }
    }
    Ok(figures)
}

async fn drain(lab: &Lab, store: StoreKind, stage: Stage, workers: usize) -> Result<Figure> {
    let broker = stage == Stage::Unrouted;
    let case = format!(
        "{workers} worker{} {}",
        if workers == 1 { "" } else { "s" },
        if broker {
            "behind a relay and RabbitMQ"
        } else {
            "on waiting deliveries"
        }
    );
    lab.progress
        .measuring(format!("{}: {case}", Row::Workers.title()));
    let mut nodes = Nodes::start(broker).await?;
    let each = lab.effort.backlog / ENDPOINTS as u64;
    let mut endpoints = Vec::new();
    for (number, name) in NAMES[..ENDPOINTS].iter().enumerate() {
        let path = format!("/ok/0?endpoint={number}");
        endpoints.push(nodes.bed().create_endpoint(&path, name).await?);
    }
    if broker {
        // The slot must be there before the events.
        nodes.make_slot().await?;
    }
    lab.progress.doing("writing the backlog");
    for (first, endpoint) in (0..).step_by(each as usize).zip(&endpoints) {
        nodes
            .bed()
            .seed(&Seed {
                endpoint,
                first,
                count: each,
                stage,
            })
            .await?;
    }
    nodes.bed().settle().await?;

    let before = nodes.cpu()?;
    for _ in 0..workers {
        nodes.add("worker").await?;
    }
    if broker {
        nodes.add("relay").await?;
    }
    let expected = each * ENDPOINTS as u64;
    let report = nodes.bed().wait_for(expected, &lab.progress).await?;
    let cpu = nodes.cpu()?.since(before);
    let mut figure = Figure::new(Row::Workers, Some(store), case)
        .with("", report.rate(), Unit::PerSecond)
        .costing(CpuPerMessage::of(cpu, report.distinct))
        .noting(format!("{} of {expected} arrived", report.distinct));
    if report.duplicates > 0 {
        figure = figure.noting(format!("{} duplicates", report.duplicates));
    }
    Ok(figure)
}
