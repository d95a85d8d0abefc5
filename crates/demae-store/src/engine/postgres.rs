//! The hot path on Postgres.
//!
//! Rows travel as arrays and are unfolded by `UNNEST`: one statement, one round trip and one commit for any number of
//! rows, and always the same text, so that it stays prepared.
//!
//! # Why the outbox read is safe against commits out of order
//!
//! `position` is drawn when a row is inserted, not when it commits, so a reader that remembered "everything up to N is
//! done" could pass over a row below N that commits later. This reader remembers nothing of the kind: a row stays in the
//! table until it is acknowledged by its id, and every read takes the oldest rows that are there. Starting near the last
//! position read ([`OutboxFloor`]) only saves index pages; a read from the very beginning follows at least every second.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use demae_event::{EndpointId, Event, EventId, Timestamp};
use sea_orm::sqlx::{self, PgPool, Row, postgres::PgRow};
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

use super::{
    Appended, AttemptRecord, BACKLOG_COUNT_LIMIT, Backlog, DeliveryState, Disposition, Engine, LaneRequest,
    LeaseGrant, LeasedDelivery, Release, RoutedMessage,
    rows::{DueRow, OutboxRow, appended, lease},
};
use crate::StoreError;

/// How far behind the last position read the next read begins: more rows than commit between two reads.
const OUT_OF_ORDER_WINDOW: i64 = 20_000;
/// How often a read begins at the very beginning.
const FULL_READ_INTERVAL: Duration = Duration::from_secs(1);

/// [`Engine`] on Postgres.
#[derive(Debug)]
pub struct PostgresEngine {
    pool: PgPool,
    outbox_wake: Arc<Notify>,
    floor: Mutex<OutboxFloor>,
}

/// Where the next outbox read begins.
#[derive(Debug, Default)]
struct OutboxFloor {
    position: i64,
    last_full_read: Option<Instant>,
}

impl OutboxFloor {
    fn next(&mut self, now: Instant) -> i64 {
        if self
            .last_full_read
            .is_none_or(|last| now.duration_since(last) >= FULL_READ_INTERVAL)
        {
            self.last_full_read = Some(now);
            return 0;
        }
        self.position - OUT_OF_ORDER_WINDOW
    }
}

impl PostgresEngine {
    pub(crate) fn new(pool: PgPool, outbox_wake: Arc<Notify>) -> Self {
        Self {
            pool,
            outbox_wake,
            floor: Mutex::default(),
        }
    }
}

const APPEND: &str = "
    INSERT INTO outbox_events
        (id, organization_id, event_name, event_type, payload, headers, traceparent, created_at)
    SELECT e.id, e.organization_id, e.event_name, e.event_type, e.payload::jsonb, e.headers::jsonb, e.traceparent,
           to_timestamp(e.created_at / 1e6)
    FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[])
         WITH ORDINALITY
         AS e (id, organization_id, event_name, event_type, payload, headers, traceparent, created_at, place)
    WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.event_id = e.id)
    ORDER BY e.place
    ON CONFLICT (id) DO NOTHING
    RETURNING id";

const READ_OUTBOX: &str = "
    SELECT position, id, organization_id, event_name, event_type, payload::text, headers::text, traceparent,
           (EXTRACT(EPOCH FROM created_at) * 1000000)::bigint AS created_at
    FROM outbox_events WHERE position > $1 ORDER BY position LIMIT $2";

/// The deletion need not survive power loss: what comes back is recognised by `route`.
const ACKNOWLEDGE: &str = "
    DELETE FROM outbox_events USING (SELECT set_config('synchronous_commit', 'off', true)) lazily
    WHERE id = ANY ($1)";

const ROUTE: &str = "
    WITH new AS (
        INSERT INTO messages
            (event_id, organization_id, event_name, event_type, payload, headers, traceparent, created_at)
        SELECT * FROM UNNEST
            ($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[])
        ON CONFLICT (event_id) DO NOTHING
        RETURNING event_id
    ), fan_out AS (
        INSERT INTO deliveries (endpoint_id, event_id, organization_id, state, attempts, step, due_at, lease, worker_id,
                                manual, delivered_name, created_at)
        SELECT d.endpoint_id, d.event_id, d.organization_id,
               CASE WHEN d.lease IS NULL THEN 0 ELSE 1 END, 0, 0,
               CASE WHEN d.lease IS NULL THEN $14::bigint ELSE $15::bigint END,
               d.lease, CASE WHEN d.lease IS NULL THEN NULL ELSE $16::uuid END,
               false, d.delivered_name, $14
        FROM UNNEST($9::uuid[], $10::uuid[], $11::uuid[], $12::uuid[], $13::text[])
             AS d (endpoint_id, event_id, organization_id, lease, delivered_name)
        JOIN new ON new.event_id = d.event_id
    )
    SELECT event_id FROM new";

