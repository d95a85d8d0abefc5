//! What the database says about itself: version, table, publication, slot; and the statements that prepare it.
//!
//! Names come from settings; they are quoted here, in one place, and never pasted as they are.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tokio::time::timeout;

use crate::{
    Fault, SourceConfig,
    error::literal,
    mapping::{Layout, MissingColumn},
};

/// Connecting and answering a small question.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// Making a slot waits for every transaction that writes.
const SLOT_CREATION: Duration = Duration::from_mins(10);
/// The oldest server whose output plugin sends messages.
pub(crate) const OLDEST: i32 = 140_000;
/// The comment on the publication while the table's rows are still to be read; see `remains`.
pub(crate) const REMAINS_MARK: &str = "demae: the rows of the table are still to be read";

/// A slot as the server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// `None` for a physical slot.
    pub(crate) database: Option<String>,
    pub(crate) plugin: Option<String>,
    pub(crate) active: bool,
    /// The server removed log that it needs.
    pub(crate) lost: bool,
    /// Bytes of log that the server keeps for it.
    pub(crate) retained: i64,
    /// Bytes of log behind its confirmed position.
    pub(crate) lag: i64,
    /// The server could copy it to its standbys (Postgres 17) and does not.
    pub(crate) stays_behind: bool,
}

/// Quotes an identifier.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `"schema"."table"`.
pub(crate) fn quoted_table(config: &SourceConfig) -> String {
    let (schema, table) = config.table_parts();
    format!("{}.{}", quote(schema), quote(table))
}

/// Connects for ordinary statements.
pub(crate) async fn connect(config: &SourceConfig) -> Result<PgConnection, Fault> {
    let options = config
        .target
        .sql_options()
        .map_err(|error| fault(config, &error, None))?;
    timeout(ANSWER, PgConnection::connect_with(&options))
        .await
        .map_err(|_| connection(config, "no answer in time"))?
        .map_err(|error| fault(config, &error, None))
}

/// Whether the server and the table are fit for it; the columns of the table.
pub(crate) async fn inspect(sql: &mut PgConnection, config: &SourceConfig) -> Result<Vec<String>, Fault> {
    let row = ask(
        config,
        sqlx::query(
            "SELECT current_setting('server_version_num')::int4, current_setting('server_version'), \
             current_setting('wal_level')",
        )
        .fetch_one(&mut *sql),
    )
    .await?;
    let (number, version, wal_level): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
    if number < OLDEST {
        return Err(Fault::TooOld { found: version });
    }
    if wal_level != "logical" {
        return Err(Fault::WalLevel { found: wal_level });
    }
    let columns = columns(sql, config).await?;
    let table = config.table_parts();
    if columns.is_empty() {
        return Err(Fault::TableMissing {
            table: format!("{}.{}", table.0, table.1),
        });
    }
    match Layout::new(&config.mapping, &config.name, columns.clone()) {
        Ok(_) => Ok(columns),
        Err(missing) => Err(column_missing(config, &missing)),
    }
}

/// The table's columns in their order; none if there is no such table.
pub(crate) async fn columns(sql: &mut PgConnection, config: &SourceConfig) -> Result<Vec<String>, Fault> {
    let (schema, table) = config.table_parts();
    let rows = ask(
        config,
        sqlx::query(
            "SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p') AND a.attnum > 0 \
             AND NOT a.attisdropped ORDER BY a.attnum",
        )
        .bind(schema)
        .bind(table)
        .fetch_all(&mut *sql),
    )
    .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The fault of a table that lacks a column.
pub(crate) fn column_missing(config: &SourceConfig, missing: &MissingColumn) -> Fault {
    let (schema, table) = config.table_parts();
    Fault::ColumnMissing {
        table: format!("{schema}.{table}"),
        wanted: format!("for {} ({})", missing.field, missing.names.join(" or ")),
    }
}

/// The statement that is missing until the publication holds the table's inserts; `None` if it does.
pub(crate) async fn publication_statement(
    sql: &mut PgConnection,
    config: &SourceConfig,
) -> Result<Option<String>, Fault> {
    let (schema, table) = config.table_parts();
    let row = ask(
        config,
        sqlx::query(
            "SELECT (SELECT pubinsert FROM pg_publication WHERE pubname = $1), \
             EXISTS (SELECT FROM pg_publication_tables WHERE pubname = $1 AND schemaname = $2 AND tablename = $3)",
        )
        .bind(&config.publication)
        .bind(schema)
        .bind(table)
        .fetch_one(&mut *sql),
    )
    .await?;
    let name = quote(&config.publication);
    Ok(match (row.get::<Option<bool>, _>(0), row.get::<bool, _>(1)) {
        (None, _) => Some(create_publication(config)),
        (Some(_), false) => Some(format!(
            "ALTER PUBLICATION {name} ADD TABLE {}",
            quoted_table(config)
        )),
        (Some(false), true) => Some(format!("ALTER PUBLICATION {name} SET (publish = 'insert')")),
        (Some(true), true) => None,
    })
}

/// Inserts only: rows that are routed or too old are deleted, and that must not be news.
pub(crate) fn create_publication(config: &SourceConfig) -> String {
    format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH (publish = 'insert', publish_via_partition_root = true)",
        quote(&config.publication),
        quoted_table(config)
    )
}

