//! The hot path on Postgres.
//!
//! Rows travel as arrays and are unfolded by `UNNEST`: one statement, one round trip and one commit for any number of
//! rows, and always the same text, so that it stays prepared.
//!
//! # Why the outbox read is safe against commits out of order
//!
//! `position` is drawn when a row is inserted, not when it commits, so a reader that remembered "everything up to N is
//! done" could pass over a row below N that commits later. This reader remembers nothing of the kind: a row stays in the
//! table until it is taken out by its id, and every read takes the oldest rows that are there. Starting near the first
//! position of the last read ([`OutboxFloor`]) only saves index pages; a read from the very beginning follows at least every
//! second.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use demae_event::{AttemptId, EndpointId, Event, EventId, OrganizationId, Timestamp};
use sea_orm::sqlx::{
    self, Connection as _, PgConnection, PgPool, Postgres, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use serde_json::value::RawValue;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Appended, AttemptRecord, BACKLOG_COUNT_LIMIT, Backlog, CLAIM_BYTES, EVENTS_OF_OTHER, EVENTS_OF_OTHERS,
    Engine, LaneRequest, LeaseGrant, LeasedDelivery, Message, OTHERS, PAYLOAD_LIMIT, READ_LIMIT,
    READ_LIMIT_OF_OTHERS, Release, RoutedMessage,
    rows::{self, Claimed, DueRow, OutboxPage},
    set_aside::{DESCRIBED, Hopeless, OUTBOX, ROUTER, RejectedRow, UnreadableRow, record_apart},
};
use crate::{
    StoreError,
    repository::rejected::BODY_LIMIT,
    signals::{Board, Herald},
    silence::{Session, answer},
};

#[cfg(test)]
mod plans;
mod sql;

/// How far behind the first position of a read the next one begins: more rows than commit between two reads.
const OUT_OF_ORDER_WINDOW: i64 = 20_000;
/// How often a read begins at the very beginning.
const FULL_READ_INTERVAL: Duration = Duration::from_secs(1);

/// [`Engine`] on Postgres.
#[derive(Debug)]
pub struct PostgresEngine {
    pool: PgPool,
    board: Arc<Board>,
    herald: Herald,
    floor: Mutex<OutboxFloor>,
    /// The organization at which the last read of others ended, if it left any out.
    last_other: Mutex<Option<Uuid>>,
}

/// Where the next outbox read begins.
#[derive(Debug, Default)]
struct OutboxFloor {
    position: i64,
    last_full_read: Option<Instant>,
}

impl OutboxFloor {
    /// Like [`OutboxFloor::next`], for a read that passes over what is to be read next.
    fn beside(&self) -> i64 {
        self.position - OUT_OF_ORDER_WINDOW
    }

    fn next(&mut self, now: Instant) -> i64 {
        if self
            .last_full_read
            .is_none_or(|last| now.duration_since(last) >= FULL_READ_INTERVAL)
        {
            self.last_full_read = Some(now);
            return 0;
        }
        self.beside()
    }
}

/// The ranges of organizations, both ends left out, that hold all but `except`: first what comes after `last`.
fn gaps(except: &HashSet<OrganizationId>, last: Option<Uuid>) -> Vec<(Uuid, Uuid)> {
    let mut ends: Vec<Uuid> = except.iter().map(|organization| organization.0).collect();
    // Where it ended it is split, and one organization waits for the next read: it was served in this one.
    ends.extend(last);
    ends.extend([Uuid::nil(), Uuid::max()]);
    ends.sort_unstable();
    ends.dedup();
    let mut gaps: Vec<(Uuid, Uuid)> = ends.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let split = gaps.partition_point(|(after, _)| last.is_some_and(|last| *after < last));
    gaps.rotate_left(split);
    gaps
}

