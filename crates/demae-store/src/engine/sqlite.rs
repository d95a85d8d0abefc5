//! The hot path on SQLite.
//!
//! SQLite has one writer at a time, and this process is the only one that serves from the file, so all writes queue for
//! one connection and nothing has to be skipped or locked. Many rows go into one statement as `VALUES`; batches are cut
//! into lengths that are powers of two, so that a handful of texts stays prepared.
//!
//! # Why tailing by `position` is safe
//!
//! `position` is the rowid. With a single writer, a transaction that inserts has seen every earlier one committed, so
//! rowids become visible in the order in which they were given: there is no late row below one that was read. And a row
//! stays until it is acknowledged by its id, so nothing depends on a remembered position at all.

use std::sync::Arc;

use async_trait::async_trait;
use demae_event::{EndpointId, Event, EventId, Timestamp};
use sea_orm::sqlx::{
    self, AssertSqlSafe, Row, Sqlite, SqliteConnection, SqlitePool,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    Appended, AttemptRecord, BACKLOG_COUNT_LIMIT, Backlog, DeliveryState, Disposition, Engine, LaneRequest,
    LeaseGrant, LeasedDelivery, Release, RoutedMessage,
    rows::{DueRow, OutboxRow, appended, lease},
};
use crate::StoreError;

/// Longest multi-row statement. The widest has 18 columns; SQLite takes 32,766 values.
const MAX_ROWS: usize = 256;

/// [`Engine`] on SQLite.
#[derive(Debug)]
pub struct SqliteEngine {
    write: SqlitePool,
    read: SqlitePool,
    outbox_wake: Arc<Notify>,
}

impl SqliteEngine {
    pub(crate) fn new(write: SqlitePool, read: SqlitePool, outbox_wake: Arc<Notify>) -> Self {
        Self {
            write,
            read,
            outbox_wake,
        }
    }

    async fn begin(&self) -> Result<sqlx::Transaction<'static, Sqlite>, StoreError> {
        Ok(self.write.begin_with("BEGIN IMMEDIATE").await?)
    }
}

type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Cuts `rows` into pieces whose lengths are powers of two, at most [`MAX_ROWS`].
fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = if rows.len() >= MAX_ROWS {
            MAX_ROWS
        } else {
            1 << rows.len().checked_ilog2()?
        };
        let (piece, rest) = rows.split_at(length);
        rows = rest;
        Some(piece)
    })
}

/// `before VALUES (?,…),(?,…) after`, with `columns` values in each of `rows` rows.
fn statement(before: &str, columns: usize, rows: usize, after: &str) -> AssertSqlSafe<String> {
    let row = format!("({})", vec!["?"; columns].join(","));
    AssertSqlSafe(format!(
        "{before} VALUES {} {after}",
        vec![row.as_str(); rows].join(",")
    ))
}

/// Runs one statement per piece of `rows`, binding each row's values in order; answers the rows that came back.
async fn run<T>(
    connection: &mut SqliteConnection,
    rows: &[T],
    (before, columns, after): (&str, usize, &str),
    bind: impl for<'q> Fn(Bound<'q>, &'q T) -> Bound<'q>,
) -> Result<Vec<SqliteRow>, StoreError> {
    let mut answers = Vec::new();
    for piece in pieces(rows) {
        let mut query = sqlx::query(statement(before, columns, piece.len(), after));
        for row in piece {
            query = bind(query, row);
        }
        answers.extend(query.fetch_all(&mut *connection).await?);
    }
    Ok(answers)
}

