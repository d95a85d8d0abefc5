//! The command line.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum as _};

use crate::{bed::StoreKind, row::Row, rows::Effort};

/// Where a whole run writes its table, from the workspace's folder.
const PAGE: &str = "docs/benchmarks.md";

/// Measures a built demae from outside.
#[derive(Debug, Parser)]
#[command(name = "demae-bench")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
}

/// The processes that the orchestrator starts.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// Takes deliveries and counts them.
    #[command(hide = true)]
    Receiver {
        /// Copies expected of each event
        #[arg(long, default_value_t = 1)]
        lanes: u64,
    },
    /// Posts events by a plan.
    #[command(hide = true)]
    Driver {
        /// JSON
        plan: String,
    },
}

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Measuring {
    /// Short runs: shows that everything works; the figures mean little
    #[arg(long)]
    quick: bool,
    /// Only this row (may be repeated)
    #[arg(long, value_name = "ROW")]
    only: Vec<Row>,
    /// Only this store
    #[arg(long)]
    store: Option<StoreKind>,
    /// JSON instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the table into this page, between its markers [default: docs/benchmarks.md for a whole run, none otherwise]
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

impl Measuring {
    /// The rows, in their own order.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let wanted = |row: &&Row| self.only.is_empty() || self.only.contains(row);
        Row::value_variants().iter().filter(wanted).copied().collect()
    }

    /// The stores.
    pub(crate) fn stores(&self) -> Vec<StoreKind> {
        self.store
            .map_or_else(|| StoreKind::value_variants().to_vec(), |store| vec![store])
    }

    /// How long and how much.
    pub(crate) fn effort(&self) -> Effort {
        if self.quick { Effort::QUICK } else { Effort::FULL }
    }

    /// The page to write. A part of the table must not replace the whole unless that is asked for.
    pub(crate) fn page(&self) -> Option<&Path> {
        let whole = !self.quick && self.only.is_empty() && self.store.is_none();
        self.page.as_deref().or(whole.then_some(Path::new(PAGE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measuring(arguments: &[&str]) -> Measuring {
        let all = [&["demae-bench"], arguments].concat();
        Arguments::try_parse_from(all).unwrap().measuring
    }

    #[test]
    fn a_whole_run_measures_all_and_writes_the_page() {
        let whole = measuring(&[]);
        assert_eq!(whole.rows(), Row::value_variants());
        assert_eq!(whole.stores(), [StoreKind::Sqlite, StoreKind::Postgres]);
        assert_eq!(whole.page(), Some(Path::new(PAGE)));
        assert_eq!(whole.effort(), Effort::FULL);
    }

    #[test]
    fn a_partial_run_leaves_the_page_alone_unless_told() {
        assert_eq!(measuring(&["--quick"]).page(), None);
        assert_eq!(measuring(&["--store", "postgres"]).page(), None);
        let some = measuring(&["--only", "latency", "--only", "ceiling", "--page", "x.md"]);
        assert_eq!(some.rows(), [Row::Ceiling, Row::Latency]);
        assert_eq!(some.page(), Some(Path::new("x.md")));
    }

    #[test]
    fn an_unknown_row_is_refused() {
        assert!(Arguments::try_parse_from(["demae-bench", "--only", "everything"]).is_err());
    }

    #[test]
    fn the_parts_take_what_the_orchestrator_gives_them() {
        let receiver = Arguments::try_parse_from(["demae-bench", "receiver", "--lanes", "49"]).unwrap();
        assert!(matches!(receiver.part, Some(Part::Receiver { lanes: 49 })));
        let driver = Arguments::try_parse_from(["demae-bench", "driver", "{}"]).unwrap();
        assert!(matches!(driver.part, Some(Part::Driver { .. })));
    }
}
