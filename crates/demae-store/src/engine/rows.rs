//! Decodes the columns that both backends read.
//!
//! Rows are decoded one by one: a row that cannot be read concerns itself only. What becomes of it is in
//! [`super::set_aside`].

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use demae_event::{
    ApplicationId, AttemptId, EndpointId, Event, EventId, OrganizationId, Scope, Timestamp,
    subscription::MAX_NAME_LENGTH,
};
use sea_orm::sqlx::{self, ColumnIndex, Row, error::UnexpectedNullError};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    Appended, AttemptRecord, Backlog, DeliveryState, Disposition, EVENTS_OF_OTHERS, LeaseGrant,
    LeasedDelivery, Message, OTHERS, PAYLOAD_LIMIT, READ_LIMIT_OF_OTHERS, RoutedMessage,
    readable::Readable,
    set_aside::{Hopeless, UnreadableRow},
};
use crate::{StoreError, repository::expunge};

/// The last microsecond of the year 9999, after which times have no text.
const LAST_MOMENT: i64 = 253_402_300_799_999_999;

pub(super) const ENDPOINTS_VERSION: &str = "SELECT value FROM counters WHERE name = 'endpoints'";

/// A column that must hold something. (SQLite gives 0 or an empty text for NULL to whoever does not ask.)
fn need<'r, R: Row, T: Readable<'r, R::Database>>(row: &'r R, name: &'static str) -> Result<T, StoreError>
where
    &'static str: ColumnIndex<R>,
{
    let value: Option<T> = row.try_get(name)?;
    value.ok_or_else(|| {
        sqlx::Error::ColumnDecode {
            index: format!("{name:?}"),
            source: Box::new(UnexpectedNullError),
        }
        .into()
    })
}

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
    /// `None` for the default one; a message always has one.
    pub(super) application_id: Option<Uuid>,
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
            id: need(row, "id")?,
            organization_id: need(row, "organization_id")?,
            application_id: row.try_get("application_id")?,
            event_name: need(row, "event_name")?,
            event_type: need(row, "event_type")?,
            payload: need(row, "payload")?,
            headers: row.try_get("headers")?,
            traceparent: row.try_get("traceparent")?,
            created_at: need(row, "created_at")?,
        })
    }

    /// Refuses what no source of events may offer.
    fn checked(self) -> Result<Self, StoreError> {
        let named = |name: &str| (1..=MAX_NAME_LENGTH).contains(&name.len());
        if !named(&self.event_name) || !named(&self.event_type) {
            return Err(StoreError::Unreadable(
                "event_name or event_type is empty or too long",
            ));
        }
        let is_object = |text: &str| text.trim_start().starts_with('{');
        if !is_object(&self.payload) {
            return Err(StoreError::Unreadable("payload is not a JSON object"));
        }
        if !self
            .headers
            .as_deref()
            .is_none_or(|text| is_object(text) || text == "null")
        {
            return Err(StoreError::Unreadable("headers is not a JSON object"));
        }
        if !(0..=LAST_MOMENT).contains(&self.created_at) {
            return Err(StoreError::Unreadable(
                "created_at lies outside the years 1970 to 9999",
            ));
        }
        Ok(self)
    }

    pub(super) fn into_event(self) -> Result<Event, StoreError> {
        Ok(Event {
            id: EventId(self.id),
            scope: Scope::new(
                OrganizationId(self.organization_id),
                self.application_id.map(ApplicationId),
            ),
            name: self.event_name,
            event_type: self.event_type,
            data: raw(self.payload)?,
            headers: self.headers.map(raw).transpose()?,
            traceparent: self.traceparent,
            created_at: Timestamp::from_micros(self.created_at),
        })
    }
}

/// What a read of the outbox found.
#[derive(Debug, Default)]
pub(super) struct OutboxPage {
    pub(super) events: Vec<Event>,
    pub(super) unreadable: Vec<UnreadableRow>,
    /// The position of the first row, readable or not.
    pub(super) first: Option<i64>,
}

impl OutboxPage {
    /// Position and reason of what cannot be an event.
    pub(super) fn into_unreadable(self) -> Vec<(i64, String)> {
        self.unreadable
            .into_iter()
            .map(|row| (row.position, row.reason))
            .collect()
    }
}

