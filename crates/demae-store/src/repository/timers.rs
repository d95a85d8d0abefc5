//! Stores timers: one row for everything that Demae does by itself at a time.
//!
//! # Guarantees
//! - A timer is known by kind and subject. Setting it again moves it; setting the same time and data again changes nothing.
//! - One worker runs a due timer at a time. It claims the timer with a lease, and only the holder of the lease completes,
//!   postpones or fails it.
//! - A timer is lost by no crash. If its worker stops, the timer returns to the table (see [`recover`]) and runs again.
//!   **An action can therefore run more than once for one due time**: a crash between the action and the completion
//!   repeats it. Handlers must be idempotent, or write their effects and the completion in one transaction.
//! - A timer that is set while it runs is not lost either: setting it ends the lease, so the run in flight completes nothing.
//!
//! # Design
//! A timer waits or is leased. Partial indices hold the waiting ones by time ([`earliest`], [`due`]) and by organization
//! ([`due_by_organization`]), so that one organization's backlog can be passed over without being read.
//!
//! # Limits
//! A worker that loses the response to a [`claim`] does not know its leases; their timers run when the leases expire.

use std::time::Duration;

use demae_event::{OrganizationId, Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    Statement, UpdateMany, Value,
    sea_query::{Expr, LockBehavior, LockType},
};
use uuid::Uuid;

use crate::{
    StoreError, Transaction,
    engine::LeaseGrant,
    entity::timer::{Column, Entity, Model},
};

/// The organization of timers that belong to no organization.
pub const INSTALLATION: OrganizationId = OrganizationId(Uuid::nil());
/// How often a worker looks at the table. Only a timer that is due sooner than that is signaled to the workers.
pub const SCAN_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes kept of the error of a failed run.
pub const ERROR_BYTES: usize = 1_000;
/// Until its third failure a timer whose worker stopped runs again at once; each further failure adds this pause.
const CRASH_PAUSE: Duration = Duration::from_secs(30);
/// Failures after which [`CRASH_PAUSE`] does not grow any more.
const CRASH_PAUSES: i64 = 20;
/// The error of a run whose worker stopped.
const ABANDONED: &str = "the worker stopped, or the lease expired, before the run was completed";

/// A timer to set.
#[derive(Debug, Clone)]
pub struct NewTimer {
    /// What happens: the name of a handler.
    pub kind: &'static str,
    /// To what. Kind and subject identify the timer.
    pub subject: String,
    /// On whose share it runs; [`INSTALLATION`] if it belongs to no organization.
    pub organization_id: OrganizationId,
    /// When.
    pub due_at: Timestamp,
    /// What the handler needs besides the subject.
    pub data: Option<String>,
}

/// A timer that this worker runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// The name of its handler.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// On whose share it runs.
    pub organization_id: OrganizationId,
    /// When it was to run. Failed runs do not change it.
    pub due_at: Timestamp,
    /// What [`NewTimer::data`] or the last run left.
    pub data: Option<String>,
    /// Failed runs since the last success.
    pub failures: u32,
    /// When the lease ends.
    pub lease_until: Timestamp,
    lease: Uuid,
}

/// A waiting timer whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTimer {
    /// What it is about.
    pub subject: String,
    /// On whose share it runs.
    pub organization_id: OrganizationId,
}

/// Sets a timer, or moves it if it exists. It forgets earlier failures. A run in flight completes nothing any more.
///
/// If the timer has this time and data already, nothing changes.
pub async fn set(transaction: &mut Transaction, timer: NewTimer, now: Timestamp) -> Result<(), StoreError> {
    const SET: &str = "
        INSERT INTO timers (kind, subject, organization_id, due_at, wake_at, data, failures)
        VALUES ($1, $2, $3, $4, $4, $5, 0)
        ON CONFLICT (kind, subject) DO UPDATE SET organization_id = excluded.organization_id, due_at = excluded.due_at,
            wake_at = excluded.wake_at, data = excluded.data, failures = 0, last_error = NULL,
            lease = NULL, worker_id = NULL
        WHERE timers.due_at <> excluded.due_at OR timers.data IS DISTINCT FROM excluded.data";
    insert(transaction, SET, timer, now).await?;
    Ok(())
}

