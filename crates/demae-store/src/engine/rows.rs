//! What both backends make of the columns they read.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use demae_event::{AttemptId, EndpointId, Event, EventId, OrganizationId, Timestamp};
use sea_orm::sqlx::{ColumnIndex, Database, Decode, Row, Type};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    Appended, AttemptRecord, Backlog, DeliveryState, Disposition, LeaseGrant, LeasedDelivery, Message,
    RoutedMessage,
};
use crate::StoreError;

pub(super) const ENDPOINTS_VERSION: &str = "SELECT value FROM counters WHERE name = 'endpoints'";

/// What a column of database `D` can hold.
pub(super) trait Readable<'r, D: Database>: Decode<'r, D> + Type<D> {}

impl<'r, D: Database, T: Decode<'r, D> + Type<D>> Readable<'r, D> for T {}

/// The ids in the first column.
pub(super) fn ids<'r, R: Row>(rows: &'r [R]) -> Result<Vec<Uuid>, StoreError>
where
    usize: ColumnIndex<R>,
    Uuid: Readable<'r, R::Database>,
{
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// A row of the outbox.
pub(super) struct OutboxRow {
    pub(super) id: Uuid,
    pub(super) organization_id: Uuid,
    pub(super) event_name: String,
    pub(super) event_type: String,
    pub(super) payload: String,
    pub(super) headers: Option<String>,
    pub(super) traceparent: Option<String>,
    pub(super) created_at: i64,
}

impl OutboxRow {
    pub(super) fn read<'r, R: Row>(row: &'r R) -> Result<Self, StoreError>
    where
        &'static str: ColumnIndex<R>,
        Uuid: Readable<'r, R::Database>,
        String: Readable<'r, R::Database>,
        i64: Readable<'r, R::Database>,
    {
        Ok(Self {
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

    pub(super) fn into_event(self) -> Result<Event, StoreError> {
        Ok(Event {
            id: EventId(self.id),
            organization_id: OrganizationId(self.organization_id),
            name: self.event_name,
            event_type: self.event_type,
            data: raw(self.payload)?,
            headers: self.headers.map(raw).transpose()?,
            traceparent: self.traceparent,
            created_at: Timestamp::from_micros(self.created_at),
        })
    }
}

/// A due delivery and its message's columns, as the claim reads them.
pub(super) struct DueRow {
    pub(super) endpoint_id: Uuid,
    pub(super) due_at: i64,
    pub(super) attempts: i32,
    pub(super) step: i32,
    pub(super) manual: bool,
    pub(super) resume_state: Option<i16>,
    pub(super) resume_due_at: Option<i64>,
    pub(super) delivered_name: String,
    pub(super) message: OutboxRow,
}

impl DueRow {
    pub(super) fn read<'r, R: Row>(row: &'r R) -> Result<Self, StoreError>
    where
        &'static str: ColumnIndex<R>,
        Uuid: Readable<'r, R::Database>,
        String: Readable<'r, R::Database>,
        bool: Readable<'r, R::Database>,
        i16: Readable<'r, R::Database>,
        i32: Readable<'r, R::Database>,
        i64: Readable<'r, R::Database>,
    {
        Ok(Self {
            endpoint_id: row.try_get("endpoint_id")?,
            due_at: row.try_get("due_at")?,
            attempts: row.try_get("attempts")?,
            step: row.try_get("step")?,
            manual: row.try_get("manual")?,
            resume_state: row.try_get("resume_state")?,
            resume_due_at: row.try_get("resume_due_at")?,
            delivered_name: row.try_get("delivered_name")?,
            message: OutboxRow::read(row)?,
        })
    }
}

/// Turns claimed rows into leases, the longest due first; deliveries of the same message share it.
pub(super) fn lease(mut rows: Vec<DueRow>, grant: LeaseGrant) -> Result<Vec<LeasedDelivery>, StoreError> {
    // The statement reads each lane in this order, but a join promises none.
    rows.sort_by_key(|row| row.due_at);
    let mut messages: HashMap<Uuid, Arc<Message>> = HashMap::new();
    rows.into_iter()
        .map(|row| {
            let id = row.message.id;
            let message = if let Some(message) = messages.get(&id) {
                message.clone()
            } else {
                let message = Arc::new(Message::from(row.message.into_event()?));
                messages.insert(id, message.clone());
                message
            };
            let resume = match (row.resume_state, row.resume_due_at) {
                (Some(state), due_at) => Some((
                    DeliveryState::from_number(state)?,
                    Timestamp::from_micros(due_at.unwrap_or_default()),
                )),
                (None, _) => None,
            };
            Ok(LeasedDelivery {
                endpoint_id: EndpointId(row.endpoint_id),
                lease: AttemptId::new(grant.now),
                lease_until: grant.until,
                due_at: Timestamp::from_micros(row.due_at),
                attempts: row.attempts.unsigned_abs(),
                step: row.step.unsigned_abs(),
                manual: row.manual,
                resume,
                delivered_name: row.delivered_name,
                message,
            })
        })
        .collect()
}

/// Which of `events` are among the ids that the database says it wrote; the second of two equal ids is a duplicate.
pub(super) fn appended(events: &[Event], written: Vec<Uuid>) -> Vec<Appended> {
    among(events.iter().map(|event| event.id.0), written)
        .into_iter()
        .map(|new| if new { Appended::New } else { Appended::Duplicate })
        .collect()
}

/// For each of `offered`, whether it is among `taken`; of equal ones only the first is.
pub(super) fn among(offered: impl Iterator<Item = Uuid>, taken: Vec<Uuid>) -> Vec<bool> {
    let mut taken: HashSet<Uuid> = taken.into_iter().collect();
    offered.map(|id| taken.remove(&id)).collect()
}

/// `messages` without those whose event came before in the same call. It happens: to SQLite's unique index, an id
/// that another program wrote as text is not the same as its bytes.
pub(super) fn distinct(messages: &[RoutedMessage]) -> Vec<&RoutedMessage> {
    let mut seen = HashSet::with_capacity(messages.len());
    messages
        .iter()
        .filter(|routed| seen.insert(routed.message.event_id))
        .collect()
}

/// When a recorded attempt's delivery is due again, if it is.
pub(super) fn next_attempt_at(attempt: &AttemptRecord) -> Option<i64> {
    match attempt.disposition {
        Disposition::Finish(_) => None,
        Disposition::Retry(due_at) => Some(due_at.as_micros()),
    }
}

/// Text from outside as both databases take it: Postgres has no NUL character in text, and the one that a receiver
/// sends must not make the whole batch fail.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}").into()
    } else {
        text.into()
    }
}

pub(super) fn lanes(rows: Vec<(Uuid, i64)>) -> Vec<(EndpointId, Timestamp)> {
    rows.into_iter()
        .map(|(id, due_at)| (EndpointId(id), Timestamp::from_micros(due_at)))
        .collect()
}

pub(super) fn backlog<'r, R: Row>(
    counts: &'r R,
    lanes: &[(EndpointId, Timestamp)],
) -> Result<Backlog, StoreError>
where
    &'static str: ColumnIndex<R>,
    i64: Readable<'r, R::Database>,
{
    let count = |name| Ok::<_, StoreError>(counts.try_get::<i64, &'static str>(name)?.unsigned_abs());
    Ok(Backlog {
        unrouted: count("unrouted")?,
        waiting: count("waiting")?,
        leased: count("leased")?,
        oldest_unrouted: counts
            .try_get::<Option<i64>, _>("oldest_unrouted")?
            .map(Timestamp::from_micros),
        oldest_due: lanes.iter().map(|(_, due_at)| *due_at).min(),
    })
}

fn raw(text: String) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(text).map_err(|_| StoreError::Unreadable("a payload is not JSON"))
}
