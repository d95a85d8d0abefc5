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
//! stays until it is taken out by its id, so nothing depends on a remembered position at all.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use demae_event::{AttemptId, EndpointId, Event, EventId, OrganizationId, Timestamp};
use sea_orm::sqlx::{
    self, Row as _, Sqlite, SqliteConnection, SqlitePool,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    Appended, AttemptRecord, BACKLOG_COUNT_LIMIT, Backlog, CLAIM_BYTES, DeliveryState, EVENTS_OF_OTHER,
    EVENTS_OF_OTHERS, Engine, LaneRequest, LeaseGrant, LeasedDelivery, Message, NewDelivery, OTHERS,
    PAYLOAD_LIMIT, READ_LIMIT, READ_LIMIT_OF_OTHERS, Release, RoutedMessage,
    rows::{self, Claimed, DueRow, OutboxPage},
    set_aside::{DESCRIBED, Hopeless, OUTBOX, ROUTER, RejectedRow, UnreadableRow, record_apart},
};
use crate::{StoreError, repository::rejected::BODY_LIMIT, signals::Board};

#[cfg(test)]
mod plans;
mod sql;

/// Longest multi-row statement. The widest has 18 columns; SQLite takes 32,766 values.
const MAX_ROWS: usize = 256;

/// [`Engine`] on SQLite.
#[derive(Debug)]
pub struct SqliteEngine {
    write: SqlitePool,
    read: SqlitePool,
    board: Arc<Board>,
    /// Where the last read of others ended, if it left any out.
    last_other: Mutex<Option<Written>>,
}

/// An organization as it is written in a row of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    organization: Uuid,
    /// Not as bytes.
    is_text: bool,
}

impl SqliteEngine {
    pub(crate) fn new(write: SqlitePool, read: SqlitePool, board: Arc<Board>) -> Self {
        Self {
            write,
            read,
            board,
            last_other: Mutex::default(),
        }
    }