/// Sets a timer unless it exists. Returns whether it did not.
pub async fn ensure(
    transaction: &mut Transaction,
    timer: NewTimer,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const ENSURE: &str = "
        INSERT INTO timers (kind, subject, organization_id, due_at, wake_at, data, failures)
        VALUES ($1, $2, $3, $4, $4, $5, 0) ON CONFLICT (kind, subject) DO NOTHING";
    insert(transaction, ENSURE, timer, now).await
}

async fn insert(
    transaction: &mut Transaction,
    sql: &str,
    timer: NewTimer,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let values = [
        timer.kind.into(),
        timer.subject.into(),
        timer.organization_id.0.into(),
        timer.due_at.as_micros().into(),
        timer.data.into(),
    ];
    let written = execute(transaction.connection(), sql, values).await? > 0;
    if written && timer.due_at < now + SCAN_INTERVAL {
        transaction.note_timer(timer.due_at);
    }
    Ok(written)
}

/// Removes a timer. A run in flight completes nothing any more. Returns whether the timer existed.
pub async fn cancel(transaction: &mut Transaction, kind: &str, subject: &str) -> Result<bool, StoreError> {
    let result = Entity::delete_by_id((kind.to_owned(), subject.to_owned()))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected > 0)
}

/// One timer's row.
pub async fn find(
    connection: &impl ConnectionTrait,
    kind: &str,
    subject: &str,
) -> Result<Option<Model>, StoreError> {
    Ok(Entity::find_by_id((kind.to_owned(), subject.to_owned()))
        .one(connection)
        .await?)
}

/// Every kind that has a waiting timer, with the time at which its first one wakes. Its cost is one index access per
/// kind, whatever the number of timers.
pub async fn earliest(connection: &impl ConnectionTrait) -> Result<Vec<(String, Timestamp)>, StoreError> {
    const EARLIEST: &str = "
        WITH RECURSIVE kinds(kind) AS (
            SELECT MIN(kind) FROM timers WHERE lease IS NULL
            UNION ALL
            SELECT (SELECT MIN(t.kind) FROM timers t WHERE t.lease IS NULL AND t.kind > kinds.kind)
            FROM kinds WHERE kinds.kind IS NOT NULL
        )
        SELECT kind, (SELECT MIN(t.wake_at) FROM timers t WHERE t.kind = kinds.kind AND t.lease IS NULL) AS wake_at
        FROM kinds WHERE kind IS NOT NULL";
    let statement = Statement::from_string(connection.get_database_backend(), EARLIEST);
    let rows = connection.query_all_raw(statement).await?;
    rows.iter()
        .map(|row| {
            let wake_at = row.try_get("", "wake_at")?;
            Ok((row.try_get("", "kind")?, Timestamp::from_micros(wake_at)))
        })
        .collect()
}

/// The due timers of a kind, the earliest first: at most `limit`.
pub async fn due(
    connection: &impl ConnectionTrait,
    kind: &str,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<DueTimer>, StoreError> {
    let rows: Vec<(String, Uuid)> = Entity::find()
        .select_only()
        .column(Column::Subject)
        .column(Column::OrganizationId)
        .filter(Column::Kind.eq(kind))
        .filter(Column::Lease.is_null())
        .filter(Column::WakeAt.lte(now.as_micros()))
        .order_by_asc(Column::WakeAt)
        .limit(limit)
        .into_tuple()
        .all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(subject, organization)| DueTimer {
            subject,
            organization_id: OrganizationId(organization),
        })
        .collect())
}

