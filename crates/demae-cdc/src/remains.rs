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
    Fault, SourceConfig,
    catalog::{self, quote, quoted_table},
    mapping::Layout,
    pgoutput::{self, Column},
};

/// Rows fetched at once.
const FETCH: usize = 128;
/// Columns that order the rows, best first: the first that the table has.
const ORDER: [&str; 3] = ["position", "created_at", "occurred_at"];

/// The rows, read by a task of its own: a query that is dropped half-way would lose its place.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) layout: Arc<Layout>,
    rows: mpsc::Receiver<Result<Bytes, Fault>>,
    task: JoinHandle<()>,
}

impl Remains {
    /// Begins to read the table.
    pub(crate) fn read(config: Arc<SourceConfig>, columns: &[Column]) -> Result<Self, Fault> {
        let layout = Layout::new(&config.mapping, &config.name, columns.to_vec())
            .map_err(|missing| catalog::column_missing(&config, &missing, columns))?;
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
        let (sender, rows) = mpsc::channel(FETCH);
        let task = tokio::spawn(async move {
            if let Err(fault) = send_rows(&config, &cursor, &sender).await {
                let _ = sender.send(Err(fault)).await;
            }
        });
        Ok(Self {
            layout: Arc::new(layout),
            rows,
            task,
        })
    }

    /// The next row, in the form of the log; `None` after the last. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        self.rows.recv().await
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
    rows: &mpsc::Sender<Result<Bytes, Fault>>,
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
    let fetch = format!("FETCH {FETCH} FROM remains");
    loop {
        let question = sqlx::raw_sql(AssertSqlSafe(fetch.clone())).fetch_all(&mut sql);
        let fetched = catalog::ask(config, question).await?;
        if fetched.is_empty() {
            return Ok(());
        }
        for row in fetched {
            let values: Vec<Option<&str>> = (0..row.len()).map(|column| row.get(column)).collect();
            if rows.send(Ok(pgoutput::tuple(values.into_iter()))).await.is_err() {
                return Ok(());
            }
        }
    }
}
