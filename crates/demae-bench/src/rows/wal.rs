//! From the write-ahead log to the router: a backlog of committed events that a relay reads from its slot and routes.
//!
//! No endpoint asks for the events, so that nothing but reading and routing is done: a message is written for each and its
//! outbox row taken out, in the router's transactions. The ceiling beside it is Postgres decoding the same part of the log
//! for nobody.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{MissedTickBehavior, interval};

use super::lab::{Lab, NAMES};
use crate::{
    bed::{Nodes, Seed, Stage, StoreKind},
    clock,
    report::{CpuPerMessage, Figure, Unit},
    row::Row,
};

/// Target: docs/benchmarks.md.
const TARGET: (&str, f64) = ("≥ 50,000/s", 50_000.0);
const ROUTED: &str = "demae_events_routed_total";
/// A second slot, for the ceiling.
const CEILING_SLOT: &str = "bench";
/// What the relay names its publication.
const PUBLICATION: &str = "demae_outbox";
const POLL: Duration = Duration::from_millis(10);
/// Without progress for so long, it is over.
const PATIENCE_MICROS: u64 = 30_000_000;

pub(super) async fn measure(lab: &Lab, store: StoreKind) -> Result<Vec<Figure>> {
    let mut nodes = Nodes::start(false).await?;
    // The slot must be there before the events, and nobody may read it meanwhile.
    nodes.make_slot().await?;
    nodes
        .execute(&format!(
            "SELECT pg_create_logical_replication_slot('{CEILING_SLOT}', 'pgoutput')::text"
        ))
        .await?;
    let events = lab.effort.backlog;
    lab.progress.doing("writing the backlog");
    // An endpoint for another event tells whose events they are.
    let mut endpoint = nodes.bed().create_endpoint("/ok/0", NAMES[0]).await?;
    NAMES[1].clone_into(&mut endpoint.name);
    nodes
        .bed()
        .seed(&Seed {
            endpoint: &endpoint,
            first: 0,
            count: events,
            stage: Stage::Unrouted,
        })
        .await?;
    nodes.bed().settle().await?;
    let ceiling = nodes.decode_alone(CEILING_SLOT, PUBLICATION).await?;
    nodes
        .execute(&format!(
            "SELECT pg_drop_replication_slot('{CEILING_SLOT}')::text"
        ))
        .await?;

    let before = nodes.cpu()?;
    lab.progress.doing("routing");
    let begin = clock::now();
    nodes.add("relay").await?;
    let routed = until_routed(lab, &nodes, events).await?;
    let cpu = nodes.cpu()?.since(before);
    ensure!(routed.count == events, "{} of {events} were routed", routed.count);
    let rate = routed.count as f64 / ((routed.last - begin) as f64 / 1e6);
    Ok(vec![
        Figure::new(Row::Wal, Some(store), "read and routed")
            .with("", rate, Unit::PerSecond)
            .aiming(TARGET.0, rate >= TARGET.1)
            .costing(CpuPerMessage::of(cpu, events))
            .noting(format!(
                "{events} events, from the start of the relay until the last was routed"
            )),
        Figure::new(Row::Wal, Some(store), "ceiling: Postgres decodes for nobody").with(
            "",
            ceiling,
            Unit::PerSecond,
        ),
    ])
}

struct Routed {
    count: u64,
    last: u64,
}

async fn until_routed(lab: &Lab, nodes: &Nodes, events: u64) -> Result<Routed> {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut routed = Routed {
        count: 0,
        last: clock::now(),
    };
    loop {
        ticks.tick().await;
        let count = nodes.metric(ROUTED).await? as u64;
        lab.progress.arrived(count, events);
        if count > routed.count {
            routed = Routed {
                count,
                last: clock::now(),
            };
        }
        if count >= events || clock::now() - routed.last > PATIENCE_MICROS {
            return Ok(routed);
        }
    }
}