/// Runs a statement that changes something.
pub(crate) async fn run(sql: &mut PgConnection, config: &SourceConfig, statement: &str) -> Result<(), Fault> {
    let running = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *sql);
    match timeout(SLOT_CREATION, running).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(fault(config, &error, Some(statement))),
        Err(_) => Err(connection(config, "no answer in time")),
    }
}

/// The slot, if there is one.
pub(crate) async fn slot(sql: &mut PgConnection, config: &SourceConfig) -> Result<Option<Slot>, Fault> {
    let row = ask(
        config,
        sqlx::query(
            "SELECT database::text, plugin::text, active, coalesce(wal_status = 'lost', false), \
             coalesce(pg_wal_lsn_diff(written, restart_lsn)::int8, 0), \
             coalesce(pg_wal_lsn_diff(written, confirmed_flush_lsn)::int8, 0), \
             coalesce(to_jsonb(slot) ->> 'failover' = 'false', false) \
             FROM pg_replication_slots AS slot, LATERAL (SELECT CASE WHEN pg_is_in_recovery() THEN \
             pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS written) position WHERE slot_name = $1",
        )
        .bind(&config.slot)
        .fetch_optional(&mut *sql),
    )
    .await?;
    Ok(row.map(|row| Slot {
        database: row.get(0),
        plugin: row.get(1),
        active: row.get(2),
        lost: row.get(3),
        retained: row.get(4),
        lag: row.get(5),
        stays_behind: row.get(6),
    }))
}

/// Whether the table's rows are still to be read.
pub(crate) async fn is_marked(sql: &mut PgConnection, config: &SourceConfig) -> Result<bool, Fault> {
    let row = ask(
        config,
        sqlx::query(
            "SELECT coalesce(obj_description(oid, 'pg_publication') = $2, false) FROM pg_publication WHERE pubname = $1",
        )
        .bind(&config.publication)
        .bind(REMAINS_MARK)
        .fetch_optional(&mut *sql),
    )
    .await?;
    Ok(row.is_some_and(|row| row.get(0)))
}

/// Notes that the table's rows are still to be read, or that they have been.
pub(crate) async fn mark(sql: &mut PgConnection, config: &SourceConfig, pending: bool) -> Result<(), Fault> {
    let comment = if pending {
        literal(REMAINS_MARK)
    } else {
        "NULL".to_owned()
    };
    let statement = format!(
        "COMMENT ON PUBLICATION {} IS {comment}",
        quote(&config.publication)
    );
    run(sql, config, &statement).await
}

/// Waits for the answer to a small question.
pub(crate) async fn ask<T>(
    config: &SourceConfig,
    question: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Fault> {
    timeout(ANSWER, question)
        .await
        .map_err(|_| connection(config, "no answer in time"))?
        .map_err(|error| fault(config, &error, None))
}

/// A failed connection.
pub(crate) fn connection(config: &SourceConfig, reason: impl Into<String>) -> Fault {
    Fault::Connection {
        target: config.target.label(),
        reason: reason.into(),
    }
}

/// What an SQLSTATE means for a source. `statement` is what was to be done, if it was to change something.
pub(crate) fn refusal(
    config: &SourceConfig,
    code: &str,
    reason: &str,
    statement: Option<&str>,
) -> Option<Fault> {
    let user = || config.target.user().to_owned();
    let reason = || reason.to_owned();
    Some(match (code, statement) {
        ("28000" | "28P01" | "3D000", _) => Fault::Refused {
            user: user(),
            reason: reason(),
        },
        ("42501", Some(statement)) if !statement.contains("replication_slot") => Fault::Denied {
            statement: statement.to_owned(),
            reason: reason(),
        },
        ("42501", _) => Fault::NoReplicationRight { user: user() },
        ("53400", _) => Fault::NoFreeSlot,
        _ => return None,
    })
}

fn fault(config: &SourceConfig, error: &sqlx::Error, statement: Option<&str>) -> Fault {
    error
        .as_database_error()
        .and_then(|error| refusal(config, &error.code()?, error.message(), statement))
        .unwrap_or_else(|| connection(config, error.to_string()))
}
