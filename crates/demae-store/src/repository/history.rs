//! The history: every attempt that was made, and those being made.
//!
//! Finished attempts are read by the primary key `(application_id, id)`, newest first; ids are time-ordered. Filters
//! other than endpoint and event have no index: a page looks at [`SCAN_LIMIT`] rows at most and may therefore be short
//! and still have a next one; so may one whose answers are long (`PAGE_BYTES`). Attempts under way are the leased deliveries: few, and shown on the first page only, with
//! their lease as their id, under which they are found again when they are finished.

use std::{collections::HashMap, time::Duration};

use demae_event::{AttemptId, EndpointId, EventId, Scope, Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, Select,
    sea_query::{Expr, ExprTrait as _, Func},
};
use uuid::Uuid;

use super::{
    Listing, Page,
    columns::{Columns, readable, rows},
    scoped::{in_scope, is_delivery_of},
};
use crate::{
    StoreError,
    engine::{AttemptStatus, DeliveryState},
    entity::{
        attempt::{Column, Entity},
        delivery, endpoint, message,
    },
};

const HEADERS: &str = "an attempt's headers are not JSON";

/// How many rows a page of a filtered history looks at before it stops with what it has.
pub const SCAN_LIMIT: u64 = 10_000;

/// How much earlier or later than its `started_at` an attempt's id can have been made: ids are given with the lease.
pub(super) const ID_TIME_SLACK: Duration = Duration::from_hours(1);

/// How an attempt went, or that it still goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HistoryStatus {
    /// Under way.
    Sending,
    /// Finished like this.
    Finished(AttemptStatus),
}

/// Which attempts are wanted.
#[derive(Debug, Clone, Default)]
pub struct HistoryFilter {
    /// Those in one of these; `None` for any.
    pub statuses: Option<Vec<HistoryStatus>>,
    /// Those of events with one of these (seed) names; `None` for any.
    pub event_names: Option<Vec<String>>,
    /// Those of this event.
    pub event_id: Option<EventId>,
    /// Those to this endpoint.
    pub endpoint_id: Option<EndpointId>,
    /// Begun then or later.
    pub since: Option<Timestamp>,
    /// Begun before.
    pub until: Option<Timestamp>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The attempt.
    pub id: AttemptId,
    /// Where to.
    pub endpoint_id: EndpointId,
    /// What.
    pub event_id: EventId,
    /// The event's own (seed) name.
    pub event_name: String,
    /// The event's type; `None` once its message is gone.
    pub event_type: Option<String>,
    /// When the event was written; `None` once its message is gone.
    pub event_created_at: Option<Timestamp>,
    /// How it went.
    pub status: HistoryStatus,
    /// 1 for the first attempt of a delivery.
    pub number: u32,
    /// Asked for by a person.
    pub manual: bool,
    /// The URL it went to.
    pub url: String,
    /// When the next attempt is due, if one is planned.
    pub next_attempt_at: Option<Timestamp>,
    /// When the exchange began; for one under way, when the delivery was written or last planned.
    pub started_at: Timestamp,
    /// What came back; `None` while it is under way.
    pub outcome: Option<Outcome>,
}

/// What came of a finished attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The HTTP status, if there was an answer.
    pub http_status: Option<u16>,
    /// The kind of error (snake case), if there was one.
    pub error_kind: Option<String>,
    /// What a person should read about the error.
    pub error_detail: Option<String>,
    /// JSON object of the headers that were sent, secrets masked.
    pub request_headers: String,
    /// JSON object of the headers that came back.
    pub response_headers: String,
    /// The beginning of the body that came back.
    pub response_body: String,
    /// Milliseconds from the start of the exchange to its end.
    pub duration_ms: u32,
}

/// A page of the history, newest first.
///
/// The first page begins with the attempts under way, if they are wanted.
pub async fn list(
    connection: &impl ConnectionTrait,
    scope: Scope,
    filter: &HistoryFilter,
    page: Page<AttemptId>,
) -> Result<Listing<HistoryEntry, AttemptId>, StoreError> {
    let limit = page.bounded();
    let mut items = Vec::new();
    if page.after.is_none() && filter.wants(HistoryStatus::Sending) {
        items = sending(connection, scope, filter, limit as u64).await?;
    }
    let finished = filter.finished_statuses();
    let mut next = None;
    if items.len() >= limit {
        // No room for finished ones: the next page begins with the newest of them.
        next = finished
            .as_ref()
            .is_none_or(|wanted| !wanted.is_empty())
            .then_some(AttemptId(Uuid::max()));
    } else if finished.as_ref().is_none_or(|wanted| !wanted.is_empty()) {
        let rest = Page {
            limit: (limit - items.len()) as u32,
            after: page.after,
        };
        let listing = attempts(connection, scope, filter, finished, rest).await?;
        next = listing.next;
        items.extend(listing.items);
    }
    add_messages(connection, scope, &mut items).await?;
    Ok(Listing { items, next })
}