/// One statement with its values.
type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// The values of one column, to be sent as an array.
fn column<'a, T, V>(rows: &'a [T], value: impl FnMut(&'a T) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}

impl PostgresEngine {
    pub(crate) fn new(pool: PgPool, board: Arc<Board>, herald: Herald) -> Self {
        Self {
            pool,
            board,
            herald,
            floor: Mutex::default(),
            last_other: Mutex::default(),
        }
    }

    async fn rows(&self, statement: Statement<'_>) -> Result<Vec<PgRow>, StoreError> {
        self.rows_carrying(0, statement).await
    }

    /// The rows of a statement that carries `bytes` of texts, which may be many.
    async fn rows_carrying(&self, bytes: usize, statement: Statement<'_>) -> Result<Vec<PgRow>, StoreError> {
        let mut session = Session::of(&self.pool).await?;
        let rows = answer(statement.fetch_all(&mut *session)).await?;
        session.answered_with(bytes);
        Ok(rows)
    }

    async fn row(&self, statement: Statement<'_>) -> Result<PgRow, StoreError> {
        let mut session = Session::of(&self.pool).await?;
        let row = answer(statement.fetch_one(&mut *session)).await?;
        session.answered();
        Ok(row)
    }

    /// How many rows it changed.
    async fn affected(&self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let mut session = Session::of(&self.pool).await?;
        let done = answer(statement.execute(&mut *session)).await?;
        session.answered();
        Ok(done.rows_affected())
    }

    /// [`Engine::record`], all or nothing.
    async fn record_together(&self, attempts: &[AttemptRecord]) -> Result<Vec<bool>, StoreError> {
        if attempts.is_empty() {
            return Ok(Vec::new());
        }
        let moved = self
            .rows_carrying(
                attempts.iter().map(AttemptRecord::size).sum(),
                sqlx::query(sql::RECORD)
                    .bind(column(attempts, |a| a.id.0))
                    .bind(column(attempts, |a| a.scope.organization.0))
                    .bind(column(attempts, |a| a.scope.application.0))
                    .bind(column(attempts, |a| a.endpoint_id.0))
                    .bind(column(attempts, |a| a.event_id.0))
                    .bind(column(attempts, |a| rows::storable(&a.event_name)))
                    .bind(column(attempts, |a| a.number as i32))
                    .bind(column(attempts, |a| a.manual))
                    .bind(column(attempts, |a| a.status as i16))
                    .bind(column(attempts, |a| a.disposition.state() as i16))
                    .bind(column(attempts, rows::next_attempt_at))
                    .bind(column(attempts, |a| a.step as i32))
                    .bind(column(attempts, |a| rows::storable(&a.url)))
                    .bind(column(attempts, |a| a.http_status.map(i32::from)))
                    .bind(column(attempts, |a| a.error_kind))
                    .bind(column(attempts, |a| {
                        a.error_detail.as_deref().map(rows::storable)
                    }))
                    .bind(column(attempts, |a| rows::storable(&a.request_headers)))
                    .bind(column(attempts, |a| rows::storable(&a.response_headers)))
                    .bind(column(attempts, |a| rows::storable(&a.response_body)))
                    .bind(column(attempts, |a| a.duration_ms as i32))
                    .bind(column(attempts, |a| a.started_at.as_micros())),
            )
            .await?;
        Ok(rows::among(attempts.iter().map(|a| a.id.0), rows::ids(&moved)?))
    }

    /// The oldest rows after the position `floor`, decoded.
    async fn outbox_page(&self, floor: i64, limit: u32) -> Result<OutboxPage, StoreError> {
        let statement = sqlx::query(sql::READ_OUTBOX)
            .bind(floor)
            .bind(i64::from(limit))
            .bind(READ_LIMIT as i64)
            .bind(PAYLOAD_LIMIT as i64);
        let mut session = Session::of(&self.pool).await?;
        let rows = answer(statement.fetch_all(&mut *session)).await?;
        let page = rows::outbox_page(rows)?;
        session.answered_with(page.events.iter().map(Event::size).sum());
        Ok(page)
    }

    /// The oldest rows of organizations other than `except`, decoded.
    async fn others_page(&self, except: &HashSet<OrganizationId>) -> Result<OutboxPage, StoreError> {
        let last = *self.last_other.lock().unwrap_or_else(PoisonError::into_inner);
        let gaps = gaps(except, last);
        let floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner).beside();
        let statement = sqlx::query(sql::READ_OUTBOX_OF_OTHERS)
            .bind(column(&gaps, |(after, _)| *after))
            .bind(column(&gaps, |(_, before)| *before))
            .bind(PAYLOAD_LIMIT as i64)
            .bind(floor)
            .bind(i64::from(OTHERS))
            .bind(i64::from(EVENTS_OF_OTHER))
            .bind(i64::from(EVENTS_OF_OTHERS))
            .bind(READ_LIMIT_OF_OTHERS as i64);
        let mut session = Session::of(&self.pool).await?;
        let rows = answer(statement.fetch_all(&mut *session)).await?;
        let last = rows::left_out(&rows)?;
        *self.last_other.lock().unwrap_or_else(PoisonError::into_inner) = last;
        let page = rows::outbox_page(rows::in_order(rows)?)?;
        session.answered_with(page.events.iter().map(Event::size).sum());
        Ok(page)
    }

    /// Moves a row of the outbox to the rejected events, if it is still there.
    async fn set_aside(&self, unreadable: &UnreadableRow) -> Result<(), StoreError> {
        let mut session = Session::of(&self.pool).await?;
        answer(set_aside(&mut session, unreadable)).await?;
        session.answered();
        unreadable.log();
        Ok(())
    }
}