const CLAIM: &str = "
    SELECT d.endpoint_id, d.due_at, d.attempts, d.step, d.manual, d.resume_state, d.resume_due_at, d.delivered_name,
           m.event_id AS id, m.organization_id, m.event_name, m.event_type, m.payload, m.headers, m.traceparent,
           m.created_at
    FROM UNNEST($1::uuid[], $2::int[]) AS l (endpoint_id, most)
    CROSS JOIN LATERAL (
        SELECT * FROM deliveries w
        WHERE w.endpoint_id = l.endpoint_id AND w.state = 0 AND w.due_at <= $3
        ORDER BY w.due_at LIMIT l.most
        FOR UPDATE SKIP LOCKED
    ) d
    JOIN messages m ON m.event_id = d.event_id";

const LEASE: &str = "
    UPDATE deliveries d SET state = 1, due_at = $4, lease = l.lease, worker_id = $5
    FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[]) AS l (endpoint_id, event_id, lease)
    WHERE d.endpoint_id = l.endpoint_id AND d.event_id = l.event_id";

/// A skip scan: one index probe per endpoint that has anything waiting.
const WAITING_LANES: &str = "
    WITH RECURSIVE lanes AS (
        (SELECT endpoint_id, due_at FROM deliveries WHERE state = 0 ORDER BY endpoint_id, due_at LIMIT 1)
        UNION ALL
        SELECT n.endpoint_id, n.due_at FROM lanes l CROSS JOIN LATERAL (
            SELECT endpoint_id, due_at FROM deliveries
            WHERE state = 0 AND endpoint_id > l.endpoint_id ORDER BY endpoint_id, due_at LIMIT 1
        ) n
    )
    SELECT endpoint_id, due_at FROM lanes";

const RECORD: &str = "
    WITH done AS (
        SELECT * FROM UNNEST
            ($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::int[], $7::bool[], $8::smallint[],
             $9::smallint[], $10::bigint[], $11::int[], $12::text[], $13::int[], $14::text[], $15::text[],
             $16::text[], $17::text[], $18::text[], $19::int[], $20::bigint[])
        AS a (id, organization_id, endpoint_id, event_id, event_name, number, manual, status,
              state, next_attempt_at, step, url, http_status, error_kind, error_detail,
              request_headers, response_headers, response_body, duration_ms, started_at)
    ), moved AS (
        UPDATE deliveries d
        SET state = a.state, due_at = COALESCE(a.next_attempt_at, d.due_at), attempts = a.number, step = a.step,
            lease = NULL, worker_id = NULL, manual = false, resume_state = NULL, resume_due_at = NULL
        FROM done a
        WHERE d.endpoint_id = a.endpoint_id AND d.event_id = a.event_id AND d.lease = a.id
        RETURNING a.id
    ), kept AS (
        INSERT INTO attempts
            (organization_id, id, endpoint_id, event_id, event_name, number, manual, status, next_attempt_at, url,
             http_status, error_kind, error_detail, request_headers, response_headers, response_body, duration_ms,
             started_at)
        SELECT organization_id, id, endpoint_id, event_id, event_name, number, manual, status, next_attempt_at, url,
               http_status, error_kind, error_detail, request_headers, response_headers, response_body, duration_ms,
               started_at
        FROM done
        ON CONFLICT DO NOTHING
    )
    SELECT id FROM moved";

const RELEASE: &str = "
    UPDATE deliveries d SET state = 0, due_at = r.due_at, lease = NULL, worker_id = NULL
    FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[]) AS r (lease, endpoint_id, event_id, due_at)
    WHERE d.endpoint_id = r.endpoint_id AND d.event_id = r.event_id AND d.lease = r.lease";

const RECOVER_LEASES: &str = "
    UPDATE deliveries d SET state = 0, due_at = $1, lease = NULL, worker_id = NULL
    FROM (
        SELECT endpoint_id, event_id FROM deliveries l
        WHERE state = 1 AND (due_at < $1 OR NOT EXISTS
            (SELECT 1 FROM workers w WHERE w.id = l.worker_id AND w.heartbeat_at >= $2))
        LIMIT $3 FOR UPDATE SKIP LOCKED
    ) lapsed
    WHERE d.endpoint_id = lapsed.endpoint_id AND d.event_id = lapsed.event_id";