/// The earliest due timer of each of the next `organizations` that have waiting timers of a kind, in the order of their
/// IDs after `after`. The second result is where to go on; none after the last organization.
///
/// Its cost is two index accesses per organization, however many timers each of them has.
pub async fn due_by_organization(
    connection: &impl ConnectionTrait,
    kind: &str,
    now: Timestamp,
    after: Option<OrganizationId>,
    organizations: u32,
) -> Result<(Vec<DueTimer>, Option<OrganizationId>), StoreError> {
    // The first turn includes the installation, which has the lowest ID.
    let first = if after.is_some() { ">" } else { ">=" };
    let sql = format!(
        "WITH RECURSIVE turns(organization_id, number) AS (
            SELECT * FROM (SELECT organization_id, 1 AS number FROM timers
                           WHERE kind = $1 AND lease IS NULL AND organization_id {first} $2
                           ORDER BY organization_id LIMIT 1) AS first
            UNION ALL
            SELECT (SELECT t.organization_id FROM timers t
                    WHERE t.kind = $1 AND t.lease IS NULL AND t.organization_id > turns.organization_id
                    ORDER BY t.organization_id LIMIT 1), number + 1
            FROM turns WHERE turns.organization_id IS NOT NULL AND number < $3
        )
        SELECT organization_id, (SELECT t.subject FROM timers t
            WHERE t.kind = $1 AND t.lease IS NULL AND t.organization_id = turns.organization_id AND t.wake_at <= $4
            ORDER BY t.wake_at LIMIT 1) AS subject
        FROM turns WHERE organization_id IS NOT NULL"
    );
    let values: [Value; 4] = [
        kind.into(),
        after.unwrap_or(INSTALLATION).0.into(),
        organizations.into(),
        now.as_micros().into(),
    ];
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let rows = connection.query_all_raw(statement).await?;
    let mut found: Vec<DueTimer> = Vec::new();
    let mut last = None;
    for row in &rows {
        let organization_id = OrganizationId(row.try_get("", "organization_id")?);
        last = last.max(Some(organization_id));
        if let Some(subject) = row.try_get("", "subject")? {
            found.push(DueTimer {
                subject,
                organization_id,
            });
        }
    }
    found.sort_unstable_by_key(|timer| timer.organization_id);
    let more = rows.len() as u64 >= u64::from(organizations);
    Ok((found, if more { last } else { None }))
}

/// Claims those of the due timers of a kind that no other worker claims at the same time.
pub async fn claim(
    transaction: &mut Transaction,
    kind: &str,
    subjects: &[String],
    grant: LeaseGrant,
) -> Result<Vec<Timer>, StoreError> {
    let connection = transaction.connection();
    let rows = Entity::find()
        .filter(Column::Kind.eq(kind))
        .filter(Column::Subject.is_in(subjects))
        .filter(Column::Lease.is_null())
        .filter(Column::WakeAt.lte(grant.now.as_micros()))
        .order_by_asc(Column::WakeAt)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .all(connection)
        .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let lease = demae_event::id::new_uuid(grant.now);
    Entity::update_many()
        .col_expr(Column::Lease, Expr::value(lease))
        .col_expr(Column::WorkerId, Expr::value(grant.worker))
        .col_expr(Column::WakeAt, Expr::value(grant.until.as_micros()))
        .filter(Column::Kind.eq(kind))
        .filter(Column::Subject.is_in(rows.iter().map(|row| row.subject.as_str())))
        .exec(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| Timer {
            kind: row.kind,
            subject: row.subject,
            organization_id: OrganizationId(row.organization_id),
            due_at: Timestamp::from_micros(row.due_at),
            data: row.data,
            failures: row.failures.unsigned_abs(),
            lease_until: grant.until,
            lease,
        })
        .collect())
}

/// Locks a timer for this transaction. Returns `false` if the lease was lost; then the transaction must be rolled back.
///
/// While the transaction lasts no other worker can claim the timer, so a handler that begins each of its transactions
/// with this excludes every other run of the same timer, even if its own process was paused beyond the lease.
pub async fn hold(transaction: &mut Transaction, timer: &Timer) -> Result<bool, StoreError> {
    let row: Option<Uuid> = Entity::find_by_id((timer.kind.clone(), timer.subject.clone()))
        .select_only()
        .column(Column::Lease)
        .filter(Column::Lease.eq(timer.lease))
        .lock(LockType::Update)
        .into_tuple()
        .one(transaction.connection())
        .await?;
    Ok(row.is_some())
}

/// Removes a timer that has run. Returns `false` if the lease was lost; then nothing changed.
pub async fn complete(transaction: &mut Transaction, timer: &Timer) -> Result<bool, StoreError> {
    let result = Entity::delete_by_id((timer.kind.clone(), timer.subject.clone()))
        .filter(Column::Lease.eq(timer.lease))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected > 0)
}

/// Lets a timer that has run run again at `due_at`, with this data. Returns `false` if the lease was lost; then nothing
/// changed.
pub async fn reschedule(
    transaction: &mut Transaction,
    timer: &Timer,
    due_at: Timestamp,
    data: Option<String>,
) -> Result<bool, StoreError> {
    let result = released(timer, due_at)
        .col_expr(Column::DueAt, Expr::value(due_at.as_micros()))
        .col_expr(Column::Data, Expr::value(data))
        .col_expr(Column::Failures, Expr::value(0))
        .col_expr(Column::LastError, Expr::value(None::<String>))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected > 0)
}

