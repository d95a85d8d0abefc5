//! How an endpoint fares.

use demae_event::{EndpointId, Scope, Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Alias, Asterisk, Expr, ExprTrait as _, Func, Query, SelectStatement},
};

use super::{
    history::{ID_TIME_SLACK, first_id_at},
    scoped::{has_endpoint, in_scope},
};
use crate::{
    StoreError,
    engine::{AttemptStatus, DeliveryState},
    entity::{attempt, delivery},
};

/// Counting stops here, per kind; see [`EndpointStats::complete`].
pub const COUNT_LIMIT: u64 = 100_000;

/// Attempts of an endpoint within a window, and its open deliveries now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointStats {
    /// Answered 2xx.
    pub success: u64,
    /// Failed, with another attempt planned then.
    pub failing: u64,
    /// Failed for good.
    pub failed: u64,
    /// Not made.
    pub canceled: u64,
    /// Deliveries that wait for an attempt, now.
    pub waiting: u64,
    /// Attempts under way, now.
    pub sending: u64,
    /// Whether everything was counted; otherwise the newest [`COUNT_LIMIT`] attempts were.
    pub complete: bool,
}

/// Counts the attempts begun within `[since, until)`.
///
/// What is open is counted first, in one statement, and the attempts after it: an attempt is recorded in the transaction
/// that closes its delivery, so whoever sees nothing open sees every outcome.
pub async fn of_endpoint(
    connection: &impl ConnectionTrait,
    scope: Scope,
    endpoint: EndpointId,
    (since, until): (Timestamp, Timestamp),
) -> Result<EndpointStats, StoreError> {
    let (waiting, sending) = open(connection, scope, endpoint).await?;
    let mut stats = EndpointStats {
        waiting,
        sending,
        ..EndpointStats::default()
    };
    let mut counted = 0;
    for (status, count) in attempts(connection, scope, endpoint, (since, until)).await? {
        counted += count;
        match AttemptStatus::from_number(status)? {
            AttemptStatus::Success => stats.success = count,
            AttemptStatus::Failing => stats.failing = count,
            AttemptStatus::Failed => stats.failed = count,
            AttemptStatus::Canceled => stats.canceled = count,
        }
    }
    stats.complete = counted < COUNT_LIMIT && stats.waiting < COUNT_LIMIT;
    Ok(stats)
}

async fn attempts(
    connection: &impl ConnectionTrait,
    scope: Scope,
    endpoint: EndpointId,
    (since, until): (Timestamp, Timestamp),
) -> Result<Vec<(i16, u64)>, StoreError> {
    use attempt::Column;
    let newest = attempt::Entity::find()
        .select_only()
        .column(Column::Status)
        .filter(Column::EndpointId.eq(endpoint.0))
        .filter(in_scope::<attempt::Entity>(scope))
        .filter(Column::Id.gte(first_id_at(since - ID_TIME_SLACK)))
        .filter(Column::Id.lt(first_id_at(until + ID_TIME_SLACK)))
        .filter(Column::StartedAt.gte(since.as_micros()))
        .filter(Column::StartedAt.lt(until.as_micros()))
        .order_by_desc(Column::Id)
        .limit(COUNT_LIMIT)
        .into_query();
    let counts = Query::select()
        .column(Alias::new("status"))
        .expr_as(Expr::col(Asterisk).count(), Alias::new("count"))
        .from_subquery(newest, Alias::new("newest"))
        .group_by_col(Alias::new("status"))
        .to_owned();
    let rows = connection.query_all(&counts).await?;
    rows.into_iter()
        .map(|row| {
            Ok((
                row.try_get("", "status")?,
                row.try_get::<i64>("", "count")?.unsigned_abs(),
            ))
        })
        .collect()
}

/// The deliveries that wait and those under way, at one moment.
async fn open(
    connection: &impl ConnectionTrait,
    scope: Scope,
    endpoint: EndpointId,
) -> Result<(u64, u64), StoreError> {
    let count = |state| Expr::SubQuery(None, Box::new(in_state(scope, endpoint, state).into()));
    let counts: SelectStatement = Query::select()
        .expr_as(count(DeliveryState::Waiting), Alias::new("waiting"))
        .expr_as(count(DeliveryState::Leased), Alias::new("sending"))
        .to_owned();
    let Some(row) = connection.query_one(&counts).await? else {
        return Ok((0, 0));
    };
    let number = |name| row.try_get::<i64>("", name).map(i64::unsigned_abs);
    Ok((number("waiting")?, number("sending")?))
}

fn in_state(scope: Scope, endpoint: EndpointId, state: DeliveryState) -> SelectStatement {
    use delivery::Column;
    // The waiting ones have an index by endpoint. Those under way are few, and looked through in a form that no index
    // has: all deliveries of the endpoint, finished ones too, are under its key.
    let column = || Expr::col((delivery::Entity, Column::EndpointId));
    let of_endpoint = match state {
        DeliveryState::Leased => Expr::from(Func::coalesce([column(), column()])),
        _ => column(),
    };
    let some = delivery::Entity::find()
        .select_only()
        .column(Column::State)
        .filter(of_endpoint.eq(endpoint.0))
        .filter(Column::OrganizationId.eq(scope.organization.0))
        .filter(has_endpoint(scope, endpoint))
        .filter(Column::State.eq(state as i16))
        .limit(COUNT_LIMIT)
        .into_query();
    Query::select()
        .expr(Expr::col(Asterisk).count())
        .from_subquery(some, Alias::new("some"))
        .to_owned()
}
