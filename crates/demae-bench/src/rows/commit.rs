//! From a commit in SQL to the receipt of its event: written into the outbox by another program, read from the
//! write-ahead log, delivered.
//!
//! Latency is from the time the `INSERT` was due to be sent, so it holds the writer's own round trip and flush, which is
//! measured beside it. At saturation a fixed number of connections commit transactions of fifty events, one after the
//! other; what grows is the backlog, and the figure is what the receiver takes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::Result;
use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use tokio::task::JoinSet;

use super::{
    lab::{BATCH, Lab, NAMES, WARM_UP_SHARE},
    latency::{milliseconds, with_latency},
};
use crate::{
    bed::{Nodes, StoreKind},
    clock,
    driver::{EVENT_BYTES, Outcome},
    latency::Latencies,
    mark::{self, Mark},
    report::{CpuPerMessage, Figure, Unit},
    row::Row,
};

/// Target in milliseconds: docs/benchmarks.md.
const TARGET: (&str, f64) = ("p50 ≤ 5 ms", 5.0);
const RATE: f64 = 200.0;
/// Writers: enough at a fixed rate that none waits for another, and as many at saturation.
const CONNECTIONS: u32 = 16;

pub(super) async fn measure(lab: &Lab, store: StoreKind) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for broker in [false, true] {
        let way = if broker {
            "relay, RabbitMQ, worker"
        } else {
            "one process"
        };
        lab.progress.measuring(format!("{}: {way}", Row::Commit.title()));
        figures.push(at_a_rate(lab, store, broker, way).await?);
        figures.push(at_saturation(lab, store, broker, way).await?);
    }
    Ok(figures)
}

async fn start(broker: bool) -> Result<(Nodes, Statements)> {
    let mut nodes = Nodes::start(broker).await?;
    nodes.bed().create_endpoint("/ok/0", NAMES[0]).await?;
    // Or the first events would come from the table, not from the log.
    nodes.make_slot().await?;
    if broker {
        nodes.add("worker").await?;
        nodes.add("relay").await?;
    } else {
        nodes.add("relay,worker").await?;
    }
    let statements = Statements::new(nodes.organization().await?);
    Ok((nodes, statements))
}

async fn at_a_rate(lab: &Lab, store: StoreKind, broker: bool, way: &str) -> Result<Figure> {
    let (nodes, statements) = start(broker).await?;
    let pool = nodes.writers(CONNECTIONS).await?;
    let before = nodes.cpu()?;
    lab.progress.doing("writing");
    let warm_up = (lab.effort.warm_up_seconds * RATE) as u64;
    let events = warm_up + (lab.effort.rate_seconds * RATE) as u64;
    let started = clock::now();
    let mut writes = JoinSet::new();
    for number in 0..events {
        let due = started + (number as f64 / RATE * 1e6) as u64;
        // A timer of the runtime would be up to a millisecond late.
        tokio::task::spawn_blocking(move || clock::block_until(due)).await?;
        let (pool, statements) = (pool.clone(), statements.clone());
        writes.spawn(async move {
            let intended = if number < warm_up { 0 } else { due };
            statements.insert(&pool, number, 1, intended).await?;
            anyhow::Ok((due, clock::now()))
        });
    }
    let mut commits = Latencies::default();
    while let Some(written) = writes.join_next().await {
        let (due, committed) = written??;
        commits.record(due, committed);
    }
    let outcome = Nodes::committed(started, clock::now(), events);
    let figure = Figure::new(Row::Commit, Some(store), format!("at 200/s ({way})"));
    finish(lab, &nodes, before, &outcome, |arrived, cpu| {
        let latency = arrived.latency;
        with_latency(figure, latency)
            .aiming(TARGET.0, milliseconds(latency.p50) <= TARGET.1)
            .costing(CpuPerMessage::of(cpu, arrived.distinct))
            .noting(format!(
                "of it the writer's own commit: p50 {:.2} ms, p99 {:.2} ms",
                milliseconds(commits.summary().p50),
                milliseconds(commits.summary().p99)
            ))
    })
    .await
}

