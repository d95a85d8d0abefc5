//! Messages: routed events, and those still in the outbox.

use std::collections::{HashMap, HashSet};

use demae_event::{EndpointId, Event, EventId, Scope, Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QueryOrder,
    QueryResult, QuerySelect, Select, Statement,
    sea_query::{Expr, ExprTrait as _, Func, LockBehavior, LockType, OnConflict},
};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    Listing, PAGE_BYTES, Page,
    columns::{Columns, leave_out, readable, rows},
    page::within,
    scoped::{endpoints_of, in_scope, scope_of},
};
use crate::{
    StoreError, Transaction,
    engine::{DeliveryState, Message, PAYLOAD_LIMIT},
    entity::{
        delivery,
        message::{ActiveModel, Column, Entity, Model},
    },
};

const TABLE: &str = "messages";

/// What a delivery adds to the size of its message in a page, in bytes.
const DELIVERY_SIZE: u64 = 256;
/// How many rows a page of a filtered list looks at before it stops with what it has.
pub const SCAN_LIMIT: u64 = 10_000;

/// A place in the list of messages: after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageCursor {
    /// When the event was written.
    pub created_at: Timestamp,
    /// The event.
    pub event_id: EventId,
}

/// A message as it is found.
#[derive(Debug)]
pub struct StoredMessage {
    /// The message.
    pub message: Message,
    /// Why some of it cannot be read. That is empty then, and the payload an empty object.
    pub unreadable: Option<String>,
}

/// A message without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageHead {
    /// The event.
    pub event_id: EventId,
    /// Its (seed) name.
    pub event_name: String,
    /// Its type.
    pub event_type: String,
    /// When the event was written.
    pub created_at: Timestamp,
    /// Bytes of its payload and its headers.
    pub size: u64,
}

impl MessageHead {
    /// Its place in the list.
    pub fn cursor(&self) -> MessageCursor {
        MessageCursor {
            created_at: self.created_at,
            event_id: self.event_id,
        }
    }
}

/// Which messages are wanted.
#[derive(Debug, Clone, Default)]
pub struct MessageFilter {
    /// Those with one of these (seed) names; `None` for any.
    pub event_names: Option<Vec<String>>,
    /// Those of this type.
    pub event_type: Option<String>,
    /// Written then or later.
    pub since: Option<Timestamp>,
    /// Written before.
    pub until: Option<Timestamp>,
}

impl MessageFilter {
    fn is_selective(&self) -> bool {
        self.event_names.is_some() || self.event_type.is_some()
    }
}

/// Where a message is going.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageDelivery {
    /// The message's event.
    pub event_id: EventId,
    /// The endpoint.
    pub endpoint_id: EndpointId,
    /// How far it is.
    pub state: DeliveryState,
    /// Attempts recorded.
    pub attempts: u32,
    /// When the next attempt is due, if it waits.
    pub due_at: Timestamp,
    /// The name form that the endpoint receives.
    pub delivered_name: String,
}

/// Writes a message that is not routed by a router; `false` if there is one of this event.
pub async fn insert(transaction: &mut Transaction, event: &Event) -> Result<bool, StoreError> {
    let row = ActiveModel::from(Model {
        event_id: event.id.0,
        organization_id: event.scope.organization.0,
        application_id: event.scope.application.0,
        event_name: event.name.clone(),
        event_type: event.event_type.clone(),
        payload: event.data.get().to_owned(),
        headers: event.headers.as_ref().map(|headers| headers.get().to_owned()),
        traceparent: event.traceparent.clone(),
        created_at: event.created_at.as_micros(),
        expunged_at: None,
    });
    let written = Entity::insert(row)
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(transaction.connection())
        .await?;
    Ok(written == 1)
}

/// The message that carries an event.
pub async fn find(
    connection: &impl ConnectionTrait,
    scope: Scope,
    event: EventId,
) -> Result<Option<StoredMessage>, StoreError> {
    Ok(find_many(connection, scope, &[event]).await?.pop())
}

/// Those of `events` that are messages, in no order.
pub async fn find_many(
    connection: &impl ConnectionTrait,
    scope: Scope,
    events: &[EventId],
) -> Result<Vec<StoredMessage>, StoreError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let query = Entity::find()
        .filter(Column::EventId.is_in(events.iter().map(|event| event.0)))
        .filter(in_scope::<Entity>(scope));
    let rows = rows(connection, query).await?;
    Ok(rows.iter().filter_map(stored).collect())
}

