//! What a delivery costs while few and while many others wait for a far later time, and what the many weigh in memory.

use anyhow::Result;

use super::lab::{Lab, NAMES, run_to_the_end};
use crate::{
    bed::{Bed, Seed, Stage, StoreKind},
    driver::{CONNECTIONS, Pace, Plan},
    report::{CpuPerMessage, Figure, Unit},
    row::Row,
    usage::Memory,
};

/// Target: docs/benchmarks.md.
const TARGET: (&str, f64) = ("within 10 %", 1.10);
/// Target: docs/benchmarks.md.
const MEMORY_TARGET: (&str, f64) = ("≤ 250 MiB", 250.0);

pub(super) async fn measure(lab: &Lab, store: StoreKind) -> Result<Vec<Figure>> {
    let [few, many] = lab.effort.waiting;
    let (base, _) = one(lab, store, few).await?;
    let (loaded, memory) = one(lab, store, many).await?;
    let cost = |figure: &Figure| figure.cpu.map_or(f64::NAN, CpuPerMessage::demae);
    let ratio = cost(&loaded) / cost(&base);
    let loaded = loaded
        .with("cost", ratio, Unit::Times)
        .aiming(TARGET.0, ratio <= TARGET.1);
    let memory = Figure::new(
        Row::Waiting,
        Some(store),
        format!("with {many} waiting: memory of the server"),
    )
    .with("peak", memory.peak, Unit::Mebibytes)
    .with("afterwards", memory.resident, Unit::Mebibytes)
    .aiming(MEMORY_TARGET.0, memory.peak <= MEMORY_TARGET.1);
    Ok(vec![base, loaded, memory])
}

async fn one(lab: &Lab, store: StoreKind, waiting: u64) -> Result<(Figure, Memory)> {
    lab.progress.measuring(format!(
        "{} with {waiting} waiting, {store}",
        Row::Waiting.title()
    ));
    let mut bed = Bed::start(store, 1).await?;
    bed.create_endpoint("/ok/0", NAMES[0]).await?;
    let idle = bed.create_endpoint("/ok/0?endpoint=idle", NAMES[1]).await?;
    bed.stop_server().await?;
    lab.progress.doing("writing the waiting deliveries");
    bed.seed(&Seed {
        endpoint: &idle,
        first: 0,
        count: waiting,
        stage: Stage::Idle,
    })
    .await?;
    bed.settle().await?;
    bed.start_server().await?;
    let pace = Pace::Count {
        events: lab.effort.made_meanwhile,
    };
    let plan = Plan {
        connections: CONNECTIONS,
        ..bed.plan(&NAMES[..1], pace)
    };
    let run = run_to_the_end(lab, &bed, &plan, 1).await?;
    let cost = CpuPerMessage::of(run.cpu, run.arrived.report.distinct);
    let figure = Figure::new(Row::Waiting, Some(store), format!("with {waiting} waiting"))
        .with("", cost.demae(), Unit::Microseconds)
        .with("at", run.arrived.report.rate(), Unit::PerSecond)
        .costing(cost)
        .noting("processor time of server and database");
    Ok((run.admit(figure), bed.server_memory()?))
}
