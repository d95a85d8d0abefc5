//! What the database says about itself: version, table, publication, slot; and the statements that prepare it.
//!
//! Names come from settings; they are quoted here, in one place, and never pasted as they are.

use std::{sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::time::timeout;

use crate::{
    Fault, SourceConfig,
    connection::{Connection, Purpose},
    error::literal,
    mapping::{Layout, MissingColumn},
    pgoutput::Column,
    table::Table,
};

/// Connecting and answering a small question.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// Types with smaller OIDs are Postgres's own (`FirstNormalObjectId`).
pub(crate) const FIRST_OWN_TYPE: u32 = 16_384;
/// Changing something small, which may wait for a lock.
const CHANGE: Duration = Duration::from_mins(1);
/// Making a slot waits for every transaction that writes.
pub(crate) const SLOT_CREATION: Duration = Duration::from_mins(10);
/// The oldest server whose output plugin sends messages.
pub(crate) const OLDEST: i32 = 140_000;
/// The comment on the publication while the table's rows are still to be read; see `remains`.
pub(crate) const REMAINS_MARK: &str = "demae: the rows of the table are still to be read";

/// A slot as the server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the catalogue")]
pub(crate) struct Slot {
    /// `None` for a physical slot.
    pub(crate) database: Option<String>,
    pub(crate) plugin: Option<String>,
    pub(crate) active: bool,
    /// The session that has it.
    pub(crate) pid: Option<i32>,
    /// It is still being made: it has no position that anybody could read from.
    pub(crate) unfinished: bool,
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
    let options = sql_options(config).await?;
    timeout(ANSWER, PgConnection::connect_with(&options))
        .await
        .map_err(|_| connection(config, "no answer in time"))?
        .map_err(|error| fault(config, &error, None))
}

/// sqlx gives a server the password in whatever form it is asked for. Where that would be in clear over a network, the
/// server is tried with our own client first, which refuses; and if it can encrypt, it has to.
async fn sql_options(config: &SourceConfig) -> Result<PgConnectOptions, Fault> {
    let options = config
        .target
        .sql_options()
        .map_err(|error| fault(config, &error, None))?;
    if !config.target.may_be_asked_in_clear() {
        return Ok(options);
    }
    let tried = Connection::open(&Arc::new(config.clone()), Purpose::Session)
        .await
        .map_err(|trouble| trouble.fault(config))?;
    let encrypted = tried.is_encrypted();
    tried.close().await;
    Ok(if encrypted {
        options.ssl_mode(PgSslMode::Require)
    } else {
        options
    })
}

/// Whether the server and the table are fit for it; the table.
pub(crate) async fn inspect(sql: &mut PgConnection, config: &SourceConfig) -> Result<Table, Fault> {
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
    let Some(table) = Table::find(sql, config).await? else {
        let (schema, table) = config.table_parts();
        return Err(Fault::TableMissing {
            table: format!("{schema}.{table}"),
        });
    };
    let columns = table.plain_columns();
    if let Err(missing) = Layout::new(&config.mapping, &config.name, columns.clone()) {
        return Err(column_missing(config, &missing, &columns));
    }
    match table.faults(config).into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok(table),
    }
}

/// The fault of a table that lacks a column.
pub(crate) fn column_missing(config: &SourceConfig, missing: &MissingColumn, there: &[Column]) -> Fault {
    let (schema, table) = config.table_parts();
    let same = |name: &String, column: &Column| name.eq_ignore_ascii_case(&column.name);
    let alike = there
        .iter()
        .find(|column| missing.names.iter().any(|name| same(name, column)));
    let alike = alike.map_or_else(String::new, |column| {
        format!("; there is {:?}, and upper and lower case matter", column.name)
    });
    Fault::ColumnMissing {
        table: format!("{schema}.{table}"),
        wanted: format!("for {} ({}){alike}", missing.field, missing.names.join(" or ")),
    }
}

/// Runs a small statement that changes something.
pub(crate) async fn run(sql: &mut PgConnection, config: &SourceConfig, statement: &str) -> Result<(), Fault> {
    match timeout(CHANGE, execute(sql, statement)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(fault(config, &error, Some(statement))),
        Err(_) => Err(connection(config, "no answer in time")),
    }
}

/// Runs a statement; the caller limits it.
pub(crate) async fn execute(sql: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut *sql)
        .await?;
    Ok(())
}

/// The slot, if there is one.
pub(crate) async fn slot(sql: &mut PgConnection, config: &SourceConfig) -> Result<Option<Slot>, Fault> {
    let row = ask(
        config,
        sqlx::query(
            "SELECT database::text, plugin::text, active, coalesce(wal_status = 'lost', false), \
             coalesce(pg_wal_lsn_diff(written, restart_lsn)::int8, 0), \
             coalesce(pg_wal_lsn_diff(written, confirmed_flush_lsn)::int8, 0), \
             coalesce(to_jsonb(slot) ->> 'failover' = 'false', false), active_pid, \
             slot_type = 'logical' AND confirmed_flush_lsn IS NULL AND coalesce(wal_status <> 'lost', true) \
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
        pid: row.get(7),
        unfinished: row.get(8),
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
        // What is there already, or is no longer, another process made or dropped: the next look finds it.
        (code, Some(statement))
            if (code.starts_with("42") || code.starts_with("0A"))
                && !["42710", "42P07", "42704"].contains(&code) =>
        {
            Fault::Denied {
                statement: statement.to_owned(),
                reason: reason(),
            }
        }
        ("53400", _) => Fault::NoFreeSlot,
        _ => return None,
    })
}

pub(crate) fn fault(config: &SourceConfig, error: &sqlx::Error, statement: Option<&str>) -> Fault {
    error
        .as_database_error()
        .and_then(|error| refusal(config, &error.code()?, error.message(), statement))
        .unwrap_or_else(|| connection(config, error.to_string()))
}