/// An event that is written but not routed yet. (A moment later it is a message; ask for that once more.)
pub async fn find_unrouted(
    connection: &impl ConnectionTrait,
    scope: Scope,
    event: EventId,
) -> Result<Option<Message>, StoreError> {
    let backend = connection.get_database_backend();
    // Writers in other languages may have left an id as text in SQLite.
    let (sql, ids): (_, Vec<sea_orm::Value>) = if backend == DbBackend::Postgres {
        (
            "SELECT id AS event_id, organization_id, $4::uuid AS application_id, event_name, event_type, \
             COALESCE(raw, payload::text) AS payload, COALESCE(raw_headers, headers::text) AS headers, traceparent, \
             (extract(epoch FROM created_at) * 1e6)::bigint AS created_at, NULL::bigint AS expunged_at \
             FROM outbox_events WHERE id = $1 AND organization_id = $2 AND size <= $3 \
             AND COALESCE(application_id, organization_id) = $4",
            vec![
                event.0.into(),
                scope.organization.0.into(),
                (PAYLOAD_LIMIT as i64).into(),
                scope.application.0.into(),
            ],
        )
    } else {
        (
            "SELECT ?1 AS event_id, ?2 AS organization_id, ?5 AS application_id, event_name, event_type, \
             CAST(COALESCE(raw, payload) AS TEXT) AS payload, CAST(COALESCE(raw_headers, headers) AS TEXT) AS headers, \
             traceparent, COALESCE(CAST(unixepoch(created_at, 'subsec') * 1000000 AS INTEGER), 0) AS created_at, \
             NULL AS expunged_at \
             FROM outbox_events WHERE id IN (?1, ?3) AND organization_id IN (?2, ?4) \
             AND COALESCE(application_id, organization_id) IN (?5, ?6)",
            vec![
                event.0.into(),
                scope.organization.0.into(),
                event.0.to_string().into(),
                scope.organization.0.to_string().into(),
                scope.application.0.into(),
                scope.application.0.to_string().into(),
            ],
        )
    };
    let row = Model::find_by_statement(Statement::from_sql_and_values(backend, sql, ids))
        .one(connection)
        .await?;
    row.map(message).transpose()
}

/// The messages of an application, newest first.
///
/// Sizes are read before payloads: a page of large messages, or of messages with many deliveries, is short and has a next
/// one.
pub async fn list(
    connection: &impl ConnectionTrait,
    scope: Scope,
    filter: &MessageFilter,
    page: Page<MessageCursor>,
) -> Result<Listing<StoredMessage, MessageCursor>, StoreError> {
    let range = range(scope, filter, page.after);
    let floor = if filter.is_selective() {
        nth(connection, &range, SCAN_LIMIT).await?
    } else {
        None
    };
    let mut query = range.limit(page.rows());
    if let Some(floor) = floor {
        query = query.filter(place().gte(tuple(floor)));
    }
    if let Some(names) = &filter.event_names {
        query = query.filter(Column::EventName.is_in(names.iter().map(String::as_str)));
    }
    if let Some(event_type) = &filter.event_type {
        query = query.filter(Column::EventType.eq(event_type.as_str()));
    }
    let heads = heads(query, connection).await?;
    let listing = Listing::cut_by_size(heads, &page, |head| head.size, MessageHead::cursor);
    let listing = cut_by_deliveries(connection, scope, listing).await?;
    let ids: Vec<EventId> = listing.items.iter().map(|head| head.event_id).collect();
    let mut items = find_many(connection, scope, &ids).await?;
    items.sort_unstable_by_key(|StoredMessage { message, .. }| {
        std::cmp::Reverse((message.created_at, message.event_id))
    });
    Ok(Listing {
        items,
        next: listing.next.or(floor),
    })
}

/// Those of the newest messages of all organizations that cannot be read, and why. Looks at `rows` messages with `bytes` of
/// text at most.
pub(crate) async fn unreadable(
    connection: &impl ConnectionTrait,
    rows: u64,
    bytes: u64,
) -> Result<Vec<(EventId, String)>, StoreError> {
    let newest = Entity::find().order_by_desc(Column::EventId).limit(rows);
    let mut heads = heads(newest, connection).await?;
    heads.truncate(within(bytes, heads.iter().map(|head| head.size)));
    let mut found = Vec::new();
    let mut rest = heads.as_slice();
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(within(PAGE_BYTES, rest.iter().map(|head| head.size)));
        rest = behind;
        let query = Entity::find().filter(Column::EventId.is_in(part.iter().map(|head| head.event_id.0)));
        let rows = self::rows(connection, query).await?;
        let stored = rows.iter().filter_map(stored);
        found.extend(stored.filter_map(|stored| Some((stored.message.event_id, stored.unreadable?))));
    }
    Ok(found)
}

