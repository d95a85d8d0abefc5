//! Whether healthy endpoints notice dead and slow ones, their own organization's or another's.
//!
//! A thousand endpoints in groups; each event goes to all of its group. Once all are healthy; once one of every fifty is
//! not: by turns slow, silent, slow, refusing, so that of the thousand 1 % are slow and 1 % are dead, half of those
//! without an answer and half without even a connection. And once all are healthy while another organization sends to a
//! hundred endpoints of its own more than they take: each answers 200, but only after 20 s.

use anyhow::Result;

use super::{
    lab::{Lab, NAMES, Run, run_to_the_end},
    latency,
};
use crate::{
    bed::{Bed, StoreKind, Tenant, drive},
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
/// The other organization's endpoints.
const LATE_ENDPOINTS: usize = 100;
/// The other organization's events per second, each to all of its endpoints.
const LATE_RATE: f64 = 4.0;
/// Target: docs/benchmarks.md.
const TARGET: (&str, f64) = ("p99 < 1.5 × that with none", 1.5);

/// What stands beside the healthy endpoints.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Others {
    None,
    /// Of each group's endpoints so many, dead and slow by turns.
    Bad(u64),
    /// Those of another organization, which answer late.
    Late,
}

pub(super) async fn measure(lab: &Lab, store: StoreKind) -> Result<Vec<Figure>> {
    let (base, alone) = one(lab, store, Others::None).await?;
    let mut figures = vec![base];
    for others in [Others::Bad(1), Others::Late] {
        let (figure, among) = one(lab, store, others).await?;
        let ratio = among.p99 as f64 / alone.p99.max(1) as f64;
        let figure = figure.with("p99", ratio, Unit::Times);
        figures.push(figure.aiming(TARGET.0, ratio < TARGET.1));
    }
    Ok(figures)
}

async fn one(lab: &Lab, store: StoreKind, others: Others) -> Result<(Figure, Latency)> {
    let each = lab.effort.endpoints_per_event;
    let groups = NAMES.len() as u64;
    let (bad, case) = match others {
        Others::None => (0, format!("(none of {} dead or slow)", each * groups)),
        Others::Bad(bad) => {
            let half = bad * groups / 2;
            (bad, format!("({half} of {} dead, as many slow)", each * groups))
        }
        Others::Late => (
            0,
            format!("({LATE_ENDPOINTS} of another tenant answer after 20 s)"),
        ),
    };
    let healthy = each - bad;
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
    let run = match others {
        Others::Late => beside_late_ones(lab, &bed, healthy).await?,
        Others::None | Others::Bad(_) => run_to_the_end(lab, &bed, &plan(lab, &bed), healthy).await?,
    };
    let latency = run.arrived.report.latency;
    let figure = Figure::new(Row::Isolation, Some(store), case);
    let figure = latency::with_latency(figure, latency)
        .costing(CpuPerMessage::of(run.cpu, run.arrived.report.distinct))
        .noting(format!("{RATE}/s events, {each} endpoints each"));
    Ok((run.admit(figure), latency))
}

fn plan(lab: &Lab, bed: &Bed) -> Plan {
    Plan {
        connections: CONNECTIONS,
        ..bed.plan(&NAMES, pace(lab, RATE))
    }
}

fn pace(lab: &Lab, per_second: f64) -> Pace {
    Pace::Rate {
        per_second,
        warm_up: lab.effort.warm_up_seconds,
        seconds: lab.effort.rate_seconds,
    }
}

/// The measured load while another organization's endpoints are given more than they take.
async fn beside_late_ones(lab: &Lab, bed: &Bed, lanes: u64) -> Result<Run> {
    let tenant = Tenant::create(bed).await?;
    for number in 0..LATE_ENDPOINTS {
        tenant
            .create_endpoint(bed, &format!("/late?number={number}"), NAMES[0])
            .await?;
    }
    let load = Plan {
        connections: CONNECTIONS,
        ..tenant.plan(bed, &NAMES[..1], pace(lab, LATE_RATE))
    };
    let measured = plan(lab, bed);
    let (run, load) = tokio::join!(run_to_the_end(lab, bed, &measured, lanes), drive(&load));
    anyhow::ensure!(
        load?.refused.is_empty(),
        "the other organization's events were refused"
    );
    run
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