/// One attempt, finished or under way.
pub async fn find(
    connection: &impl ConnectionTrait,
    scope: Scope,
    id: AttemptId,
) -> Result<Option<HistoryEntry>, StoreError> {
    let finished = rows(
        connection,
        Entity::find_by_id((scope.application.0, id.0)).filter(in_scope::<Entity>(scope)),
    )
    .await?;
    let finished: Vec<_> = finished.iter().filter_map(entry).collect();
    let mut found = if finished.is_empty() {
        // Only the leased deliveries are looked through; their index holds no others.
        let query = leased(scope).filter(delivery::Column::Lease.eq(id.0)).limit(1);
        under_way(connection, scope, query).await?
    } else {
        finished
    };
    add_messages(connection, scope, &mut found).await?;
    Ok(found.pop())
}

impl HistoryFilter {
    fn wants(&self, status: HistoryStatus) -> bool {
        self.statuses
            .as_ref()
            .is_none_or(|wanted| wanted.contains(&status))
    }

    /// The statuses of finished attempts that are wanted; `None` for all.
    fn finished_statuses(&self) -> Option<Vec<i16>> {
        let wanted = self.statuses.as_ref()?.iter().filter_map(|status| match status {
            HistoryStatus::Sending => None,
            HistoryStatus::Finished(status) => Some(*status as i16),
        });
        Some(wanted.collect())
    }

    fn needs_scan(&self) -> bool {
        self.statuses.is_some() || self.event_names.is_some()
    }
}

async fn attempts(
    connection: &impl ConnectionTrait,
    scope: Scope,
    filter: &HistoryFilter,
    statuses: Option<Vec<i16>>,
    page: Page<AttemptId>,
) -> Result<Listing<HistoryEntry, AttemptId>, StoreError> {
    let range = range(scope, filter, page.after);
    let floor = if filter.needs_scan() {
        nth(connection, &range, SCAN_LIMIT).await?
    } else {
        None
    };
    let mut query = range.limit(page.rows());
    if let Some(floor) = floor {
        query = query.filter(Column::Id.gte(floor.0));
    }
    if let Some(statuses) = statuses {
        query = query.filter(Column::Status.is_in(statuses));
    }
    if let Some(names) = &filter.event_names {
        query = query.filter(Column::EventName.is_in(names.iter().map(String::as_str)));
    }
    let sizes = sizes(query, connection).await?;
    let listing = Listing::cut_by_size(sizes, &page, |(_, size)| *size, |(id, _)| AttemptId(*id));
    let next = listing.next.or(floor);
    if listing.items.is_empty() {
        return Ok(Listing {
            items: Vec::new(),
            next,
        });
    }
    let query = Entity::find()
        .filter(in_scope::<Entity>(scope))
        .filter(Column::Id.is_in(listing.items.iter().map(|(id, _)| *id)))
        .order_by_desc(Column::Id);
    let items = rows(connection, query).await?.iter().filter_map(entry).collect();
    Ok(Listing { items, next })
}

/// Which attempts these are, and how many bytes of bodies and headers each has. Neither database reads a long text to learn
/// its length.
async fn sizes(
    query: Select<Entity>,
    connection: &impl ConnectionTrait,
) -> Result<Vec<(Uuid, u64)>, StoreError> {
    let length = |column: Column| Expr::from(Func::cust("octet_length").arg(Expr::col(column)));
    let size = length(Column::ResponseBody)
        .add(length(Column::ResponseHeaders))
        .add(length(Column::RequestHeaders));
    let rows: Vec<(Uuid, i32)> = query
        .select_only()
        .column(Column::Id)
        .expr_as(size, "size")
        .into_tuple()
        .all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(id, size)| (id, u64::from(size.unsigned_abs())))
        .collect())
}