fn ids(rows: &[SqliteRow]) -> Result<Vec<Uuid>, StoreError> {
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

const APPEND: (&str, usize, &str) = (
    "INSERT INTO outbox_events
         (id, organization_id, event_name, event_type, payload, headers, traceparent, created_at)
     SELECT column1, column2, column3, column4, column5, column6, column7,
            strftime('%Y-%m-%d %H:%M:%f', column8 / 1e6, 'unixepoch') FROM (",
    8,
    ") WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.event_id = column1)
     ON CONFLICT (id) DO NOTHING RETURNING id",
);

/// Other programs may write ids as text; [`super::rows`] wants bytes.
const READ_OUTBOX: &str = "
    SELECT CASE typeof(id) WHEN 'blob' THEN id ELSE unhex(id, '-') END AS id,
           CASE typeof(organization_id) WHEN 'blob' THEN organization_id ELSE unhex(organization_id, '-') END
               AS organization_id,
           event_name, event_type, payload, headers, traceparent,
           COALESCE(CAST(unixepoch(created_at, 'subsec') * 1000000 AS INTEGER), 0) AS created_at
    FROM outbox_events ORDER BY position LIMIT ?";

const ACKNOWLEDGE: (&str, usize, &str) = ("DELETE FROM outbox_events WHERE id IN (", 1, ") RETURNING 1");

const MESSAGES: (&str, usize, &str) = (
    "INSERT INTO messages
         (event_id, organization_id, event_name, event_type, payload, headers, traceparent, created_at)",
    8,
    "ON CONFLICT (event_id) DO NOTHING RETURNING event_id",
);

const DELIVERIES: (&str, usize, &str) = (
    "INSERT INTO deliveries (endpoint_id, event_id, organization_id, state, attempts, step, due_at, lease, worker_id,
                             manual, delivered_name, created_at)
     SELECT column1, column2, column3, column4, 0, 0, column5, column6, column7, false, column8, column9 FROM (",
    9,
    ")",
);

const CLAIM: &str = "
    SELECT d.endpoint_id, d.due_at, d.attempts, d.step, d.manual, d.resume_state, d.resume_due_at, d.delivered_name,
           m.event_id AS id, m.organization_id, m.event_name, m.event_type, m.payload, m.headers, m.traceparent,
           m.created_at
    FROM deliveries d JOIN messages m ON m.event_id = d.event_id
    WHERE d.endpoint_id = ? AND d.state = 0 AND d.due_at <= ? ORDER BY d.due_at LIMIT ?";

const LEASE: (&str, usize, &str) = (
    "UPDATE deliveries SET state = 1, due_at = l.column4, lease = l.column3, worker_id = l.column5 FROM (",
    5,
    ") l WHERE deliveries.endpoint_id = l.column1 AND deliveries.event_id = l.column2",
);

/// A skip scan: one index probe per endpoint that has anything waiting.
const WAITING_LANES: &str = "
    WITH RECURSIVE lanes (endpoint_id) AS (
        SELECT * FROM (SELECT MIN(endpoint_id) FROM deliveries WHERE state = 0)
        UNION ALL
        SELECT (SELECT MIN(endpoint_id) FROM deliveries WHERE state = 0 AND endpoint_id > l.endpoint_id)
        FROM lanes l WHERE l.endpoint_id IS NOT NULL
    )
    SELECT endpoint_id, (SELECT MIN(due_at) FROM deliveries d WHERE d.state = 0 AND d.endpoint_id = l.endpoint_id)
    FROM lanes l WHERE endpoint_id IS NOT NULL";

const MOVE: (&str, usize, &str) = (
    "UPDATE deliveries
     SET state = a.column4, due_at = COALESCE(a.column5, due_at), attempts = a.column6, step = a.column7,
         lease = NULL, worker_id = NULL, manual = false, resume_state = NULL, resume_due_at = NULL
     FROM (",
    7,
    ") a WHERE deliveries.endpoint_id = a.column2 AND deliveries.event_id = a.column3 AND deliveries.lease = a.column1
     RETURNING a.column1",
);

const KEEP: (&str, usize, &str) = (
    "INSERT INTO attempts
         (organization_id, id, endpoint_id, event_id, event_name, number, manual, status, next_attempt_at, url,
          http_status, error_kind, error_detail, request_headers, response_headers, response_body, duration_ms,
          started_at)",
    18,
    "ON CONFLICT DO NOTHING",
);

const RELEASE: (&str, usize, &str) = (
    "UPDATE deliveries SET state = 0, due_at = r.column4, lease = NULL, worker_id = NULL FROM (",
    4,
    ") r WHERE deliveries.endpoint_id = r.column2 AND deliveries.event_id = r.column3 AND deliveries.lease = r.column1",
);

const RECOVER_LEASES: &str = "
    UPDATE deliveries SET state = 0, due_at = ?1, lease = NULL, worker_id = NULL
    WHERE rowid IN (
        SELECT rowid FROM deliveries l
        WHERE state = 1 AND (due_at < ?1 OR NOT EXISTS
            (SELECT 1 FROM workers w WHERE w.id = l.worker_id AND w.heartbeat_at >= ?2))
        LIMIT ?3
    )";

/// One delivery to insert, with what its message and grant say of it.
struct DeliveryRow<'a> {
    message: &'a super::Message,
    delivery: &'a super::NewDelivery,
    grant: LeaseGrant,
}

#[async_trait]
impl Engine for SqliteEngine {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.begin().await?;
        let written = run(&mut transaction, events, APPEND, |query, event| {
            query
                .bind(event.id.0)
                .bind(event.organization_id.0)
                .bind(&event.name)
                .bind(&event.event_type)
                .bind(event.data.get())
                .bind(event.headers.as_deref().map(|raw| raw.get()))
                .bind(event.traceparent.as_deref())
                .bind(event.created_at.as_micros())
        })
        .await?;
        transaction.commit().await?;
        self.outbox_wake.notify_one();
        Ok(appended(events, ids(&written)?))
    }

    async fn outbox_changed(&self) {
        self.outbox_wake.notified().await;
    }

    async fn read_outbox(&self, limit: u32) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query(READ_OUTBOX).bind(limit).fetch_all(&self.read).await?;
        rows.iter().map(|row| outbox_row(row)?.into_event()).collect()
    }

    async fn acknowledge(&self, events: &[EventId]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let gone = run(&mut transaction, events, ACKNOWLEDGE, |query, event| {
            query.bind(event.0)
        })
        .await?;
        if gone.len() < events.len() {
            // The others were written as text, by another program.
            run(&mut transaction, events, ACKNOWLEDGE, |query, event| {
                query.bind(event.to_string())
            })
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn endpoints_version(&self) -> Result<i64, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT value FROM counters WHERE name = 'endpoints'")
                .fetch_one(&self.read)
                .await?,
        )
    }

    async fn route(&self, messages: &[RoutedMessage], grant: LeaseGrant) -> Result<Vec<bool>, StoreError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.begin().await?;
        let written = run(
            &mut transaction,
            messages,
            MESSAGES,
            |query, RoutedMessage { message, .. }| {
                query
                    .bind(message.event_id.0)
                    .bind(message.organization_id.0)
                    .bind(&message.event_name)
                    .bind(&message.event_type)
                    .bind(message.data.get())
                    .bind(message.headers.as_deref().map(|raw| raw.get()))
                    .bind(message.traceparent.as_deref())
                    .bind(message.created_at.as_micros())
            },
        )
        .await?;
        let new: std::collections::HashSet<Uuid> = ids(&written)?.into_iter().collect();
        let is_new = |routed: &RoutedMessage| new.contains(&routed.message.event_id.0);
        let deliveries: Vec<DeliveryRow<'_>> = messages
            .iter()
            .filter(|routed| is_new(routed))
            .flat_map(|m| {
                m.deliveries.iter().map(|delivery| DeliveryRow {
                    message: &m.message,
                    delivery,
                    grant,
                })
            })
            .collect();
        run(&mut transaction, &deliveries, DELIVERIES, |query, row| {
            bind_delivery(query, row)
        })
        .await?;
        transaction.commit().await?;
        Ok(messages.iter().map(is_new).collect())
    }

    async fn claim(
        &self,
        lanes: &[LaneRequest],
        grant: LeaseGrant,
    ) -> Result<Vec<LeasedDelivery>, StoreError> {
        let mut transaction = self.begin().await?;
        let mut due = Vec::new();
        for lane in lanes {
            let rows = sqlx::query(CLAIM)
                .bind(lane.endpoint_id.0)
                .bind(grant.now.as_micros())
                .bind(lane.limit)
                .fetch_all(&mut *transaction)
                .await?;
            due.extend(rows.iter().map(due_row).collect::<Result<Vec<_>, _>>()?);
        }
        let leased = lease(due, grant)?;
        run(&mut transaction, &leased, LEASE, |query, delivery| {
            query
                .bind(delivery.endpoint_id.0)
                .bind(delivery.message.event_id.0)
                .bind(delivery.lease.0)
                .bind(grant.until.as_micros())
                .bind(grant.worker)
        })
        .await?;
        transaction.commit().await?;
        Ok(leased)
    }

    async fn waiting_lanes(&self) -> Result<Vec<(EndpointId, Timestamp)>, StoreError> {
        let lanes: Vec<(Uuid, i64)> = sqlx::query_as(WAITING_LANES).fetch_all(&self.read).await?;
        Ok(lanes
            .into_iter()
            .map(|(id, due_at)| (EndpointId(id), Timestamp::from_micros(due_at)))
            .collect())
    }

    async fn record(&self, attempts: &[AttemptRecord]) -> Result<Vec<bool>, StoreError> {
        if attempts.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.begin().await?;
        let moved = run(&mut transaction, attempts, MOVE, |query, a| {
            let (state, due_at) = disposition(a.disposition);
            query
                .bind(a.id.0)
                .bind(a.endpoint_id.0)
                .bind(a.event_id.0)
                .bind(state as i16)
                .bind(due_at)
                .bind(a.number)
                .bind(a.step)
        })
        .await?;
        run(&mut transaction, attempts, KEEP, |query, attempt| {
            bind_attempt(query, attempt)
        })
        .await?;
        transaction.commit().await?;
        let moved: std::collections::HashSet<Uuid> = ids(&moved)?.into_iter().collect();
        Ok(attempts
            .iter()
            .map(|attempt| moved.contains(&attempt.id.0))
            .collect())
    }

    async fn release(&self, leases: &[Release]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        run(&mut transaction, leases, RELEASE, |query, lease| {
            query
                .bind(lease.lease.0)
                .bind(lease.endpoint_id.0)
                .bind(lease.event_id.0)
                .bind(lease.due_at.as_micros())
        })
        .await?;
        Ok(transaction.commit().await?)
    }

    async fn heartbeat(&self, worker: Uuid, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO workers (id, started_at, heartbeat_at) VALUES (?1, ?2, ?2)
             ON CONFLICT (id) DO UPDATE SET heartbeat_at = ?2",
        )
        .bind(worker)
        .bind(now.as_micros())
        .execute(&self.write)
        .await?;
        Ok(())
    }

    async fn recover_leases(
        &self,
        now: Timestamp,
        dead_before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let recovered = sqlx::query(RECOVER_LEASES)
            .bind(now.as_micros())
            .bind(dead_before.as_micros())
            .bind(limit)
            .execute(&self.write)
            .await?;
        Ok(recovered.rows_affected())
    }

    async fn retire(&self, worker: Uuid) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM workers WHERE id = ?")
            .bind(worker)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    async fn backlog(&self, _now: Timestamp) -> Result<Backlog, StoreError> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM outbox_events LIMIT ?1)) AS unrouted,
                    (SELECT COUNT(*) FROM (SELECT 1 FROM deliveries WHERE state = 0 LIMIT ?1)) AS waiting,
                    (SELECT COUNT(*) FROM (SELECT 1 FROM deliveries WHERE state = 1 LIMIT ?1)) AS leased,
                    (SELECT CAST(unixepoch(created_at, 'subsec') * 1000000 AS INTEGER)
                     FROM outbox_events ORDER BY position LIMIT 1) AS oldest_unrouted",
        )
        .bind(BACKLOG_COUNT_LIMIT as i64)
        .fetch_one(&self.read)
        .await?;
        let oldest_due = self
            .waiting_lanes()
            .await?
            .into_iter()
            .map(|(_, due_at)| due_at)
            .min();
        Ok(Backlog {
            unrouted: row.try_get::<i64, _>("unrouted")?.unsigned_abs(),
            waiting: row.try_get::<i64, _>("waiting")?.unsigned_abs(),
            leased: row.try_get::<i64, _>("leased")?.unsigned_abs(),
            oldest_unrouted: row
                .try_get::<Option<i64>, _>("oldest_unrouted")?
                .map(Timestamp::from_micros),
            oldest_due,
        })
    }

    async fn close(&self) {
        self.write.close().await;
        self.read.close().await;
    }
}

