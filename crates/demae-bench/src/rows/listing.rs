//! Pages of 200 customers: the first, the middle and the last of many, and the first of few.
//!
//! What a page costs may depend on its length and on nothing else: neither on how far into the list it is nor on how
//! long the list has become. The customers are written into the database by the harness.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    lab::{Lab, admit_refusals},
    latency::milliseconds,
};
use crate::{
    bed::{Bed, StoreKind, drive},
    driver::{Call, Pace},
    report::{CpuPerMessage, Figure, Unit},
    row::Row,
};

/// Items in a page: what the official SDK asks for.
const LIMIT: u64 = 200;
/// Enough to keep two cores busy.
const CONNECTIONS: usize = 8;

pub(super) async fn measure(lab: &Lab, store: StoreKind) -> Result<Vec<Figure>> {
    let [few, many] = lab.effort.customers;
    let mut bed = Bed::start(store, 1).await?;
    let first = first_page();
    seed(lab, &mut bed, 0, few).await?;
    let mut figures = vec![one(lab, &bed, store, format!("(first of {few} customers)"), &first).await?];
    seed(lab, &mut bed, few, many - few).await?;
    let [middle, last] = middle_and_last(lab, &bed).await?;
    for (place, path) in [("first", &first), ("in the middle", &middle), ("last", &last)] {
        let case = format!("({place} of {many} customers)");
        let figure = one(lab, &bed, store, case, path).await?;
        let times = figure
            .cpu
            .zip(figures[0].cpu)
            .map(|(this, base)| this.demae() / base.demae());
        figures.push(match times {
            Some(times) => figure.with("cost", times, Unit::Times),
            None => figure,
        });
    }
    Ok(figures)
}

fn first_page() -> String {
    format!("/api/customers?limit={LIMIT}")
}

async fn seed(lab: &Lab, bed: &mut Bed, first: u64, count: u64) -> Result<()> {
    lab.progress.doing("writing customers");
    bed.stop_server().await?;
    bed.seed_customers(first, count).await?;
    bed.settle().await?;
    bed.start_server().await
}

/// Walks the list, because only the server knows its cursors.
async fn middle_and_last(lab: &Lab, bed: &Bed) -> Result<[String; 2]> {
    lab.progress.doing("walking the list");
    let mut pages = vec![first_page()];
    loop {
        let page: Value = bed.get(&pages[pages.len() - 1]).await?;
        match page["nextCursor"].as_str() {
            Some(cursor) => pages.push(format!("{}&cursor={cursor}", pages[0])),
            None => break,
        }
    }
    let last = pages.last().context("there is a first page")?;
    Ok([pages[pages.len() / 2].clone(), last.clone()])
}

async fn one(lab: &Lab, bed: &Bed, store: StoreKind, case: String, path: &str) -> Result<Figure> {
    lab.progress
        .measuring(format!("{} {case}, {store}", Row::Listing.title()));
    let shown: Value = bed.get(path).await?;
    let items = shown["items"].as_array().context("a page without items")?.len();
    let pace = Pace::Saturate {
        seconds: lab.effort.saturation_seconds / 2.0,
    };
    let plan = bed.plan_calls(vec![Call::get(path)], CONNECTIONS, pace);
    lab.progress.doing("driving");
    let before = bed.cpu()?;
    let outcome = drive(&plan).await?;
    let cpu = bed.cpu()?.since(before).with_driver(outcome.cpu_seconds);
    let rate = outcome.accepted as f64 / outcome.seconds();
    let figure = Figure::new(Row::Listing, Some(store), case)
        .with("", rate, Unit::PerSecond)
        .with("p50", milliseconds(outcome.latency.p50), Unit::Milliseconds)
        .with("p99", milliseconds(outcome.latency.p99), Unit::Milliseconds)
        .costing(CpuPerMessage::of(cpu, outcome.accepted))
        .noting(format!("{CONNECTIONS} connections, {items} items each"));
    Ok(admit_refusals(&outcome, figure))
}