/// Ends the page earlier where its messages have many deliveries.
async fn cut_by_deliveries(
    connection: &impl ConnectionTrait,
    scope: Scope,
    mut listing: Listing<MessageHead, MessageCursor>,
) -> Result<Listing<MessageHead, MessageCursor>, StoreError> {
    if listing.items.is_empty() {
        return Ok(listing);
    }
    let ids = listing.items.iter().map(|head| head.event_id);
    let counts: Vec<(Uuid, i64)> = deliveries_of(scope, ids)
        .select_only()
        .column(delivery::Column::EventId)
        .expr_as(delivery::Column::EventId.count(), "deliveries")
        .group_by(delivery::Column::EventId)
        .into_tuple()
        .all(connection)
        .await?;
    let counts: HashMap<Uuid, u64> = counts
        .into_iter()
        .map(|(id, count)| (id, count.unsigned_abs()))
        .collect();
    let size = |head: &MessageHead| {
        head.size + counts.get(&head.event_id.0).copied().unwrap_or_default() * DELIVERY_SIZE
    };
    let kept = within(PAGE_BYTES, listing.items.iter().map(size));
    if kept < listing.items.len() {
        listing.items.truncate(kept);
        listing.next = listing.items.last().map(MessageHead::cursor);
    }
    Ok(listing)
}

/// The next `limit` messages after `after` that can be sent, oldest first, written within `[since, until)`. They stay as
/// they are until the transaction ends.
pub async fn walk(
    transaction: &mut Transaction,
    scope: Scope,
    window: (Timestamp, Timestamp),
    after: Option<MessageCursor>,
    limit: u64,
) -> Result<Vec<MessageHead>, StoreError> {
    let query = oldest(scope, window, after, limit)
        .filter(Column::ExpungedAt.is_null())
        .lock_shared();
    heads(query, transaction.connection()).await
}

/// The same, for somebody who removes them: until the transaction ends nobody else holds or removes one of them, and no
/// delivery of them is written. Those that somebody holds already are passed over.
pub(super) async fn walk_to_remove(
    transaction: &mut Transaction,
    scope: Scope,
    window: (Timestamp, Timestamp),
    after: Option<MessageCursor>,
    limit: u64,
) -> Result<Vec<MessageHead>, StoreError> {
    let query =
        oldest(scope, window, after, limit).lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    heads(query, transaction.connection()).await
}

/// Which of these messages are there. They stay until the transaction ends.
pub(super) async fn hold(
    transaction: &mut Transaction,
    scope: Scope,
    events: impl IntoIterator<Item = Uuid>,
) -> Result<HashSet<Uuid>, StoreError> {
    let held: Vec<Uuid> = Entity::find()
        .select_only()
        .column(Column::EventId)
        .filter(Column::EventId.is_in(events))
        .filter(in_scope::<Entity>(scope))
        .order_by_asc(Column::EventId)
        .lock_shared()
        .into_tuple()
        .all(transaction.connection())
        .await?;
    Ok(held.into_iter().collect())
}

fn oldest(
    scope: Scope,
    (since, until): (Timestamp, Timestamp),
    after: Option<MessageCursor>,
    limit: u64,
) -> Select<Entity> {
    let mut query = Entity::find()
        .filter(in_scope::<Entity>(scope))
        .filter(Column::CreatedAt.gte(since.as_micros()))
        .filter(Column::CreatedAt.lt(until.as_micros()))
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::EventId)
        .limit(limit);
    if let Some(after) = after {
        query = query.filter(place().gt(tuple(after)));
    }
    query
}

/// Reads everything of these messages but their payloads. Neither database reads a long text to learn its length.
async fn heads(
    query: Select<Entity>,
    connection: &impl ConnectionTrait,
) -> Result<Vec<MessageHead>, StoreError> {
    let length = |column: Column| Func::cust("octet_length").arg(Expr::col(column));
    let query = query
        .select_only()
        .columns([
            Column::EventId,
            Column::EventName,
            Column::EventType,
            Column::CreatedAt,
        ])
        .expr_as(length(Column::Payload), "payload_size")
        .expr_as(length(Column::Headers), "headers_size");
    let rows = rows(connection, query).await?;
    let heads = rows.iter().filter_map(|row| {
        // What cannot be read of it is told with the whole message.
        let (id, mut columns) = Columns::of(row, TABLE, "event_id")?;
        let mut size = |name| {
            u64::from(
                columns
                    .get::<Option<i32>>(name)
                    .unwrap_or_default()
                    .unsigned_abs(),
            )
        };
        let size = size("payload_size") + size("headers_size");
        Some(MessageHead {
            event_id: EventId(id),
            event_name: columns.get("event_name"),
            event_type: columns.get("event_type"),
            created_at: Timestamp::from_micros(columns.get("created_at")),
            size,
        })
    });
    Ok(heads.collect())
}