fn bind_delivery<'q>(query: Bound<'q>, row: &'q DeliveryRow<'q>) -> Bound<'q> {
    let (state, due_at) = match row.delivery.lease {
        Some(_) => (DeliveryState::Leased, row.grant.until),
        None => (DeliveryState::Waiting, row.grant.now),
    };
    query
        .bind(row.delivery.endpoint_id.0)
        .bind(row.message.event_id.0)
        .bind(row.message.organization_id.0)
        .bind(state as i16)
        .bind(due_at.as_micros())
        .bind(row.delivery.lease.map(|lease| lease.0))
        .bind(row.delivery.lease.map(|_| row.grant.worker))
        .bind(&row.delivery.delivered_name)
        .bind(row.grant.now.as_micros())
}

fn bind_attempt<'q>(query: Bound<'q>, attempt: &'q AttemptRecord) -> Bound<'q> {
    query
        .bind(attempt.organization_id.0)
        .bind(attempt.id.0)
        .bind(attempt.endpoint_id.0)
        .bind(attempt.event_id.0)
        .bind(&attempt.event_name)
        .bind(attempt.number)
        .bind(attempt.manual)
        .bind(attempt.status as i16)
        .bind(disposition(attempt.disposition).1)
        .bind(&attempt.url)
        .bind(attempt.http_status)
        .bind(attempt.error_kind)
        .bind(attempt.error_detail.as_deref())
        .bind(&attempt.request_headers)
        .bind(&attempt.response_headers)
        .bind(&attempt.response_body)
        .bind(attempt.duration_ms)
        .bind(attempt.started_at.as_micros())
}

