//! What the database says about itself: publication and slot; and the statements that prepare it.

use std::{sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::time::timeout;

use crate::{
    Fault, SourceConfig,
    connection::{ANSWER, Connection, Purpose},
    error::{connection, fault},
    quoting::{literal, quote},
};

/// Types with smaller OIDs are Postgres's own (`FirstNormalObjectId`).
pub(crate) const FIRST_OWN_TYPE: u32 = 16_384;
/// Changing something small, which may wait for a lock.
const CHANGE: Duration = Duration::from_mins(1);
/// Making a slot waits for every transaction that writes.
pub(crate) const SLOT_CREATION: Duration = Duration::from_mins(10);
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