/// Decodes rows of the outbox, in the order in which they came, one by one: what was read is not here twice.
pub(super) fn outbox_page<R: Row>(rows: Vec<R>) -> Result<OutboxPage, StoreError>
where
    &'static str: ColumnIndex<R>,
    for<'r> Uuid: Readable<'r, R::Database>,
    for<'r> String: Readable<'r, R::Database>,
    for<'r> i64: Readable<'r, R::Database>,
{
    let mut page = OutboxPage {
        events: Vec::with_capacity(rows.len()),
        ..OutboxPage::default()
    };
    for row in rows {
        let position = row.try_get("position")?;
        page.first.get_or_insert(position);
        match outbox_event(&row) {
            Ok(event) => page.events.push(event),
            Err(error) if error.is_unreadable() => page.unreadable.push(UnreadableRow {
                position,
                reason: error.reason(),
            }),
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}

/// The rows in the order of insertion: a join promises none.
pub(super) fn in_order<R: Row>(rows: Vec<R>) -> Result<Vec<R>, StoreError>
where
    &'static str: ColumnIndex<R>,
    for<'r> i64: Readable<'r, R::Database>,
{
    let mut placed = Vec::with_capacity(rows.len());
    for row in rows {
        placed.push((row.try_get::<i64, _>("position")?, row));
    }
    placed.sort_by_key(|(position, _)| *position);
    Ok(placed.into_iter().map(|(_, row)| row).collect())
}

/// The organization of the last row of others, if its read ended at one of its bounds.
pub(super) fn left_out<R: Row>(rows: &[R]) -> Result<Option<Uuid>, StoreError>
where
    &'static str: ColumnIndex<R>,
    for<'r> Uuid: Readable<'r, R::Database>,
    for<'r> i64: Readable<'r, R::Database>,
{
    let mut organizations = HashSet::new();
    let mut bytes = 0;
    let mut last = None;
    for row in rows {
        let organization: Uuid = need(row, "organization_id")?;
        let size: i64 = row.try_get("size")?;
        bytes += size;
        organizations.insert(organization);
        last = Some(organization);
    }
    let is_bounded = rows.len() >= EVENTS_OF_OTHERS as usize
        || organizations.len() >= OTHERS as usize
        || bytes >= READ_LIMIT_OF_OTHERS as i64;
    Ok(last.filter(|_| is_bounded))
}

fn outbox_event<'r, R: Row>(row: &'r R) -> Result<Event, StoreError>
where
    &'static str: ColumnIndex<R>,
    Uuid: Readable<'r, R::Database>,
    String: Readable<'r, R::Database>,
    i64: Readable<'r, R::Database>,
{
    let size: i64 = row.try_get("size")?;
    if size > PAYLOAD_LIMIT as i64 {
        return Err(StoreError::Unreadable("the row has more than 16 MiB of text"));
    }
    OutboxRow::read(row)?.checked()?.into_event()
}

/// A due delivery and its message's columns, as the claim reads them. `place` is where to find it again.
pub(super) struct DueRow<P> {
    place: P,
    endpoint_id: Uuid,
    due_at: i64,
    attempts: i32,
    step: i32,
    manual: bool,
    resume: Option<(DeliveryState, Timestamp)>,
    delivered_name: String,
    is_expunged: bool,
    message: OutboxRow,
}

impl<P: Copy> DueRow<P> {
    /// Fails only if the database does; a row that cannot be read is a delivery that cannot be made.
    pub(super) fn read<'r, R: Row>(row: &'r R, place: P) -> Result<Result<Self, Hopeless<P>>, StoreError>
    where
        &'static str: ColumnIndex<R>,
        Uuid: Readable<'r, R::Database>,
        String: Readable<'r, R::Database>,
        bool: Readable<'r, R::Database>,
        i16: Readable<'r, R::Database>,
        i32: Readable<'r, R::Database>,
        i64: Readable<'r, R::Database>,
    {
        match Self::read_columns(row, place) {
            Ok(due) => Ok(Ok(due)),
            Err(error) if error.is_unreadable() => Ok(Err(Hopeless {
                place,
                delivered_name: row.try_get("delivered_name").unwrap_or_default(),
                number: row
                    .try_get::<i32, _>("attempts")
                    .unwrap_or_default()
                    .saturating_add(1),
                reason: error.reason(),
                is_expunged: false,
            })),
            Err(error) => Err(error),
        }
    }

    fn read_columns<'r, R: Row>(row: &'r R, place: P) -> Result<Self, StoreError>
    where
        &'static str: ColumnIndex<R>,
        Uuid: Readable<'r, R::Database>,
        String: Readable<'r, R::Database>,
        bool: Readable<'r, R::Database>,
        i16: Readable<'r, R::Database>,
        i32: Readable<'r, R::Database>,
        i64: Readable<'r, R::Database>,
    {
        if row.try_get::<Option<Uuid>, _>("id")?.is_none() {
            return Err(StoreError::Unreadable("the message of the delivery is gone"));
        }
        let resume = match row.try_get::<Option<i16>, _>("resume_state")? {
            Some(state) => Some((
                DeliveryState::from_number(state)?,
                Timestamp::from_micros(
                    row.try_get::<Option<i64>, _>("resume_due_at")?
                        .unwrap_or_default(),
                ),
            )),
            None => None,
        };
        Ok(Self {
            place,
            endpoint_id: need(row, "endpoint_id")?,
            due_at: need(row, "due_at")?,
            attempts: need(row, "attempts")?,
            step: need(row, "step")?,
            manual: need(row, "manual")?,
            resume,
            delivered_name: need(row, "delivered_name")?,
            is_expunged: row.try_get::<Option<i64>, _>("expunged_at")?.is_some(),
            message: OutboxRow::read(row)?,
        })
    }
}

