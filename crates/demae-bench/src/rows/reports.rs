//! Usage reports: each adds 1 to a counter of an instance.
//!
//! Reports to one counter have to wait for each other; reports to many do not. The totals are read back afterwards: a
//! figure beside a total that is not the number of accepted reports is no figure.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

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

struct Case {
    title: &'static str,
    connections: usize,
    instances: usize,
}

const CASES: [Case; 3] = [
    Case {
        title: "(1 connection, 1 counter)",
        connections: 1,
        instances: 1,
    },
    Case {
        title: "(64 connections, 1 counter)",
        connections: 64,
        instances: 1,
    },
    Case {
        title: "(64 connections, 64 counters)",
        connections: 64,
        instances: 64,
    },
];

pub(super) async fn measure(lab: &Lab, store: StoreKind) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for case in &CASES {
        lab.progress
            .measuring(format!("{} {}, {store}", Row::Usage.title(), case.title));
        figures.push(one(lab, store, case).await?);
    }
    Ok(figures)
}

async fn one(lab: &Lab, store: StoreKind, case: &Case) -> Result<Figure> {
    let bed = Bed::start(store, 1).await?;
    let counters = counters(&bed, case.instances).await?;
    let report = json!({"value": {"type": "number", "value": 1}, "behavior": "append"}).to_string();
    let calls = counters.iter().map(|path| Call::post(path, &report));
    let pace = Pace::Saturate {
        seconds: lab.effort.saturation_seconds / 2.0,
    };
    let plan = bed.plan_calls(calls.collect(), case.connections, pace);
    lab.progress.doing("driving");
    let before = bed.cpu()?;
    let outcome = drive(&plan).await?;
    let cpu = bed.cpu()?.since(before).with_driver(outcome.cpu_seconds);
    let mut total = 0;
    for path in &counters {
        let usage: Value = bed.get(path).await?;
        total += usage["value"]["value"]
            .as_u64()
            .context("usage without a value")?;
    }
    let rate = outcome.accepted as f64 / outcome.seconds();
    let mut figure = Figure::new(Row::Usage, Some(store), case.title)
        .with("", rate, Unit::PerSecond)
        .with("p50", milliseconds(outcome.latency.p50), Unit::Milliseconds)
        .with("p99", milliseconds(outcome.latency.p99), Unit::Milliseconds)
        .costing(CpuPerMessage::of(cpu, outcome.accepted));
    figure = if total == outcome.accepted {
        figure.noting("the totals are exact")
    } else {
        let accepted = outcome.accepted;
        figure.noting(format!("**{total} counted of {accepted} accepted reports**"))
    };
    Ok(admit_refusals(&outcome, figure))
}

/// Makes a license that grants an entitlement without a limit, and instances of it; answers where to report.
async fn counters(bed: &Bed, instances: usize) -> Result<Vec<String>> {
    let customer = bed.post("/api/customers", &json!({"name": "Bench"})).await?;
    let license =
        json!({"name": "Bench", "slug": "bench", "description": "", "type": "PAID", "isDefault": false});
    let license = bed.post("/api/licenses", &license).await?;
    let calls = json!({"name": "Calls", "slug": "calls", "description": null, "type": "NUMBER"});
    bed.post("/api/entitlements", &calls).await?;
    let grant = json!({"entitlementSlug": "calls", "value": {"type": "number", "value": -1}});
    bed.post("/api/licenses/bench/entitlements", &grant).await?;
    let mut paths = Vec::new();
    for number in 0..instances {
        let slug = format!("instance-{number}");
        let instance = json!({
            "name": slug, "slug": slug, "description": "",
            "customerId": customer["id"], "licenseId": license["id"],
            "startLicenseDate": "2020-01-01T00:00:00Z", "endLicenseDate": "2100-01-01T00:00:00Z",
        });
        bed.post("/api/instances", &instance).await?;
        paths.push(format!("/api/instances/{slug}/entitlements/calls/usage"));
    }
    Ok(paths)
}