#[async_trait]
impl Engine for PostgresEngine {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let column = |of: fn(&Event) -> &str| events.iter().map(of).collect::<Vec<_>>();
        let written = sqlx::query_scalar::<_, Uuid>(APPEND)
            .bind(events.iter().map(|event| event.id.0).collect::<Vec<_>>())
            .bind(
                events
                    .iter()
                    .map(|event| event.organization_id.0)
                    .collect::<Vec<_>>(),
            )
            .bind(column(|event| &event.name))
            .bind(column(|event| &event.event_type))
            .bind(column(|event| event.data.get()))
            .bind(
                events
                    .iter()
                    .map(|event| event.headers.as_deref().map(|raw| raw.get()))
                    .collect::<Vec<_>>(),
            )
            .bind(
                events
                    .iter()
                    .map(|event| event.traceparent.as_deref())
                    .collect::<Vec<_>>(),
            )
            .bind(
                events
                    .iter()
                    .map(|event| event.created_at.as_micros())
                    .collect::<Vec<_>>(),
            )
            .fetch_all(&self.pool)
            .await?;
        self.outbox_wake.notify_one();
        Ok(appended(events, written))
    }

    async fn outbox_changed(&self) {
        self.outbox_wake.notified().await;
    }

    async fn read_outbox(&self, limit: u32) -> Result<Vec<Event>, StoreError> {
        let floor = self
            .floor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next(Instant::now());
        let rows = sqlx::query(READ_OUTBOX)
            .bind(floor)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        if let Some(last) = rows.last() {
            let position = last.try_get::<i64, _>("position")?;
            let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
            floor.position = floor.position.max(position);
        }
        rows.iter().map(|row| outbox_row(row)?.into_event()).collect()
    }

    async fn acknowledge(&self, events: &[EventId]) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = events.iter().map(|event| event.0).collect();
        sqlx::query(ACKNOWLEDGE).bind(ids).execute(&self.pool).await?;
        Ok(())
    }

    async fn endpoints_version(&self) -> Result<i64, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT value FROM counters WHERE name = 'endpoints'")
                .fetch_one(&self.pool)
                .await?,
        )
    }

    async fn route(&self, messages: &[RoutedMessage], grant: LeaseGrant) -> Result<Vec<bool>, StoreError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let text =
            |of: fn(&super::Message) -> &str| messages.iter().map(|m| of(&m.message)).collect::<Vec<_>>();
        let deliveries = || {
            messages
                .iter()
                .flat_map(|m| m.deliveries.iter().map(move |d| (&m.message, d)))
        };
        let new = sqlx::query_scalar::<_, Uuid>(ROUTE)
            .bind(messages.iter().map(|m| m.message.event_id.0).collect::<Vec<_>>())
            .bind(
                messages
                    .iter()
                    .map(|m| m.message.organization_id.0)
                    .collect::<Vec<_>>(),
            )
            .bind(text(|message| &message.event_name))
            .bind(text(|message| &message.event_type))
            .bind(text(|message| message.data.get()))
            .bind(
                messages
                    .iter()
                    .map(|m| m.message.headers.as_deref().map(|raw| raw.get()))
                    .collect::<Vec<_>>(),
            )
            .bind(
                messages
                    .iter()
                    .map(|m| m.message.traceparent.as_deref())
                    .collect::<Vec<_>>(),
            )
            .bind(
                messages
                    .iter()
                    .map(|m| m.message.created_at.as_micros())
                    .collect::<Vec<_>>(),
            )
            .bind(deliveries().map(|(_, d)| d.endpoint_id.0).collect::<Vec<_>>())
            .bind(deliveries().map(|(m, _)| m.event_id.0).collect::<Vec<_>>())
            .bind(deliveries().map(|(m, _)| m.organization_id.0).collect::<Vec<_>>())
            .bind(
                deliveries()
                    .map(|(_, d)| d.lease.map(|lease| lease.0))
                    .collect::<Vec<_>>(),
            )
            .bind(
                deliveries()
                    .map(|(_, d)| d.delivered_name.as_str())
                    .collect::<Vec<_>>(),
            )
            .bind(grant.now.as_micros())
            .bind(grant.until.as_micros())
            .bind(grant.worker)
            .fetch_all(&self.pool)
            .await?;
        let new: std::collections::HashSet<Uuid> = new.into_iter().collect();
        Ok(messages
            .iter()
            .map(|m| new.contains(&m.message.event_id.0))
            .collect())
    }

    async fn claim(
        &self,
        lanes: &[LaneRequest],
        grant: LeaseGrant,
    ) -> Result<Vec<LeasedDelivery>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let rows = sqlx::query(CLAIM)
            .bind(lanes.iter().map(|lane| lane.endpoint_id.0).collect::<Vec<_>>())
            .bind(lanes.iter().map(|lane| lane.limit as i32).collect::<Vec<_>>())
            .bind(grant.now.as_micros())
            .fetch_all(&mut *transaction)
            .await?;
        let due = rows.iter().map(due_row).collect::<Result<Vec<_>, _>>()?;
        let leased = lease(due, grant)?;
        if !leased.is_empty() {
            sqlx::query(LEASE)
                .bind(leased.iter().map(|l| l.endpoint_id.0).collect::<Vec<_>>())
                .bind(leased.iter().map(|l| l.message.event_id.0).collect::<Vec<_>>())
                .bind(leased.iter().map(|l| l.lease.0).collect::<Vec<_>>())
                .bind(grant.until.as_micros())
                .bind(grant.worker)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(leased)
    }

    async fn waiting_lanes(&self) -> Result<Vec<(EndpointId, Timestamp)>, StoreError> {
        let lanes: Vec<(Uuid, i64)> = sqlx::query_as(WAITING_LANES).fetch_all(&self.pool).await?;
        Ok(lanes
            .into_iter()
            .map(|(id, due_at)| (EndpointId(id), Timestamp::from_micros(due_at)))
            .collect())
    }

    async fn record(&self, attempts: &[AttemptRecord]) -> Result<Vec<bool>, StoreError> {
        if attempts.is_empty() {
            return Ok(Vec::new());
        }
        macro_rules! column {
            ($attempt:ident => $value:expr) => {
                attempts.iter().map(|$attempt| $value).collect::<Vec<_>>()
            };
        }
        let moved = sqlx::query_scalar::<_, Uuid>(RECORD)
            .bind(column!(a => a.id.0))
            .bind(column!(a => a.organization_id.0))
            .bind(column!(a => a.endpoint_id.0))
            .bind(column!(a => a.event_id.0))
            .bind(column!(a => a.event_name.as_str()))
            .bind(column!(a => a.number as i32))
            .bind(column!(a => a.manual))
            .bind(column!(a => a.status as i16))
            .bind(column!(a => disposition(a.disposition).0 as i16))
            .bind(column!(a => disposition(a.disposition).1))
            .bind(column!(a => a.step as i32))
            .bind(column!(a => a.url.as_str()))
            .bind(column!(a => a.http_status.map(i32::from)))
            .bind(column!(a => a.error_kind))
            .bind(column!(a => a.error_detail.as_deref()))
            .bind(column!(a => a.request_headers.as_str()))
            .bind(column!(a => a.response_headers.as_str()))
            .bind(column!(a => a.response_body.as_str()))
            .bind(column!(a => a.duration_ms as i32))
            .bind(column!(a => a.started_at.as_micros()))
            .fetch_all(&self.pool)
            .await?;
        let moved: std::collections::HashSet<Uuid> = moved.into_iter().collect();
        Ok(attempts
            .iter()
            .map(|attempt| moved.contains(&attempt.id.0))
            .collect())
    }

    async fn release(&self, leases: &[Release]) -> Result<(), StoreError> {
        sqlx::query(RELEASE)
            .bind(leases.iter().map(|l| l.lease.0).collect::<Vec<_>>())
            .bind(leases.iter().map(|l| l.endpoint_id.0).collect::<Vec<_>>())
            .bind(leases.iter().map(|l| l.event_id.0).collect::<Vec<_>>())
            .bind(leases.iter().map(|l| l.due_at.as_micros()).collect::<Vec<_>>())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn heartbeat(&self, worker: Uuid, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO workers (id, started_at, heartbeat_at) VALUES ($1, $2, $2)
             ON CONFLICT (id) DO UPDATE SET heartbeat_at = $2",
        )
        .bind(worker)
        .bind(now.as_micros())
        .execute(&self.pool)
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
            .bind(i64::from(limit))
            .execute(&self.pool)
            .await?;
        Ok(recovered.rows_affected())
    }

    async fn retire(&self, worker: Uuid) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM workers WHERE id = $1")
            .bind(worker)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn backlog(&self, _now: Timestamp) -> Result<Backlog, StoreError> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM outbox_events LIMIT $1) o) AS unrouted,
                    (SELECT COUNT(*) FROM (SELECT 1 FROM deliveries WHERE state = 0 LIMIT $1) w) AS waiting,
                    (SELECT COUNT(*) FROM (SELECT 1 FROM deliveries WHERE state = 1 LIMIT $1) l) AS leased,
                    (SELECT (EXTRACT(EPOCH FROM created_at) * 1000000)::bigint
                     FROM outbox_events ORDER BY position LIMIT 1) AS oldest_unrouted",
        )
        .bind(BACKLOG_COUNT_LIMIT as i64)
        .fetch_one(&self.pool)
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
        self.pool.close().await;
    }
}

fn disposition(disposition: Disposition) -> (DeliveryState, Option<i64>) {
    match disposition {
        Disposition::Finish(state) => (state, None),
        Disposition::Retry(due_at) => (DeliveryState::Waiting, Some(due_at.as_micros())),
    }
}

fn outbox_row(row: &PgRow) -> Result<OutboxRow, StoreError> {
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

fn due_row(row: &PgRow) -> Result<DueRow, StoreError> {
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
