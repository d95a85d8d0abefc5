//! The bare client: the same driver and the same receiver with nothing between them. What Demae reaches is a share of
//! this, because both run beside it on the same cores.

use anyhow::Result;

use super::lab::{Lab, NAMES};
use crate::{
    bed::{Cpu, ReceiverProcess, drive},
    driver::{CONNECTIONS, EVENT_BYTES, Pace, Plan},
    report::{CpuPerMessage, Figure, Unit},
    row::Row,
    usage,
};

pub(super) async fn measure(lab: &Lab) -> Result<Vec<Figure>> {
    let receiver = ReceiverProcess::start(1).await?;
    let plan = Plan {
        target: receiver.address(),
        path: "/ok/0".to_owned(),
        token: None,
        names: vec![NAMES[0].to_owned()],
        event_bytes: EVENT_BYTES,
        batch: 1,
        calls: Vec::new(),
        connections: CONNECTIONS,
        pace: Pace::Saturate {
            seconds: lab.effort.saturation_seconds / 2.0,
        },
    };
    lab.progress.doing("driving");
    let outcome = drive(&plan).await?;
    let cpu = Cpu {
        driver: outcome.cpu_seconds,
        receiver: usage::of_process(receiver.id()?)?.cpu_seconds,
        ..Cpu::default()
    };
    let rate = outcome.accepted as f64 / outcome.seconds();
    Ok(vec![
        Figure::new(Row::Ceiling, None, "")
            .with("", rate, Unit::PerSecond)
            .costing(CpuPerMessage::of(cpu, outcome.accepted))
            .noting(format!("{CONNECTIONS} connections, no Demae")),
    ])
}
