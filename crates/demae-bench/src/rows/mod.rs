//! The rows of the table: what is measured and how, one module each.

mod backlog;
mod ceiling;
mod commit;
mod isolation;
mod lab;
mod latency;
mod listing;
mod reports;
mod start;
mod throughput;
mod waiting;
mod wal;
mod workers;

pub(crate) use self::lab::{Effort, Lab};
use crate::{bed::StoreKind, report::Figure, row::Row};

/// Measures a row. What cannot be measured becomes a figure that says why.
pub(crate) async fn measure(lab: &Lab, row: Row, store: Option<StoreKind>) -> Vec<Figure> {
    let place = store.map_or_else(String::new, |store| format!(", {store}"));
    lab.progress.measuring(format!("{}{place}", row.title()));
    let measured = match (row, store) {
        (Row::Throughput, Some(store)) => throughput::measure(lab, store).await,
        (Row::Latency, Some(store)) => latency::measure(lab, store).await,
        (Row::Backlog, Some(store)) => backlog::measure(lab, store).await,
        (Row::Waiting, Some(store)) => waiting::measure(lab, store).await,
        (Row::Isolation, Some(store)) => isolation::measure(lab, store).await,
        (Row::Listing, Some(store)) => listing::measure(lab, store).await,
        (Row::Usage, Some(store)) => reports::measure(lab, store).await,
        (Row::Start, Some(store)) => start::measure(lab, store).await,
        (Row::Wal, Some(store)) => wal::measure(lab, store).await,
        (Row::Commit, Some(store)) => commit::measure(lab, store).await,
        (Row::Workers, Some(store)) => workers::measure(lab, store).await,
        (Row::Ceiling, _) | (_, None) => ceiling::measure(lab).await,
    };
    measured.unwrap_or_else(|error| vec![Figure::new(row, store, "").noting(format!("{error:#}"))])
}
