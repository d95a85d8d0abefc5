//! The load harness: measures a built `demae` from outside, the way its users meet it.
//!
//! `make bench` runs it. The orchestrator (no subcommand) starts, for each measurement, a fresh database, the `demae`
//! beside this program, and two processes of this program: a driver that posts events and a receiver that takes the
//! deliveries. It promises that a figure is only given with what makes it credible: that everything accepted arrived,
//! how many duplicates there were, and whose processor time it took.
//!
//! It knows `demae` by its command line, its HTTP surface and `/proc`; only rows that need a large backlog at once write
//! to the database. Nothing here runs in the tests, and no test asserts a time.

mod args;
mod bed;
mod clock;
mod driver;
mod http1;
mod latency;
mod machine;
mod mark;
mod progress;
mod receiver;
mod report;
mod row;
mod rows;
mod usage;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::{
    args::{Arguments, Measuring, Part},
    machine::Machine,
    progress::Progress,
    report::Report,
    row::Row,
    rows::Lab,
};

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Receiver { lanes }) => receiver::run(lanes),
        Some(Part::Driver { plan }) => {
            let plan = serde_json::from_str(&plan).context("the plan is unreadable")?;
            println!("{}", serde_json::to_string(&driver::run(plan)?)?);
            Ok(())
        }
        None => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(measure(&arguments.measuring))
        }
    }
}

async fn measure(measuring: &Measuring) -> Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("This is a debug build: it shows that everything runs, not how fast. Use `make bench`.");
    }
    let machine = Machine::look(&measuring.stores()).await?;
    let rows = measuring.rows();
    let progress = Progress::new(
        rows.iter()
            .map(|row| measuring.stores_of(*row).len() as u64)
            .sum(),
    );
    let lab = Lab {
        effort: measuring.effort(),
        progress,
    };
    let mut figures = Vec::new();
    for row in rows {
        for store in measuring.stores_of(row) {
            figures.extend(rows::measure(&lab, row, store).await);
            lab.progress.done();
        }
    }
    lab.progress.finish();
    let report = Report { machine, figures };
    if measuring.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", report.text());
    }
    match measuring.page() {
        Some(page) => write_page(page, &report),
        None => Ok(()),
    }
}

/// Replaces what the last run wrote, and nothing else.
fn write_page(page: &Path, report: &Report) -> Result<()> {
    let old = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let new = report::insert(&old, &report.text()).with_context(|| format!("in {}", page.display()))?;
    fs::write(page, new).with_context(|| format!("cannot write {}", page.display()))
}

impl Measuring {
    /// On which stores a row is to be measured; `None` for the one that needs no store.
    fn stores_of(&self, row: Row) -> Vec<Option<bed::StoreKind>> {
        let stores = self.stores().into_iter().map(Some);
        stores.chain([None]).filter(|store| row.is_on(*store)).collect()
    }
}