fn range(scope: Scope, filter: &HistoryFilter, after: Option<AttemptId>) -> Select<Entity> {
    let mut query = Entity::find()
        .filter(in_scope::<Entity>(scope))
        .order_by_desc(Column::Id);
    let mut end = after.map(|after| after.0);
    if let Some(endpoint) = filter.endpoint_id {
        query = query.filter(Column::EndpointId.eq(endpoint.0));
    }
    if let Some(event) = filter.event_id {
        query = query.filter(Column::EventId.eq(event.0));
    }
    if let Some(since) = filter.since {
        query = query
            .filter(Column::Id.gte(first_id_at(since - ID_TIME_SLACK)))
            .filter(Column::StartedAt.gte(since.as_micros()));
    }
    if let Some(until) = filter.until {
        let until_id = first_id_at(until + ID_TIME_SLACK);
        end = Some(end.map_or(until_id, |end| std::cmp::min(end, until_id)));
        query = query.filter(Column::StartedAt.lt(until.as_micros()));
    }
    // One upper bound: with two, SQLite takes the index of all attempts for the narrower one.
    if let Some(end) = end {
        query = query.filter(Column::Id.lt(end));
    }
    query
}

/// The `n`th attempt of the range, if it has so many.
async fn nth(
    connection: &impl ConnectionTrait,
    range: &Select<Entity>,
    n: u64,
) -> Result<Option<AttemptId>, StoreError> {
    let found: Option<Uuid> = range
        .clone()
        .select_only()
        .column(Column::Id)
        .offset(n.saturating_sub(1))
        .limit(1)
        .into_tuple()
        .one(connection)
        .await?;
    Ok(found.map(AttemptId))
}

fn leased(scope: Scope) -> Select<delivery::Entity> {
    delivery::Entity::find()
        .filter(delivery::Column::State.eq(DeliveryState::Leased as i16))
        .filter(delivery::Column::OrganizationId.eq(scope.organization.0))
        .filter(is_delivery_of(scope))
        .order_by_desc(delivery::Column::DueAt)
}

async fn sending(
    connection: &impl ConnectionTrait,
    scope: Scope,
    filter: &HistoryFilter,
    limit: u64,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let mut query = leased(scope).limit(limit);
    if let Some(endpoint) = filter.endpoint_id {
        // In a form that no index has: all deliveries of the endpoint, finished ones too, are under its key.
        let column = || Expr::col((delivery::Entity, delivery::Column::EndpointId));
        query = query.filter(Expr::from(Func::coalesce([column(), column()])).eq(endpoint.0));
    }
    if let Some(event) = filter.event_id {
        query = query.filter(delivery::Column::EventId.eq(event.0));
    }
    let mut found = under_way(connection, scope, query).await?;
    found.retain(|entry| {
        filter
            .event_names
            .as_ref()
            .is_none_or(|names| names.contains(&entry.event_name))
            && filter.since.is_none_or(|since| entry.started_at >= since)
            && filter.until.is_none_or(|until| entry.started_at < until)
    });
    found.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.id));
    Ok(found)
}

/// Leased deliveries as attempts that are under way.
async fn under_way(
    connection: &impl ConnectionTrait,
    scope: Scope,
    leased: Select<delivery::Entity>,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let leased: Vec<delivery::Model> = readable("deliveries", &rows(connection, leased).await?);
    if leased.is_empty() {
        return Ok(Vec::new());
    }
    let query = endpoint::Entity::find()
        .select_only()
        .column(endpoint::Column::Id)
        .column(endpoint::Column::Url)
        .filter(endpoint::Column::Id.is_in(leased.iter().map(|row| row.endpoint_id)))
        .filter(in_scope::<endpoint::Entity>(scope));
    let urls: HashMap<Uuid, String> = rows(connection, query)
        .await?
        .iter()
        .filter_map(|row| {
            let (id, mut columns) = Columns::of(row, "endpoints", "id")?;
            Some((id, columns.get("url")))
        })
        .collect();
    let query = message::Entity::find()
        .select_only()
        .column(message::Column::EventId)
        .column(message::Column::EventName)
        .filter(message::Column::EventId.is_in(leased.iter().map(|row| row.event_id)))
        .filter(in_scope::<message::Entity>(scope));
    let names: HashMap<Uuid, String> = rows(connection, query)
        .await?
        .iter()
        .filter_map(|row| {
            let (id, mut columns) = Columns::of(row, "messages", "event_id")?;
            Some((id, columns.get("event_name")))
        })
        .collect();
    let entries = leased.into_iter().filter_map(|row| {
        let lease = row.lease?;
        Some(HistoryEntry {
            id: AttemptId(lease),
            endpoint_id: EndpointId(row.endpoint_id),
            event_id: EventId(row.event_id),
            event_name: names.get(&row.event_id).cloned().unwrap_or(row.delivered_name),
            event_type: None,
            event_created_at: None,
            status: HistoryStatus::Sending,
            number: row.attempts.unsigned_abs() + 1,
            manual: row.manual,
            url: urls.get(&row.endpoint_id).cloned().unwrap_or_default(),
            next_attempt_at: None,
            started_at: began_at(lease).unwrap_or(Timestamp::from_micros(row.created_at)),
            outcome: None,
        })
    });
    Ok(entries.collect())
}