fn disposition(disposition: Disposition) -> (DeliveryState, Option<i64>) {
    match disposition {
        Disposition::Finish(state) => (state, None),
        Disposition::Retry(due_at) => (DeliveryState::Waiting, Some(due_at.as_micros())),
    }
}

fn outbox_row(row: &SqliteRow) -> Result<OutboxRow, StoreError> {
    Ok(OutboxRow {
        id: row.try_get("id")?,
        organization_id: row.try_get("organization_id")?,
        event_name: row.try_get("event_name")?,
        event_type: row.try_get("event_type")?,
        payload: row.try_get("payload")?,
        headers: row.try_get("headers")?,
        traceparent: row.try_get("traceparent")?,
        created_at: row.try_get("created_at")?,
    })
}

fn due_row(row: &SqliteRow) -> Result<DueRow, StoreError> {
    Ok(DueRow {
        endpoint_id: row.try_get("endpoint_id")?,
        due_at: row.try_get("due_at")?,
        attempts: row.try_get("attempts")?,
        step: row.try_get("step")?,
        manual: row.try_get("manual")?,
        resume_state: row.try_get("resume_state")?,
        resume_due_at: row.try_get("resume_due_at")?,
        delivered_name: row.try_get("delivered_name")?,
        message: outbox_row(row)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_row_once_in_order() {
        for length in [0, 1, 2, 3, 7, 255, 256, 257, 1000] {
            let rows: Vec<usize> = (0..length).collect();
            let cut: Vec<&[usize]> = pieces(&rows).collect();
            assert!(
                cut.iter()
                    .all(|piece| piece.len().is_power_of_two() && piece.len() <= MAX_ROWS)
            );
            assert_eq!(cut.concat(), rows);
        }
    }
}
