//! Deliveries, as far as people move them. See [`crate::engine`] for their states.

use demae_event::{EndpointId, EventId, Scope, Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, UpdateMany,
    sea_query::{CaseStatement, Expr, ExprTrait as _, OnConflict},
};

use super::scoped::has_endpoint;
use crate::{
    StoreError, Transaction,
    engine::DeliveryState,
    entity::delivery::{ActiveModel, Column, Entity, Model},
};

/// What became of a request for an attempt now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// An attempt is due now.
    Planned,
    /// An attempt is under way at this moment.
    UnderWay,
    /// There is no such delivery (any more).
    Missing,
}

/// Plans an attempt for now, asked for by a person.
///
/// What was planned before is kept aside: if this attempt fails, the delivery returns to the state, and the due time,
/// that it had.
pub async fn retry(
    transaction: &mut Transaction,
    scope: Scope,
    (endpoint, event): (EndpointId, EventId),
    now: Timestamp,
) -> Result<Retry, StoreError> {
    let moved = plan_now(scope, endpoint, now)
        .filter(Column::EventId.eq(event.0))
        .exec(transaction.connection())
        .await?;
    if moved.rows_affected == 1 {
        transaction.note_waiting(endpoint);
        return Ok(Retry::Planned);
    }
    let state = state(transaction.connection(), scope, (endpoint, event)).await?;
    Ok(if state.is_some() {
        Retry::UnderWay
    } else {
        Retry::Missing
    })
}

/// The same for many events at once; those that are under way or missing are left alone. Answers how many were planned.
pub async fn retry_many(
    transaction: &mut Transaction,
    scope: Scope,
    endpoint: EndpointId,
    events: &[EventId],
    now: Timestamp,
) -> Result<u64, StoreError> {
    if events.is_empty() {
        return Ok(0);
    }
    let moved = plan_now(scope, endpoint, now)
        .filter(Column::EventId.is_in(events.iter().map(|event| event.0)))
        .exec(transaction.connection())
        .await?;
    if moved.rows_affected > 0 {
        transaction.note_waiting(endpoint);
    }
    Ok(moved.rows_affected)
}

/// Sets every expression by the row as it was, so the order of the assignments does not matter.
fn plan_now(scope: Scope, endpoint: EndpointId, now: Timestamp) -> UpdateMany<Entity> {
    let unless_manual = |kept: Column, current: Column| {
        // An attempt asked for twice before it was made must not forget what came before the first request.
        CaseStatement::new()
            .case(Column::Manual.eq(true), Expr::col(kept))
            .finally(Expr::col(current))
    };
    Entity::update_many()
        .col_expr(
            Column::ResumeState,
            unless_manual(Column::ResumeState, Column::State).into(),
        )
        .col_expr(
            Column::ResumeDueAt,
            unless_manual(Column::ResumeDueAt, Column::DueAt).into(),
        )
        .col_expr(Column::Manual, Expr::value(true))
        .col_expr(Column::State, Expr::value(DeliveryState::Waiting as i16))
        .col_expr(Column::DueAt, Expr::value(now.as_micros()))
        .filter(Column::OrganizationId.eq(scope.organization.0))
        .filter(has_endpoint(scope, endpoint))
        .filter(Column::EndpointId.eq(endpoint.0))
        .filter(Column::State.ne(DeliveryState::Leased as i16))
}

/// A delivery to write besides the router's.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What.
    pub event_id: EventId,
    /// The name form that the endpoint receives.
    pub delivered_name: String,
}

/// Writes deliveries of messages to one endpoint, due now; those that exist are left alone, and so are messages that do
/// not exist (any more). Answers how many were written.
pub async fn insert(
    transaction: &mut Transaction,
    scope: Scope,
    endpoint: EndpointId,
    deliveries: Vec<Planned>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    if deliveries.is_empty() {
        return Ok(0);
    }
    // Held, so that retention removes none of them before it can see the deliveries.
    let ids = deliveries.iter().map(|planned| planned.event_id.0);
    let held = super::messages::hold(transaction, scope, ids).await?;
    let rows: Vec<ActiveModel> = deliveries
        .into_iter()
        .filter(|planned| held.contains(&planned.event_id.0))
        .map(|planned| new_row(scope, endpoint, planned, now))
        .collect();
    if rows.is_empty() {
        return Ok(0);
    }
    let written = Entity::insert_many(rows)
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(transaction.connection())
        .await?;
    if written > 0 {
        transaction.note_waiting(endpoint);
    }
    Ok(written)
}

