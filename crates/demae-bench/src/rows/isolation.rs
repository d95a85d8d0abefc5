//! Whether healthy endpoints notice dead and slow ones.
//!
//! A thousand endpoints in groups; each event goes to all of its group. Once all are healthy; once one of every fifty is
//! not: by turns slow, silent, slow, refusing, so that of the thousand 1 % are slow and 1 % are dead, half of those
//! without an answer and half without even a connection.

use anyhow::Result;

use super::{
    lab::{Lab, NAMES, run_to_the_end},
    latency,
};
use crate::{
    bed::{Bed, StoreKind},
    driver::{Pace, Plan},
    latency::Latency,
    report::{CpuPerMessage, Figure, Unit},
    row::Row,
};

/// Events per second; each becomes as many deliveries as its group has endpoints.
const RATE: f64 = 40.0;
const CONNECTIONS: usize = 16;
/// A reserved port, where nothing listens.
const NOBODY: &str = "http://127.0.0.1:1/";
/// Design, section 8.
const TARGET: (&str, f64) = ("p99 < 2 × that with none", 2.0);

pub(super) async fn measure(lab: &Lab, store: StoreKind) -> Result<Vec<Figure>> {
    let (base, alone) = one(lab, store, 0).await?;
    let (troubled, among) = one(lab, store, 1).await?;
    let ratio = among.p99 as f64 / alone.p99.max(1) as f64;
    let troubled = troubled
        .with("p99", ratio, Unit::Times)
        .aiming(TARGET.0, ratio < TARGET.1);
    Ok(vec![base, troubled])
}

/// So many of each group are dead or slow.
async fn one(lab: &Lab, store: StoreKind, bad: u64) -> Result<(Figure, Latency)> {
    let each = lab.effort.endpoints_per_event;
    let healthy = each - bad;
    let groups = NAMES.len() as u64;
    let case = match bad {
        0 => format!("(none of {} dead or slow)", each * groups),
        _ => format!("({} of {} dead, as many slow)", bad * groups / 2, each * groups),
    };
    lab.progress
        .measuring(format!("{} {case}, {store}", Row::Isolation.title()));
    let bed = Bed::start(store, healthy).await?;
    lab.progress.doing("creating the endpoints");
    for (group, name) in NAMES.iter().enumerate() {
        for lane in 0..healthy {
            bed.create_endpoint(&format!("/ok/{lane}?group={group}"), name)
                .await?;
        }
        for _ in 0..bad {
            create_bad(&bed, group, name).await?;
        }
    }
    let pace = Pace::Rate {
        per_second: RATE,
        warm_up: lab.effort.warm_up_seconds,
        seconds: lab.effort.rate_seconds,
    };
    let plan = Plan {
        connections: CONNECTIONS,
        ..bed.plan(&NAMES, pace)
    };
    let run = run_to_the_end(lab, &bed, &plan, healthy).await?;
    let latency = run.arrived.report.latency;
    let figure = Figure::new(Row::Isolation, Some(store), case);
    let figure = latency::with_latency(figure, latency)
        .costing(CpuPerMessage::of(run.cpu, run.arrived.report.distinct))
        .noting(format!("{RATE}/s events, {each} endpoints each"));
    Ok((run.admit(figure), latency))
}

async fn create_bad(bed: &Bed, group: usize, name: &str) -> Result<()> {
    match group % 4 {
        0 | 2 => bed.create_endpoint(&format!("/slow?group={group}"), name).await?,
        1 => {
            bed.create_endpoint(&format!("/silent?group={group}"), name)
                .await?
        }
        _ => {
            bed.create_webhook(format!("{NOBODY}?group={group}"), name)
                .await?
        }
    };
    Ok(())
}