/// Where these messages are going, or went.
pub async fn deliveries(
    connection: &impl ConnectionTrait,
    scope: Scope,
    events: &[EventId],
) -> Result<Vec<MessageDelivery>, StoreError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let query = deliveries_of(scope, events.iter().copied())
        .order_by_asc(delivery::Column::EventId)
        .order_by_asc(delivery::Column::EndpointId);
    let rows: Vec<delivery::Model> = readable("deliveries", &rows(connection, query).await?);
    let deliveries = rows
        .into_iter()
        .filter_map(|row| match DeliveryState::from_number(row.state) {
            Ok(state) => Some(MessageDelivery {
                event_id: EventId(row.event_id),
                endpoint_id: EndpointId(row.endpoint_id),
                state,
                attempts: row.attempts.unsigned_abs(),
                due_at: Timestamp::from_micros(row.due_at),
                delivered_name: row.delivered_name,
            }),
            Err(error) => {
                leave_out("deliveries", &error);
                None
            }
        });
    Ok(deliveries.collect())
}

/// Deliveries are found by endpoint and event, and an application's endpoints are few.
fn deliveries_of(scope: Scope, events: impl IntoIterator<Item = EventId>) -> Select<delivery::Entity> {
    delivery::Entity::find()
        .filter(delivery::Column::EndpointId.in_subquery(endpoints_of(scope)))
        .filter(delivery::Column::EventId.is_in(events.into_iter().map(|event| event.0)))
}

fn range(scope: Scope, filter: &MessageFilter, after: Option<MessageCursor>) -> Select<Entity> {
    let mut query = Entity::find()
        .filter(in_scope::<Entity>(scope))
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::EventId);
    if let Some(since) = filter.since {
        query = query.filter(Column::CreatedAt.gte(since.as_micros()));
    }
    if let Some(until) = filter.until {
        query = query.filter(Column::CreatedAt.lt(until.as_micros()));
    }
    if let Some(after) = after {
        query = query.filter(place().lt(tuple(after)));
    }
    query
}

/// The `n`th message of the range, if it has so many.
async fn nth(
    connection: &impl ConnectionTrait,
    range: &Select<Entity>,
    n: u64,
) -> Result<Option<MessageCursor>, StoreError> {
    let found: Option<(i64, Uuid)> = range
        .clone()
        .select_only()
        .column(Column::CreatedAt)
        .column(Column::EventId)
        .offset(n.saturating_sub(1))
        .limit(1)
        .into_tuple()
        .one(connection)
        .await?;
    Ok(found.map(|(created_at, event_id)| MessageCursor {
        created_at: Timestamp::from_micros(created_at),
        event_id: EventId(event_id),
    }))
}

fn place() -> Expr {
    Expr::tuple([Expr::col(Column::CreatedAt), Expr::col(Column::EventId)])
}

fn tuple(cursor: MessageCursor) -> Expr {
    Expr::tuple([
        Expr::value(cursor.created_at.as_micros()),
        Expr::value(cursor.event_id.0),
    ])
}

/// A message; `None`, and in the log, if not even its id can be read.
fn stored(row: &QueryResult) -> Option<StoredMessage> {
    let (id, mut columns) = Columns::of(row, TABLE, "event_id")?;
    let has_headers = !matches!(row.try_get::<Option<String>>("", "headers"), Ok(None));
    let expunged_at: Option<i64> = columns.get("expunged_at");
    let message = Message {
        event_id: EventId(id),
        scope: scope_of(columns.get("organization_id"), columns.get("application_id")),
        event_name: columns.get("event_name"),
        event_type: columns.get("event_type"),
        data: match expunged_at {
            Some(_) => RawValue::NULL.to_owned(),
            None => columns.json("payload", "the payload is not JSON"),
        },
        headers: has_headers.then(|| columns.json("headers", "the headers are not JSON")),
        traceparent: columns.get("traceparent"),
        created_at: Timestamp::from_micros(columns.get("created_at")),
        expunged_at: expunged_at.map(Timestamp::from_micros),
    };
    Some(StoredMessage {
        message,
        unreadable: columns.fault().map(str::to_owned),
    })
}

fn message(row: Model) -> Result<Message, StoreError> {
    let raw = |text| RawValue::from_string(text).map_err(|_| StoreError::Unreadable("a payload is not JSON"));
    Ok(Message {
        event_id: EventId(row.event_id),
        scope: scope_of(row.organization_id, row.application_id),
        event_name: row.event_name,
        event_type: row.event_type,
        data: raw(row.payload)?,
        headers: row.headers.map(raw).transpose()?,
        traceparent: row.traceparent,
        created_at: Timestamp::from_micros(row.created_at),
        expunged_at: row.expunged_at.map(Timestamp::from_micros),
    })
}