    async fn begin(&self) -> Result<sqlx::Transaction<'static, Sqlite>, StoreError> {
        Ok(self.write.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// [`Engine::record`], all or nothing.
    async fn record_together(&self, attempts: &[AttemptRecord]) -> Result<Vec<bool>, StoreError> {
        if attempts.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.begin().await?;
        // Asked before the leases are gone: in an UPDATE … FROM, RETURNING sees only the row as it is afterwards.
        let held = run(&mut transaction, attempts, sql::HELD, |query, a| {
            query.bind(a.id.0).bind(a.endpoint_id.0).bind(a.event_id.0)
        })
        .await?;
        run(&mut transaction, attempts, sql::MOVE, bind_move).await?;
        run(&mut transaction, attempts, sql::KEEP, bind_attempt).await?;
        transaction.commit().await?;
        Ok(rows::among(attempts.iter().map(|a| a.id.0), rows::ids(&held)?))
    }

    /// The oldest rows, decoded.
    async fn outbox_page(&self, limit: u32) -> Result<OutboxPage, StoreError> {
        let rows = sqlx::query(sql::READ_OUTBOX)
            .bind(limit)
            .bind(READ_LIMIT as i64)
            .bind(PAYLOAD_LIMIT as i64)
            .fetch_all(&self.read)
            .await?;
        rows::outbox_page(rows)
    }

    /// The oldest rows of organizations other than `except`, decoded.
    async fn others_page(&self, except: &HashSet<OrganizationId>) -> Result<OutboxPage, StoreError> {
        let mut page = OutboxPage::default();
        let mut left_out = None;
        let (others, has_more) = self.others(except).await?;
        let (mut rows, mut bytes) = (0, 0);
        let mut others = others.into_iter().peekable();
        while let Some(other) = others.next() {
            let of_other = self
                .outbox_page_of(
                    OrganizationId(other.organization),
                    EVENTS_OF_OTHER.min(EVENTS_OF_OTHERS - rows),
                    READ_LIMIT_OF_OTHERS - bytes,
                )
                .await?;
            rows += (of_other.events.len() + of_other.unreadable.len()) as u32;
            bytes += of_other.events.iter().map(Event::size).sum::<usize>();
            page.events.extend(of_other.events);
            page.unreadable.extend(of_other.unreadable);
            let is_full = rows >= EVENTS_OF_OTHERS || bytes >= READ_LIMIT_OF_OTHERS;
            if is_full || (has_more && others.peek().is_none()) {
                left_out = Some(other);
            }
            if is_full {
                break;
            }
        }
        *self.last_other.lock().unwrap_or_else(PoisonError::into_inner) = left_out;
        Ok(page)
    }

    /// Organizations in the outbox other than `except`, each once, and whether there are more.
    async fn others(&self, except: &HashSet<OrganizationId>) -> Result<(Vec<Written>, bool), StoreError> {
        let last = *self.last_other.lock().unwrap_or_else(PoisonError::into_inner);
        // Of each of those in `except` there may be two, as text and as bytes, and of the others.
        let limit = 2 * (except.len() + OTHERS as usize);
        let statement = sqlx::query(sql::WAITING_ORGANIZATIONS);
        let statement = match last {
            // Before every text and all bytes.
            None => statement.bind(""),
            Some(last) if last.is_text => statement.bind(last.organization.to_string()),
            Some(last) => statement.bind(last.organization),
        };
        let rows = statement.bind(limit as i64).fetch_all(&self.read).await?;
        let mut seen = except.clone();
        let mut others = Vec::new();
        for row in &rows {
            let written = Written {
                organization: row.try_get("id")?,
                is_text: row.try_get("is_text")?,
            };
            if seen.insert(OrganizationId(written.organization)) {
                others.push(written);
            }
        }
        let has_more = rows.len() == limit || others.len() > OTHERS as usize;
        others.truncate(OTHERS as usize);
        Ok((others, has_more))
    }

    /// The oldest rows of an organization, decoded.
    async fn outbox_page_of(
        &self,
        organization: OrganizationId,
        limit: u32,
        bytes: usize,
    ) -> Result<OutboxPage, StoreError> {
        let rows = sqlx::query(sql::READ_OUTBOX_OF)
            .bind(limit)
            .bind(bytes as i64)
            .bind(PAYLOAD_LIMIT as i64)
            .bind(organization.0)
            .bind(organization.0.to_string())
            .fetch_all(&self.read)
            .await?;
        rows::outbox_page(rows)
    }

    /// Moves a row of the outbox to the rejected events, if it is still there.
    async fn set_aside(&self, unreadable: &UnreadableRow) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query(sql::DESCRIBE)
            .bind(unreadable.position)
            .bind(DESCRIBED)
            .bind(BODY_LIMIT as i64)
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
        transaction.commit().await?;
        unreadable.log();
        Ok(())
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

/// Runs one statement per piece of `rows`, binding each row's values in order; answers the rows that came back.
async fn run<T>(
    connection: &mut SqliteConnection,
    rows: &[T],
    statement: sql::MultiRow,
    bind: impl for<'q> Fn(Bound<'q>, &'q T) -> Bound<'q>,
) -> Result<Vec<SqliteRow>, StoreError> {
    let mut answers = Vec::new();
    for piece in pieces(rows) {
        let mut query = sqlx::query(sql::text(statement, piece.len()));
        for row in piece {
            query = bind(query, row);
        }
        answers.extend(query.fetch_all(&mut *connection).await?);
    }
    Ok(answers)
}

/// A delivery to insert, of which message.
type Fanned<'a> = (&'a Message, &'a NewDelivery);

#[async_trait]
impl Engine for SqliteEngine {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.begin().await?;
        let written = run(&mut transaction, events, sql::APPEND, bind_event).await?;
        transaction.commit().await?;
        self.board.event_committed();
        Ok(rows::appended(events, rows::ids(&written)?))
    }

    async fn outbox_changed(&self) {
        self.board.outbox_changed().await;
    }

    async fn deliveries_changed(&self) -> HashSet<EndpointId> {
        self.board.deliveries_changed().await
    }

    async fn timers_changed(&self) -> Timestamp {
        self.board.timers_changed().await
    }

    async fn read_outbox(&self, limit: u32) -> Result<Vec<Event>, StoreError> {
        loop {
            let page = self.outbox_page(limit).await?;
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
        Ok(self.outbox_page(limit).await?.into_unreadable())
    }

    async fn reject(&self, message: &Message, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        insert_rejected(
            &mut transaction,
            RejectedRow::of_message(message, reason, now),
            ROUTER,
        )
        .await?;
        take_out(&mut transaction, &[message.event_id]).await?;
        Ok(transaction.commit().await?)
    }

    async fn endpoints_version(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(rows::ENDPOINTS_VERSION)
            .fetch_one(&self.read)
            .await?)
    }

    async fn route(&self, messages: &[RoutedMessage], grant: LeaseGrant) -> Result<Vec<bool>, StoreError> {
        let distinct = rows::distinct(messages);
        if distinct.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.begin().await?;
        let new = run(&mut transaction, &distinct, sql::MESSAGES, |query, routed| {
            bind_message(query, &routed.message)
        })
        .await?;
        let new = rows::ids(&new)?;
        let is_new = rows::among(distinct.iter().map(|m| m.message.event_id.0), new.clone());
        let deliveries: Vec<Fanned<'_>> = distinct
            .iter()
            .zip(is_new)
            .filter(|(_, is_new)| *is_new)
            .flat_map(|(routed, _)| routed.deliveries.iter().map(|d| (&*routed.message, d)))
            .collect();
        run(
            &mut transaction,
            &deliveries,
            sql::DELIVERIES,
            |query, delivery| bind_delivery(query, delivery, grant),
        )
        .await?;
        let routed: Vec<EventId> = messages.iter().map(|routed| routed.message.event_id).collect();
        take_out(&mut transaction, &routed).await?;
        transaction.commit().await?;
        Ok(rows::among(messages.iter().map(|m| m.message.event_id.0), new))
    }

    async fn take_out(&self, events: &[EventId]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        take_out(&mut transaction, events).await?;
        Ok(transaction.commit().await?)
    }

    async fn claim(
        &self,
        lanes: &[LaneRequest],
        grant: LeaseGrant,
    ) -> Result<Vec<LeasedDelivery>, StoreError> {
        let mut transaction = self.begin().await?;
        let mut due = Vec::new();
        for lane in lanes {
            let fitting: i64 = sqlx::query_scalar(sql::FITTING)
                .bind(lane.endpoint_id.0)
                .bind(grant.now.as_micros())
                .bind(lane.limit)
                .bind(CLAIM_BYTES as i64)
                .fetch_one(&mut *transaction)
                .await?;
            let found = sqlx::query(sql::CLAIM)
                .bind(lane.endpoint_id.0)
                .bind(grant.now.as_micros())
                .bind(fitting)
                .fetch_all(&mut *transaction)
                .await?;
            for row in found {
                due.push(DueRow::read(&row, row.try_get::<i64, _>("place")?)?);
            }
        }
        let Claimed { leased, hopeless } = rows::lease(due, grant);
        for delivery in &hopeless {
            give_up(&mut transaction, delivery, grant.now).await?;
        }
        run(&mut transaction, &leased, sql::LEASE, |query, delivery| {
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
        let lanes = sqlx::query(sql::WAITING_LANES).fetch_all(&self.read).await?;
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
        let mut transaction = self.begin().await?;
        run(&mut transaction, leases, sql::RELEASE, |query, lease| {
            query
                .bind(lease.lease.0)
                .bind(lease.endpoint_id.0)
                .bind(lease.event_id.0)
                .bind(lease.due_at.as_micros())
        })
        .await?;
        Ok(transaction.commit().await?)
    }

    async fn give_back(
        &self,
        worker: Uuid,
        lease_ends: &[Timestamp],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let given_back = run(&mut transaction, lease_ends, sql::GIVE_BACK, |query, end| {
            query.bind(end.as_micros()).bind(worker).bind(now.as_micros())
        })
        .await?;
        transaction.commit().await?;
        Ok(given_back.len() as u64)
    }

    async fn heartbeat(&self, worker: Uuid, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query(sql::HEARTBEAT)
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
        let recovered = sqlx::query(sql::RECOVER_LEASES)
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
        let counts = sqlx::query(sql::BACKLOG)
            .bind(BACKLOG_COUNT_LIMIT as i64)
            .fetch_one(&self.read)
            .await?;
        rows::backlog(&counts, &self.waiting_lanes().await?)
    }

    /// Copies the write-ahead log into the database beside the writer, which then starts the log anew. Left to itself
    /// SQLite does this within somebody's commit.
    async fn upkeep(&self) -> Result<(), StoreError> {
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
            .execute(&self.read)
            .await?;
        Ok(())
    }

    async fn close(&self) {
        self.write.close().await;
        self.read.close().await;
    }
}

fn bind_event<'q>(query: Bound<'q>, event: &'q Event) -> Bound<'q> {
    query
        .bind(event.id.0)
        .bind(event.scope.organization.0)
        .bind(event.scope.named_application().map(|application| application.0))
        .bind(&event.name)
        .bind(&event.event_type)
        .bind(event.data.get())
        .bind(event.headers.as_deref().map(RawValue::get))
        .bind(event.traceparent.as_deref())
        .bind(event.created_at.as_micros())
}

async fn insert_rejected(
    connection: &mut SqliteConnection,
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
    connection: &mut SqliteConnection,
    delivery: &Hopeless<i64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let [keep, fail] = sql::GIVE_UP;
    let (state, status, kind) = delivery.end();
    sqlx::query(keep)
        .bind(delivery.place)
        .bind(AttemptId::new(now).0)
        .bind(delivery.number)
        .bind(&delivery.delivered_name)
        .bind(&delivery.reason)
        .bind(now.as_micros())
        .bind(status as i16)
        .bind(kind)
        .execute(&mut *connection)
        .await?;
    sqlx::query(fail)
        .bind(delivery.place)
        .bind(delivery.number)
        .bind(state as i16)
        .execute(connection)
        .await?;
    delivery.log();
    Ok(())
}

/// Takes events out of the outbox.
async fn take_out(connection: &mut SqliteConnection, events: &[EventId]) -> Result<(), StoreError> {
    let gone = run(connection, events, sql::TAKE_OUT, |query, id| query.bind(id.0)).await?;
    if gone.len() < events.len() {
        // The others were written as text, by another program, or came from another source.
        run(connection, events, sql::TAKE_OUT, |query, id| {
            query.bind(id.to_string())
        })
        .await?;
    }
    Ok(())
}

fn bind_message<'q>(query: Bound<'q>, message: &'q Message) -> Bound<'q> {
    query
        .bind(message.event_id.0)
        .bind(message.scope.organization.0)
        .bind(message.scope.application.0)
        .bind(&message.event_name)
        .bind(&message.event_type)
        .bind(message.data.get())
        .bind(message.headers.as_deref().map(RawValue::get))
        .bind(message.traceparent.as_deref())
        .bind(message.created_at.as_micros())
}

fn bind_delivery<'q>(query: Bound<'q>, (message, delivery): &'q Fanned<'_>, grant: LeaseGrant) -> Bound<'q> {
    let (state, due_at) = match delivery.lease {
        Some(_) => (DeliveryState::Leased, grant.until),
        None => (DeliveryState::Waiting, grant.now),
    };
    query
        .bind(delivery.endpoint_id.0)
        .bind(message.event_id.0)
        .bind(message.scope.organization.0)
        .bind(state as i16)
        .bind(due_at.as_micros())
        .bind(delivery.lease.map(|lease| lease.0))
        .bind(delivery.lease.map(|_| grant.worker))
        .bind(&delivery.delivered_name)
        .bind(grant.now.as_micros())
}

fn bind_move<'q>(query: Bound<'q>, attempt: &'q AttemptRecord) -> Bound<'q> {
    query
        .bind(attempt.id.0)
        .bind(attempt.endpoint_id.0)
        .bind(attempt.event_id.0)
        .bind(attempt.disposition.state() as i16)
        .bind(rows::next_attempt_at(attempt))
        .bind(attempt.number)
        .bind(attempt.step)
}

fn bind_attempt<'q>(query: Bound<'q>, attempt: &'q AttemptRecord) -> Bound<'q> {
    query
        .bind(attempt.scope.organization.0)
        .bind(attempt.scope.application.0)
        .bind(attempt.id.0)
        .bind(attempt.endpoint_id.0)
        .bind(attempt.event_id.0)
        .bind(rows::storable(&attempt.event_name))
        .bind(attempt.number)
        .bind(attempt.manual)
        .bind(attempt.status as i16)
        .bind(rows::next_attempt_at(attempt))
        .bind(rows::storable(&attempt.url))
        .bind(attempt.http_status)
        .bind(attempt.error_kind)
        .bind(attempt.error_detail.as_deref().map(rows::storable))
        .bind(rows::storable(&attempt.request_headers))
        .bind(rows::storable(&attempt.response_headers))
        .bind(rows::storable(&attempt.response_body))
        .bind(attempt.duration_ms)
        .bind(attempt.started_at.as_micros())
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