/// What a claim found.
pub(super) struct Claimed<P> {
    pub(super) leased: Vec<LeasedDelivery>,
    pub(super) hopeless: Vec<Hopeless<P>>,
}

/// Turns claimed rows into leases, the longest due first; deliveries of the same message share it.
pub(super) fn lease<P>(rows: Vec<Result<DueRow<P>, Hopeless<P>>>, grant: LeaseGrant) -> Claimed<P> {
    let mut hopeless = Vec::new();
    let mut due = Vec::with_capacity(rows.len());
    for row in rows {
        match row {
            Ok(row) => due.push(row),
            Err(row) => hopeless.push(row),
        }
    }
    // The statement reads each lane in this order, but a join promises none.
    due.sort_by_key(|row| row.due_at);
    let mut leased = Vec::with_capacity(due.len());
    let mut messages: HashMap<Uuid, Arc<Message>> = HashMap::new();
    for row in due {
        let id = row.message.id;
        if row.is_expunged {
            hopeless.push(Hopeless {
                place: row.place,
                delivered_name: row.delivered_name,
                number: row.attempts.saturating_add(1),
                reason: expunge::REASON.to_owned(),
                is_expunged: true,
            });
            continue;
        }
        let message = if let Some(message) = messages.get(&id) {
            message.clone()
        } else {
            match row.message.into_event() {
                Ok(event) => messages
                    .entry(id)
                    .insert_entry(Arc::new(Message::from(event)))
                    .get()
                    .clone(),
                Err(error) => {
                    hopeless.push(Hopeless {
                        place: row.place,
                        delivered_name: row.delivered_name,
                        number: row.attempts.saturating_add(1),
                        reason: error.reason(),
                        is_expunged: false,
                    });
                    continue;
                }
            }
        };
        leased.push(LeasedDelivery {
            endpoint_id: EndpointId(row.endpoint_id),
            lease: AttemptId::new(grant.now),
            lease_until: grant.until,
            due_at: Timestamp::from_micros(row.due_at),
            attempts: row.attempts.unsigned_abs(),
            step: row.step.unsigned_abs(),
            manual: row.manual,
            resume: row.resume,
            delivered_name: row.delivered_name,
            message,
        });
    }
    Claimed { leased, hopeless }
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

fn lane<'r, R: Row>(row: &'r R) -> Result<(EndpointId, Timestamp), StoreError>
where
    usize: ColumnIndex<R>,
    Uuid: Readable<'r, R::Database>,
    i64: Readable<'r, R::Database>,
{
    Ok((
        EndpointId(row.try_get(0)?),
        Timestamp::from_micros(row.try_get(1)?),
    ))
}

/// Lanes with something waiting. One whose row cannot be read is left out.
pub(super) fn lanes<'r, R: Row>(rows: &'r [R]) -> Result<Vec<(EndpointId, Timestamp)>, StoreError>
where
    usize: ColumnIndex<R>,
    Uuid: Readable<'r, R::Database>,
    i64: Readable<'r, R::Database>,
{
    let mut lanes = Vec::with_capacity(rows.len());
    for row in rows {
        match lane(row) {
            Ok(lane) => lanes.push(lane),
            Err(error) if error.is_unreadable() => {
                tracing::error!(
                    table = "deliveries",
                    reason = error.reason(),
                    "a row cannot be read; it is left out"
                );
            }
            Err(error) => return Err(error),
        }
    }
    Ok(lanes)
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
