//! The rows that are in the table when its slot is made.
//!
//! A new slot shows what is committed from now on. For an outbox whose rows stay until they are routed, what was
//! committed before is still in the table; it is read once, before the log, so that a lost slot loses nothing. Rows that
//! are committed in between come twice; their ids tell.
//!
//! A crash on the way must not forget the rest: while rows are to be read, the publication bears a mark (a comment), set
//! before the slot is made and removed when every row is acknowledged. Nothing of the log is confirmed before.

use std::sync::Arc;

use bytes::Bytes;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    Fault, SourceConfig, catalog,
    mapping::Layout,
    pgoutput::{self, Column},
    quoting::{quote, quoted_table},
    table,
};

/// Rows fetched at once, at most.
const FETCH: usize = 128;
/// Bytes fetched at once, if the rows are as large as the largest of the fetch before. One row is fetched whatever its size.
const FETCH_BYTES: usize = 4 * 1024 * 1024;
/// Columns that order the rows, best first: the first that the table has.
const ORDER: [&str; 3] = ["position", "created_at", "occurred_at"];

/// The rows, read by a task of its own: a query that is dropped half-way would lose its place.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) layout: Arc<Layout>,
    fetches: mpsc::Receiver<Result<Vec<Bytes>, Fault>>,
    /// What is left of the last fetch.
    fetched: std::vec::IntoIter<Bytes>,
    task: JoinHandle<()>,
}

impl Remains {
    /// Begins to read the table.
    pub(crate) fn read(config: Arc<SourceConfig>, columns: &[Column]) -> Result<Self, Fault> {
        let layout = Layout::new(&config.mapping, &config.name, columns.to_vec())
            .map_err(|missing| table::column_missing(&config, &missing, columns))?;
        let list: Vec<_> = columns
            .iter()
            .map(|column| format!("outbox.{}::text", quote(&column.name)))
            .collect();
        let order = ORDER
            .iter()
            .find(|name| columns.iter().any(|column| column.name == **name))
            .map(|name| format!(" ORDER BY outbox.{}", quote(name)))
            .unwrap_or_default();
        let cursor = format!(
            "DECLARE remains NO SCROLL CURSOR FOR SELECT {} FROM {} AS outbox{order}",
            list.join(", "),
            quoted_table(&config)
        );
        let (sender, fetches) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            if let Err(fault) = send_rows(&config, &cursor, &sender).await {
                let _ = sender.send(Err(fault)).await;
            }
        });
        Ok(Self {
            layout: Arc::new(layout),
            fetches,
            fetched: Vec::new().into_iter(),
            task,
        })
    }

    /// The next row, in the form of the log; `None` after the last. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        loop {
            if let Some(row) = self.fetched.next() {
                return Some(Ok(row));
            }
            match self.fetches.recv().await? {
                Ok(rows) => self.fetched = rows.into_iter(),
                Err(fault) => return Some(Err(fault)),
            }
        }
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send_rows(
    config: &SourceConfig,
    cursor: &str,
    batches: &mpsc::Sender<Result<Vec<Bytes>, Fault>>,
) -> Result<(), Fault> {
    let mut sql = catalog::connect(config).await?;
    // As the log writes its values.
    catalog::run(
        &mut sql,
        config,
        "SET timezone = 'UTC'; SET datestyle = 'ISO'; BEGIN READ ONLY",
    )
    .await?;
    catalog::run(&mut sql, config, cursor).await?;
    let mut count = 1;
    loop {
        let fetch = format!("FETCH {count} FROM remains");
        let question = sqlx::raw_sql(AssertSqlSafe(fetch)).fetch_all(&mut sql);
        let fetched = catalog::ask(config, question).await?;
        let rows: Vec<Bytes> = fetched
            .into_iter()
            .map(|row| pgoutput::tuple((0..row.len()).map(|column| row.get(column))))
            .collect();
        let Some(largest) = rows.iter().map(Bytes::len).max() else {
            return Ok(());
        };
        count = next_fetch(count, largest);
        if batches.send(Ok(rows)).await.is_err() {
            return Ok(());
        }
    }
}

/// How many rows to fetch after a fetch of `count` rows, the largest of which has `largest` bytes.
fn next_fetch(count: usize, largest: usize) -> usize {
    (FETCH_BYTES / largest.max(1)).clamp(1, (count * 2).min(FETCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetches_grow_with_small_rows_and_shrink_with_large_ones() {
        let mut count = 1;
        for expected in [2, 4, 8, 16, 32, 64, 128, 128] {
            count = next_fetch(count, 1_000);
            assert_eq!(count, expected);
        }
        assert_eq!(next_fetch(count, 1_000_000), 4);
        assert_eq!(next_fetch(count, 16 * 1024 * 1024), 1);
        assert_eq!(next_fetch(count, 0), FETCH);
    }
}