async fn at_saturation(lab: &Lab, store: StoreKind, broker: bool, way: &str) -> Result<Figure> {
    let (nodes, statements) = start(broker).await?;
    let pool = nodes.writers(CONNECTIONS).await?;
    let before = nodes.cpu()?;
    lab.progress.doing("writing");
    let started = clock::now();
    let deadline = started + (lab.effort.saturation_seconds * 1e6) as u64;
    let next = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (pool, statements, next) = (pool.clone(), statements.clone(), next.clone());
        writers.spawn(async move {
            while clock::now() < deadline {
                let first = next.fetch_add(BATCH as u64, Ordering::Relaxed);
                statements
                    .insert(&pool, first, BATCH as u64, clock::now())
                    .await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    let outcome = Nodes::committed(started, clock::now(), next.load(Ordering::Relaxed));
    let warm = started + (outcome.seconds() * WARM_UP_SHARE * 1e6) as u64;
    let figure = Figure::new(Row::Commit, Some(store), format!("at saturation ({way})"));
    finish(lab, &nodes, before, &outcome, |arrived, cpu| {
        let delivered = arrived.rate_between(warm, outcome.ended).unwrap_or(0.0);
        let latency = arrived.latency;
        figure
            .with("", delivered, Unit::PerSecond)
            .with(
                "committed",
                outcome.accepted as f64 / outcome.seconds(),
                Unit::PerSecond,
            )
            .with("first to last", arrived.rate(), Unit::PerSecond)
            .with("p50", milliseconds(latency.p50), Unit::Milliseconds)
            .with("p99", milliseconds(latency.p99), Unit::Milliseconds)
            .costing(CpuPerMessage::of(cpu, arrived.distinct))
            .noting(format!(
                "{CONNECTIONS} connections, {BATCH} events a transaction; a backlog's latency is its length"
            ))
    })
    .await
}

/// Waits for everything and makes the figure; admits what did not arrive.
async fn finish(
    lab: &Lab,
    nodes: &Nodes,
    before: crate::bed::Cpu,
    outcome: &Outcome,
    figure: impl FnOnce(&crate::receiver::Report, crate::bed::Cpu) -> Figure,
) -> Result<Figure> {
    let arrived = nodes.bed().all_of(outcome, 1, &lab.progress).await?;
    let cpu = nodes.cpu()?.since(before);
    let mut figure = figure(&arrived.report, cpu);
    if !arrived.lost.is_empty() {
        figure = figure.noting(format!(
            "**{} committed events did not arrive**",
            arrived.lost.len()
        ));
    }
    if arrived.report.duplicates > 0 {
        figure = figure.noting(format!("{} duplicates", arrived.report.duplicates));
    }
    Ok(figure)
}

/// What a writer sends.
#[derive(Debug, Clone)]
struct Statements {
    organization: Arc<str>,
    padding: Arc<str>,
}

impl Statements {
    fn new(organization: String) -> Self {
        Self {
            organization: organization.into(),
            padding: "x".repeat(EVENT_BYTES - mark::LENGTH).into(),
        }
    }

    /// Inserts events with these numbers in one transaction.
    async fn insert(&self, pool: &DatabaseConnection, first: u64, count: u64, intended: u64) -> Result<()> {
        let rows: Vec<String> = (first..first + count)
            .map(|number| {
                let mut text = [0; mark::LENGTH];
                Mark { number, intended }.write(&mut text);
                // A mark and the padding hold nothing that JSON or SQL would want escaped.
                format!(
                    "('{}', '{}', 'com.example.measured', '{{\"mark\":\"{}\",\"padding\":\"{}\"}}')",
                    self.organization,
                    NAMES[0],
                    String::from_utf8_lossy(&text),
                    self.padding
                )
            })
            .collect();
        let statement = format!(
            "INSERT INTO outbox_events (organization_id, event_name, event_type, payload) VALUES {}",
            rows.join(",")
        );
        pool.execute_unprepared(&statement).await?;
        Ok(())
    }
}