/// Fills in what only the messages know.
async fn add_messages(
    connection: &impl ConnectionTrait,
    scope: Scope,
    entries: &mut [HistoryEntry],
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let query = message::Entity::find()
        .select_only()
        .column(message::Column::EventId)
        .column(message::Column::EventType)
        .column(message::Column::CreatedAt)
        .filter(message::Column::EventId.is_in(entries.iter().map(|entry| entry.event_id.0)))
        .filter(in_scope::<message::Entity>(scope));
    let messages: HashMap<Uuid, (String, i64)> = rows(connection, query)
        .await?
        .iter()
        .filter_map(|row| {
            let (id, mut columns) = Columns::of(row, "messages", "event_id")?;
            Some((id, (columns.get("event_type"), columns.get("created_at"))))
        })
        .collect();
    for entry in entries {
        if let Some((event_type, created_at)) = messages.get(&entry.event_id.0) {
            entry.event_type = Some(event_type.clone());
            entry.event_created_at = Some(Timestamp::from_micros(*created_at));
        }
    }
    Ok(())
}

/// A finished attempt. One that cannot be read is shown as far as it can be, as a failure of the kind `unreadable`.
fn entry(row: &QueryResult) -> Option<HistoryEntry> {
    let (id, mut columns) = Columns::of(row, "attempts", "id")?;
    let status = AttemptStatus::from_number(columns.get("status"));
    if let Err(error) = &status {
        columns.blame(error);
    }
    let mut entry = HistoryEntry {
        id: AttemptId(id),
        endpoint_id: EndpointId(columns.get("endpoint_id")),
        event_id: EventId(columns.get("event_id")),
        event_name: columns.get("event_name"),
        event_type: None,
        event_created_at: None,
        status: HistoryStatus::Finished(status.unwrap_or(AttemptStatus::Failed)),
        number: columns.get::<i32>("number").unsigned_abs(),
        manual: columns.get("manual"),
        url: columns.get("url"),
        next_attempt_at: columns
            .get::<Option<i64>>("next_attempt_at")
            .map(Timestamp::from_micros),
        started_at: Timestamp::from_micros(columns.get("started_at")),
        outcome: None,
    };
    let mut outcome = Outcome {
        http_status: columns
            .get::<Option<i32>>("http_status")
            .and_then(|status| u16::try_from(status).ok()),
        error_kind: columns.get("error_kind"),
        error_detail: columns.get("error_detail"),
        request_headers: columns.json("request_headers", HEADERS).get().to_owned(),
        response_headers: columns.json("response_headers", HEADERS).get().to_owned(),
        response_body: columns.get("response_body"),
        duration_ms: columns.get::<i32>("duration_ms").unsigned_abs(),
    };
    if let Some(fault) = columns.fault() {
        outcome.error_kind = Some("unreadable".to_owned());
        outcome.error_detail = Some(fault.to_owned());
    }
    entry.outcome = Some(outcome);
    Some(entry)
}

/// The smallest version 7 UUID of a moment (RFC 9562, section 5.7: milliseconds in the first 48 bits).
pub(super) fn first_id_at(moment: Timestamp) -> Uuid {
    let millis = moment.as_micros().div_euclid(1_000).clamp(0, (1 << 48) - 1) as u128;
    Uuid::from_u128(millis << 80)
}

/// When a lease was given.
fn began_at(lease: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = lease.get_timestamp()?.to_unix();
    Some(Timestamp::from_micros(
        seconds as i64 * 1_000_000 + i64::from(nanos / 1_000),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_moment_are_at_or_above_its_bound() {
        let moment = Timestamp::from_micros(1_790_000_000_123_456);
        let id = AttemptId::new(moment).0;
        assert!(id >= first_id_at(moment));
        assert!(id < first_id_at(moment + Duration::from_millis(1)));
        assert_eq!(first_id_at(Timestamp::from_secs(-1)), Uuid::nil());
        let began = began_at(id).unwrap();
        assert_eq!(began.as_micros() / 1_000, moment.as_micros() / 1_000);
    }
}