/// Records a failed run; the next one is at `wake_at`. Returns `false` if the lease was lost; then nothing changed.
pub async fn fail(
    transaction: &mut Transaction,
    timer: &Timer,
    error: &str,
    wake_at: Timestamp,
) -> Result<bool, StoreError> {
    let kept = &error[..error.floor_char_boundary(ERROR_BYTES)];
    let result = released(timer, wake_at)
        .col_expr(
            Column::Failures,
            Expr::value(timer.failures.saturating_add(1) as i32),
        )
        // Postgres stores no NUL.
        .col_expr(Column::LastError, Expr::value(kept.replace('\0', "\u{fffd}")))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected > 0)
}

fn released(timer: &Timer, wake_at: Timestamp) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::Lease, Expr::value(None::<Uuid>))
        .col_expr(Column::WorkerId, Expr::value(None::<Uuid>))
        .col_expr(Column::WakeAt, Expr::value(wake_at.as_micros()))
        .filter(Column::Kind.eq(&timer.kind))
        .filter(Column::Subject.eq(&timer.subject))
        .filter(Column::Lease.eq(timer.lease))
}

/// Whether [`recover`] would find something.
pub async fn is_any_abandoned(
    connection: &impl ConnectionTrait,
    now: Timestamp,
    dead_before: Timestamp,
) -> Result<bool, StoreError> {
    let sql = format!("SELECT kind FROM timers l WHERE {ABANDONED_ROWS} LIMIT 1");
    let values: [Value; 2] = [now.as_micros().into(), dead_before.as_micros().into()];
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    Ok(connection.query_one_raw(statement).await?.is_some())
}

/// Leased timers whose lease has expired, or whose worker is not registered or without a heartbeat since `$2`.
const ABANDONED_ROWS: &str = "l.lease IS NOT NULL AND (l.wake_at < $1 OR NOT EXISTS \
    (SELECT 1 FROM workers w WHERE w.id = l.worker_id AND w.heartbeat_at >= $2))";

/// Returns leased timers to the table whose lease has expired, or whose worker has given no heartbeat since
/// `dead_before`. The run counts as failed, so a timer that stops its worker each time comes later and later.
pub async fn recover(
    transaction: &mut Transaction,
    now: Timestamp,
    dead_before: Timestamp,
) -> Result<u64, StoreError> {
    // The rows are locked in the order of their key, so two workers never wait for each other in a circle.
    let lock = match transaction.connection().get_database_backend() {
        sea_orm::DbBackend::Postgres => "FOR UPDATE SKIP LOCKED",
        _ => "",
    };
    let sql = format!(
        "UPDATE timers SET lease = NULL, worker_id = NULL, failures = failures + 1, last_error = $3,
             wake_at = $1 + CASE WHEN failures < 2 THEN 0 WHEN failures < $4 THEN failures ELSE $4 END * $5
         WHERE lease IS NOT NULL AND (kind, subject) IN
             (SELECT l.kind, l.subject FROM timers l WHERE {ABANDONED_ROWS} {lock})"
    );
    let values = [
        now.as_micros().into(),
        dead_before.as_micros().into(),
        ABANDONED.into(),
        CRASH_PAUSES.into(),
        (CRASH_PAUSE.as_micros() as i64).into(),
    ];
    execute(transaction.connection(), &sql, values).await
}

/// Releases every lease of a worker that stops in an orderly way. Their runs do not count as failed.
pub async fn release(transaction: &mut Transaction, worker: Uuid, now: Timestamp) -> Result<u64, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Lease, Expr::value(None::<Uuid>))
        .col_expr(Column::WorkerId, Expr::value(None::<Uuid>))
        .col_expr(Column::WakeAt, Expr::value(now.as_micros()))
        .filter(Column::Lease.is_not_null())
        .filter(Column::WorkerId.eq(worker))
        .exec(transaction.connection())
        .await?;
    if result.rows_affected > 0 {
        transaction.note_timer(now);
    }
    Ok(result.rows_affected)
}

async fn execute<const N: usize>(
    connection: &DatabaseTransaction,
    sql: &str,
    values: [Value; N],
) -> Result<u64, StoreError> {
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    Ok(connection.execute_raw(statement).await?.rows_affected())
}
