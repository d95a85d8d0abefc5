//! Draining what has piled up while nothing was delivered.
//!
//! Once deliveries that were already waiting, which is the delivery stage alone; once events that were only written to
//! the outbox, which must be routed first. Both are written into the database while no server runs.

use anyhow::Result;

use super::lab::{Lab, NAMES};
use crate::{
    bed::{Bed, Cpu, Seed, Stage, StoreKind},
    report::{CpuPerMessage, Figure, Unit},
    row::Row,
};

/// Of the delivery stage alone.
const TARGET: (&str, f64) = ("≥ 20,000/s", 20_000.0);

pub(super) async fn measure(lab: &Lab, store: StoreKind) -> Result<Vec<Figure>> {
    Ok(vec![
        drain(lab, store, Stage::Due, 1).await?,
        drain(lab, store, Stage::Due, 10).await?,
        drain(lab, store, Stage::Unrouted, 10).await?,
    ])
}

async fn drain(lab: &Lab, store: StoreKind, stage: Stage, endpoints: usize) -> Result<Figure> {
    let what = if stage == Stage::Unrouted {
        "unrouted events"
    } else {
        "waiting deliveries"
    };
    let case = format!(
        "of {what} ({endpoints} endpoint{})",
        if endpoints == 1 { "" } else { "s" }
    );
    lab.progress
        .measuring(format!("{} {case}, {store}", Row::Backlog.title()));
    let mut bed = Bed::start(store, 1).await?;
    let each = lab.effort.backlog / endpoints as u64;
    let mut created = Vec::new();
    for (number, name) in NAMES[..endpoints].iter().enumerate() {
        created.push(
            bed.create_endpoint(&format!("/ok/0?endpoint={number}"), name)
                .await?,
        );
    }
    bed.stop_server().await?;
    lab.progress.doing("writing the backlog");
    for (first, endpoint) in (0..).step_by(each as usize).zip(&created) {
        bed.seed(&Seed {
            endpoint,
            first,
            count: each,
            stage,
        })
        .await?;
    }
    bed.settle().await?;

    let before = bed.cpu_without_server()?;
    bed.start_server().await?;
    let expected = each * endpoints as u64;
    let report = bed.wait_for(expected, &lab.progress).await?;
    let cpu: Cpu = bed.cpu()?.since(before);
    let mut figure = Figure::new(Row::Backlog, Some(store), case)
        .with("", report.rate(), Unit::PerSecond)
        .costing(CpuPerMessage::of(cpu, report.distinct))
        .noting(format!("{} of {expected} arrived", report.distinct));
    if report.duplicates > 0 {
        figure = figure.noting(format!("{} duplicates", report.duplicates));
    }
    let met = report.rate() >= TARGET.1 && report.distinct == expected;
    Ok(if stage == Stage::Due {
        figure.aiming(TARGET.0, met)
    } else {
        figure
    })
}
