//! Looking at the database from outside, for a person who asks whether it is fit for use.
//!
//! Nothing here is on the way of an event, and nothing lasts: what is written to try permissions is rolled back.

use demae_event::Timestamp;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement,
    sea_query::{Expr, ExprTrait as _, Query},
};

use crate::{
    Backend, Store, StoreError,
    entity::timer,
    repository::{endpoints, messages, rejected, timers},
};

/// What the database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its version, e.g. `17.2`.
    pub version: String,
    /// Its clock. SQLite's is this machine's.
    pub now: Timestamp,
}

/// Whether stored secrets can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// There is none to try.
    None,
    /// Those of an endpoint could be opened.
    Readable,
    /// None could: sealed with another key.
    Unreadable,
}

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    /// Its table.
    pub table: &'static str,
    /// Its ID.
    pub row: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Rows of a table that are tried.
const ROWS: u64 = 512;
/// Bytes of payloads that are read for it.
const BYTES: u64 = 16 * 1024 * 1024;

/// A replication slot of a Postgres server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Whether somebody reads it now.
    pub active: bool,
    /// Bytes of log that the server keeps for it.
    pub retained: u64,
    /// `reserved`, `extended`, `unreserved` or `lost` (Postgres, `pg_replication_slots.wal_status`).
    pub wal_status: String,
}

/// A timer that an operator should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TroubledTimer {
    /// The name of its handler.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// When it was to run.
    pub due_at: Timestamp,
    /// Failed runs since the last success.
    pub failures: u32,
    /// Why the last of them failed.
    pub last_error: Option<String>,
}

/// Looks for a replication slot; `None` if there is none of that name, or no slots at all (SQLite).
pub async fn slot(store: &Store, name: &str) -> Result<Option<Slot>, StoreError> {
    if store.backend() == Backend::Sqlite {
        return Ok(None);
    }
    let reader = store.reader();
    let sql = "SELECT active, COALESCE(wal_status, 'unknown') AS wal_status, \
               COALESCE((pg_current_wal_lsn() - restart_lsn)::bigint, 0) AS retained \
               FROM pg_replication_slots WHERE slot_name = $1";
    let backend = reader.get_database_backend();
    let statement = Statement::from_sql_and_values(backend, sql, [name.into()]);
    let Some(row) = reader.query_one_raw(statement).await? else {
        return Ok(None);
    };
    let retained: i64 = row.try_get("", "retained")?;
    Ok(Some(Slot {
        active: row.try_get("", "active")?,
        retained: retained.unsigned_abs(),
        wal_status: row.try_get("", "wal_status")?,
    }))
}

/// Asks the database for its version and its time.
pub async fn server(store: &Store) -> Result<Server, StoreError> {
    let sql = match store.backend() {
        Backend::Sqlite => {
            "SELECT sqlite_version() AS version, CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS micros"
        }
        Backend::Postgres => {
            "SELECT current_setting('server_version') AS version, \
             (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros"
        }
    };
    let reader = store.reader();
    let row = reader
        .query_one_raw(Statement::from_string(reader.get_database_backend(), sql))
        .await?;
    let row = row.ok_or(StoreError::Unreadable("the database answered nothing"))?;
    Ok(Server {
        version: row.try_get("", "version")?,
        now: Timestamp::from_micros(row.try_get("", "micros")?),
    })
}

/// Makes a table and writes to it in a transaction that is rolled back. Answers the database's refusal, if it refuses.
pub async fn try_permissions(store: &Store) -> Result<Option<String>, StoreError> {
    let transaction = store.begin().await?;
    let steps = [
        "CREATE TABLE demae_permission_check (value integer)",
        "INSERT INTO demae_permission_check (value) VALUES (1)",
        "DROP TABLE demae_permission_check",
    ];
    for step in steps {
        if let Err(error) = transaction.connection().execute_unprepared(step).await {
            transaction.rollback().await?;
            return Ok(Some(error.to_string()));
        }
    }
    transaction.rollback().await?;
    Ok(None)
}

/// Tries to open the secrets of endpoints.
pub async fn try_secrets(store: &Store) -> Result<Secrets, StoreError> {
    let tried = endpoints::try_to_open(store.reader(), store.vault(), ROWS).await?;
    Ok(match tried {
        (0, closed) if closed.is_empty() => Secrets::None,
        (0, _) => Secrets::Unreadable,
        _ => Secrets::Readable,
    })
}

/// Looks for rows that cannot be read: among the endpoints, the newest messages and the newest rejected events, 512 of each
/// and 16 MiB of payloads at most. (The engine looks for those of the outbox.)
pub async fn unreadable(store: &Store) -> Result<Vec<UnreadableRow>, StoreError> {
    let reader = store.reader();
    let mut found = Vec::new();
    let mut add = |table, row: String, reason| found.push(UnreadableRow { table, row, reason });
    let (opened, closed) = endpoints::try_to_open(reader, store.vault(), ROWS).await?;
    // None of them: then it is the key.
    if opened > 0 {
        for (id, reason) in closed {
            add("endpoints", id.to_string(), reason);
        }
    }
    for (id, reason) in messages::unreadable(reader, ROWS, BYTES).await? {
        add("messages", id.to_string(), reason);
    }
    for (id, reason) in rejected::unreadable(reader, ROWS).await? {
        add("rejected_events", id.to_string(), reason);
    }
    Ok(found)
}

/// Workers that gave a heartbeat at `since` or later.
pub async fn live_workers(store: &Store, since: Timestamp) -> Result<u64, StoreError> {
    let query = Query::select()
        .expr(Expr::col("id").count())
        .from("workers")
        .and_where(Expr::col("heartbeat_at").gte(since.as_micros()))
        .to_owned();
    let row = store.reader().query_one(&query).await?;
    let count: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?;
    Ok(count.map_or(0, i64::unsigned_abs))
}

/// Timers whose last `failures` runs failed, the worst first: at most `limit`.
pub async fn failing_timers(
    connection: &impl ConnectionTrait,
    failures: u32,
    limit: u64,
) -> Result<Vec<TroubledTimer>, StoreError> {
    let rows = timer::Entity::find()
        // The condition of the index.
        .filter(Expr::cust("failures > 0"))
        .filter(timer::Column::Failures.gte(failures))
        .order_by_desc(timer::Column::Failures)
        .limit(limit)
        .all(connection)
        .await?;
    Ok(rows.into_iter().map(troubled).collect())
}

/// For each kind, its first waiting timer if that should have run before `before`.
pub async fn overdue_timers(
    connection: &impl ConnectionTrait,
    before: Timestamp,
) -> Result<Vec<TroubledTimer>, StoreError> {
    let mut found = Vec::new();
    for (kind, wake_at) in timers::earliest(connection).await? {
        if wake_at >= before {
            continue;
        }
        let first = timer::Entity::find()
            .filter(timer::Column::Kind.eq(kind))
            .filter(timer::Column::Lease.is_null())
            .order_by_asc(timer::Column::WakeAt)
            .one(connection)
            .await?;
        found.extend(first.map(troubled));
    }
    Ok(found)
}

fn troubled(row: timer::Model) -> TroubledTimer {
    TroubledTimer {
        kind: row.kind,
        subject: row.subject,
        due_at: Timestamp::from_micros(row.due_at),
        failures: row.failures.unsigned_abs(),
        last_error: row.last_error,
    }
}