fn new_row(scope: Scope, endpoint: EndpointId, planned: Planned, now: Timestamp) -> ActiveModel {
    ActiveModel::from(Model {
        endpoint_id: endpoint.0,
        event_id: planned.event_id.0,
        organization_id: scope.organization.0,
        state: DeliveryState::Waiting as i16,
        attempts: 0,
        step: 0,
        due_at: now.as_micros(),
        lease: None,
        worker_id: None,
        manual: false,
        resume_state: None,
        resume_due_at: None,
        delivered_name: planned.delivered_name,
        created_at: now.as_micros(),
    })
}

/// The state of one delivery.
pub async fn state(
    connection: &impl ConnectionTrait,
    scope: Scope,
    (endpoint, event): (EndpointId, EventId),
) -> Result<Option<DeliveryState>, StoreError> {
    let states = states(connection, scope, endpoint, &[event]).await?;
    Ok(states.into_iter().next().map(|delivery| delivery.state))
}

/// How far a delivery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryProgress {
    /// What is delivered.
    pub event_id: EventId,
    /// How far it is.
    pub state: DeliveryState,
    /// Attempts recorded.
    pub attempts: u32,
    /// Whether the next attempt was asked for by a person.
    pub manual: bool,
    /// The name form that the endpoint receives.
    pub delivered_name: String,
}

/// How far the deliveries of these events to one endpoint are; in no order.
pub async fn states(
    connection: &impl ConnectionTrait,
    scope: Scope,
    endpoint: EndpointId,
    events: &[EventId],
) -> Result<Vec<DeliveryProgress>, StoreError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let rows = Entity::find()
        .filter(Column::EndpointId.eq(endpoint.0))
        .filter(Column::EventId.is_in(events.iter().map(|event| event.0)))
        .filter(Column::OrganizationId.eq(scope.organization.0))
        .filter(has_endpoint(scope, endpoint))
        .all(connection)
        .await?;
    rows.into_iter()
        .map(|row| {
            Ok(DeliveryProgress {
                event_id: EventId(row.event_id),
                state: DeliveryState::from_number(row.state)?,
                attempts: row.attempts.unsigned_abs(),
                manual: row.manual,
                delivered_name: row.delivered_name,
            })
        })
        .collect()
}

/// Cancels up to `limit` waiting deliveries of an endpoint that will not be delivered to any more. Answers how many.
pub async fn cancel_waiting(
    transaction: &mut Transaction,
    scope: Scope,
    endpoint: EndpointId,
    limit: u64,
) -> Result<u64, StoreError> {
    let waiting = Entity::find()
        .select_only()
        .column(Column::EventId)
        .filter(Column::EndpointId.eq(endpoint.0))
        .filter(Column::State.eq(DeliveryState::Waiting as i16))
        .order_by_asc(Column::DueAt)
        .limit(limit)
        .into_query();
    // What was finished before a person asked for another attempt stays what it was.
    let finished = [
        DeliveryState::Succeeded,
        DeliveryState::Failed,
        DeliveryState::Canceled,
    ];
    let was_finished = Column::Manual
        .eq(true)
        .and(Column::ResumeState.is_in(finished.map(|state| state as i16)));
    let state = CaseStatement::new()
        .case(was_finished, Expr::col(Column::ResumeState))
        .finally(DeliveryState::Canceled as i16);
    let moved = Entity::update_many()
        .col_expr(Column::State, state.into())
        .col_expr(Column::Manual, Expr::value(false))
        .col_expr(Column::ResumeState, Expr::value(None::<i16>))
        .col_expr(Column::ResumeDueAt, Expr::value(None::<i64>))
        .filter(Column::OrganizationId.eq(scope.organization.0))
        .filter(has_endpoint(scope, endpoint))
        .filter(Column::EndpointId.eq(endpoint.0))
        .filter(Column::EventId.in_subquery(waiting))
        .filter(Column::State.eq(DeliveryState::Waiting as i16))
        .exec(transaction.connection())
        .await?;
    Ok(moved.rows_affected)
}