#[async_trait]
impl Engine for PostgresEngine {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let written = self
            .rows_carrying(
                events.iter().map(Event::size).sum(),
                sqlx::query(sql::APPEND)
                    .bind(column(events, |e| e.id.0))
                    .bind(column(events, |e| e.scope.organization.0))
                    .bind(column(events, |e| {
                        e.scope.named_application().map(|application| application.0)
                    }))
                    .bind(column(events, |e| e.name.as_str()))
                    .bind(column(events, |e| e.event_type.as_str()))
                    .bind(column(events, |e| e.data.get()))
                    .bind(column(events, |e| e.headers.as_deref().map(RawValue::get)))
                    .bind(column(events, |e| e.traceparent.as_deref()))
                    .bind(column(events, |e| e.created_at.as_micros())),
            )
            .await?;
        self.board.event_committed();
        Ok(rows::appended(events, rows::ids(&written)?))
    }

    async fn outbox_changed(&self) {
        self.herald.listen();
        self.board.outbox_changed().await;
    }

    async fn deliveries_changed(&self) -> HashSet<EndpointId> {
        self.herald.listen();
        self.board.deliveries_changed().await
    }

    async fn timers_changed(&self) -> Timestamp {
        self.herald.listen();
        self.board.timers_changed().await
    }

    async fn read_outbox(&self, limit: u32) -> Result<Vec<Event>, StoreError> {
        loop {
            let floor = self
                .floor
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next(Instant::now());
            let page = self.outbox_page(floor, limit).await?;
            if let Some(first) = page.first {
                self.floor.lock().unwrap_or_else(PoisonError::into_inner).position = first;
            }
            for row in &page.unreadable {
                self.set_aside(row).await?;
            }
            if !page.events.is_empty() || page.unreadable.is_empty() {
                return Ok(page.events);
            }
        }
    }

    async fn read_outbox_of_others(
        &self,
        except: &HashSet<OrganizationId>,
    ) -> Result<Vec<Event>, StoreError> {
        loop {
            let page = self.others_page(except).await?;
            for row in &page.unreadable {
                self.set_aside(row).await?;
            }
            if !page.events.is_empty() || page.unreadable.is_empty() {
                return Ok(page.events);
            }
        }
    }

    async fn unreadable_rows(&self, limit: u32) -> Result<Vec<(i64, String)>, StoreError> {
        Ok(self.outbox_page(0, limit).await?.into_unreadable())
    }

    async fn reject(&self, message: &Message, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut session = Session::of(&self.pool).await?;
        answer(async {
            let mut transaction = session.begin().await?;
            let rejected = RejectedRow::of_message(message, reason, now);
            insert_rejected(&mut transaction, rejected, ROUTER).await?;
            sqlx::query(sql::TAKE_OUT)
                .bind(vec![message.event_id.0])
                .execute(&mut *transaction)
                .await?;
            Ok::<_, StoreError>(transaction.commit().await?)
        })
        .await?;
        session.answered();
        Ok(())
    }

    async fn endpoints_version(&self) -> Result<i64, StoreError> {
        Ok(self.row(sqlx::query(rows::ENDPOINTS_VERSION)).await?.try_get(0)?)
    }

    async fn route(&self, messages: &[RoutedMessage], grant: LeaseGrant) -> Result<Vec<bool>, StoreError> {
        let distinct = rows::distinct(messages);
        if distinct.is_empty() {
            return Ok(Vec::new());
        }
        let deliveries: Vec<_> = distinct
            .iter()
            .flat_map(|m| m.deliveries.iter().map(|d| (&*m.message, d)))
            .collect();
        let new = self
            .rows_carrying(
                distinct.iter().map(|m| m.message.size()).sum(),
                sqlx::query(sql::ROUTE)
                    .bind(column(&distinct, |m| m.message.event_id.0))
                    .bind(column(&distinct, |m| m.message.scope.organization.0))
                    .bind(column(&distinct, |m| m.message.scope.application.0))
                    .bind(column(&distinct, |m| m.message.event_name.as_str()))
                    .bind(column(&distinct, |m| m.message.event_type.as_str()))
                    .bind(column(&distinct, |m| m.message.data.get()))
                    .bind(column(&distinct, |m| {
                        m.message.headers.as_deref().map(RawValue::get)
                    }))
                    .bind(column(&distinct, |m| m.message.traceparent.as_deref()))
                    .bind(column(&distinct, |m| m.message.created_at.as_micros()))
                    .bind(column(&deliveries, |(_, d)| d.endpoint_id.0))
                    .bind(column(&deliveries, |(m, _)| m.event_id.0))
                    .bind(column(&deliveries, |(m, _)| m.scope.organization.0))
                    .bind(column(&deliveries, |(_, d)| d.lease.map(|lease| lease.0)))
                    .bind(column(&deliveries, |(_, d)| d.delivered_name.as_str()))
                    .bind(grant.now.as_micros())
                    .bind(grant.until.as_micros())
                    .bind(grant.worker),
            )
            .await?;
        let waiting = deliveries.iter().filter(|(_, delivery)| delivery.lease.is_none());
        self.board
            .tell_others(waiting.map(|(_, delivery)| delivery.endpoint_id));
        Ok(rows::among(
            messages.iter().map(|m| m.message.event_id.0),
            rows::ids(&new)?,
        ))
    }

    async fn take_out(&self, events: &[EventId]) -> Result<(), StoreError> {
        self.affected(sqlx::query(sql::TAKE_OUT).bind(column(events, |event| event.0)))
            .await?;
        Ok(())
    }

    async fn claim(
        &self,
        lanes: &[LaneRequest],
        grant: LeaseGrant,
    ) -> Result<Vec<LeasedDelivery>, StoreError> {
        let mut session = Session::of(&self.pool).await?;
        let leased = answer(claim(&mut session, lanes, grant)).await?;
        session.answered_with(leased.iter().map(|delivery| delivery.message.size()).sum());
        Ok(leased)
    }

    async fn waiting_lanes(&self) -> Result<Vec<(EndpointId, Timestamp)>, StoreError> {
        let lanes = self.rows(sqlx::query(sql::WAITING_LANES)).await?;
        rows::lanes(&lanes)
    }

    async fn record(&self, attempts: &[AttemptRecord]) -> Result<Vec<bool>, StoreError> {
        match self.record_together(attempts).await {
            Err(error) if error.is_data_error() => {
                record_apart(attempts, async |part| self.record_together(&part).await).await
            }
            recorded => recorded,
        }
    }

    async fn release(&self, leases: &[Release]) -> Result<(), StoreError> {
        self.affected(
            sqlx::query(sql::RELEASE)
                .bind(column(leases, |l| l.lease.0))
                .bind(column(leases, |l| l.endpoint_id.0))
                .bind(column(leases, |l| l.event_id.0))
                .bind(column(leases, |l| l.due_at.as_micros())),
        )
        .await?;
        Ok(())
    }

    async fn give_back(
        &self,
        worker: Uuid,
        lease_ends: &[Timestamp],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.affected(
            sqlx::query(sql::GIVE_BACK)
                .bind(now.as_micros())
                .bind(worker)
                .bind(column(lease_ends, |end| end.as_micros())),
        )
        .await
    }

    async fn heartbeat(&self, worker: Uuid, now: Timestamp) -> Result<(), StoreError> {
        self.affected(sqlx::query(sql::HEARTBEAT).bind(worker).bind(now.as_micros()))
            .await?;
        Ok(())
    }

    async fn recover_leases(
        &self,
        now: Timestamp,
        dead_before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.affected(
            sqlx::query(sql::RECOVER_LEASES)
                .bind(now.as_micros())
                .bind(dead_before.as_micros())
                .bind(i64::from(limit)),
        )
        .await
    }

    async fn retire(&self, worker: Uuid) -> Result<(), StoreError> {
        self.affected(sqlx::query("DELETE FROM workers WHERE id = $1").bind(worker))
            .await?;
        Ok(())
    }

    async fn backlog(&self, _now: Timestamp) -> Result<Backlog, StoreError> {
        let counts = self
            .row(sqlx::query(sql::BACKLOG).bind(BACKLOG_COUNT_LIMIT as i64))
            .await?;
        rows::backlog(&counts, &self.waiting_lanes().await?)
    }

    async fn close(&self) {
        self.herald.close().await;
        self.pool.close().await;
    }
}

async fn set_aside(connection: &mut PgConnection, unreadable: &UnreadableRow) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    let row = sqlx::query(sql::DESCRIBE)
        .bind(unreadable.position)
        .bind(DESCRIBED)
        .bind(BODY_LIMIT as i32)
        .fetch_optional(&mut *transaction)
        .await?;
    if let Some(row) = row {
        let rejected = RejectedRow::of_row(&row, &unreadable.reason)?;
        insert_rejected(&mut transaction, rejected, OUTBOX).await?;
        sqlx::query(sql::TAKE_OUT_PLACE)
            .bind(unreadable.position)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction.commit().await?)
}

async fn insert_rejected(
    connection: &mut PgConnection,
    rejected: RejectedRow,
    source: &str,
) -> Result<(), StoreError> {
    sqlx::query(sql::REJECT)
        .bind(rejected.id)
        .bind(source)
        .bind(rejected.reason)
        .bind(rejected.body)
        .bind(rejected.body_size)
        .bind(rejected.received_at)
        .execute(connection)
        .await?;
    Ok(())
}

async fn give_up(
    connection: &mut PgConnection,
    delivery: &Hopeless<(Uuid, Uuid)>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (endpoint, event) = delivery.place;
    let (state, status, kind) = delivery.end();
    sqlx::query(sql::GIVE_UP)
        .bind(endpoint)
        .bind(event)
        .bind(AttemptId::new(now).0)
        .bind(delivery.number)
        .bind(rows::storable(&delivery.delivered_name))
        .bind(rows::storable(&delivery.reason))
        .bind(now.as_micros())
        .bind(state as i16)
        .bind(status as i16)
        .bind(kind)
        .execute(connection)
        .await?;
    delivery.log();
    Ok(())
}

/// [`Engine::claim`]: looks first, as the leases are made here.
async fn claim(
    connection: &mut PgConnection,
    lanes: &[LaneRequest],
    grant: LeaseGrant,
) -> Result<Vec<LeasedDelivery>, StoreError> {
    let mut transaction = connection.begin().await?;
    let due = sqlx::query(sql::CLAIM)
        .bind(column(lanes, |lane| lane.endpoint_id.0))
        .bind(column(lanes, |lane| {
            i32::try_from(lane.limit).unwrap_or(i32::MAX)
        }))
        .bind(grant.now.as_micros())
        .bind(CLAIM_BYTES as i64)
        .fetch_all(&mut *transaction)
        .await?;
    let place = |row: &PgRow| Ok::<_, sqlx::Error>((row.try_get("endpoint_id")?, row.try_get("event_id")?));
    // Row by row, so that what was read is not here twice.
    let due = due
        .into_iter()
        .map(|row| DueRow::read(&row, place(&row)?))
        .collect::<Result<_, StoreError>>()?;
    let Claimed { leased, hopeless } = rows::lease(due, grant);
    for delivery in &hopeless {
        give_up(&mut transaction, delivery, grant.now).await?;
    }
    if !leased.is_empty() {
        sqlx::query(sql::LEASE)
            .bind(column(&leased, |l| l.endpoint_id.0))
            .bind(column(&leased, |l| l.message.event_id.0))
            .bind(column(&leased, |l| l.lease.0))
            .bind(grant.until.as_micros())
            .bind(grant.worker)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(leased)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_begin_a_window_behind_the_last_one_and_every_second_at_the_beginning() {
        let begun = Instant::now();
        let mut floor = OutboxFloor::default();
        assert_eq!(floor.next(begun), 0);
        floor.position = OUT_OF_ORDER_WINDOW + 7;
        assert_eq!(floor.next(begun + FULL_READ_INTERVAL / 2), 7);
        assert_eq!(floor.next(begun + FULL_READ_INTERVAL), 0);
        assert_eq!(floor.next(begun + FULL_READ_INTERVAL * 3 / 2), 7);
    }
}
