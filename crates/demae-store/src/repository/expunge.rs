//! Expunges payloads: the message stays, with its deliveries and its history, and what it carried is gone.
//!
//! # Guarantees
//! - Payload and headers are emptied in the transaction that marks the message, and waiting deliveries are canceled in it,
//!   each with an entry in the history that names the reason.
//! - A delivery that is leased at that moment finishes its attempt. If another one follows, the claim cancels it
//!   ([`crate::engine`]).
//!
//! # Limits
//! What a receiver has sent back stays in the history, also if it repeats the payload. Expunged pages stay on disk until
//! the database reuses them.

use demae_event::{AttemptId, EventId, Scope, Timestamp};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{CaseStatement, Expr, ExprTrait as _, LockBehavior, LockType},
};
use uuid::Uuid;

use super::scoped::{endpoints_of, in_scope};
use crate::{
    StoreError, Transaction,
    engine::{AttemptStatus, DeliveryState},
    entity::{
        attempt, delivery,
        message::{Column, Entity},
    },
};

/// The kind of error in the history of a delivery that was canceled because of this.
pub const ERROR_KIND: &str = "payload_expunged";
/// The same for a person.
pub const REASON: &str = "the payload was expunged";

/// Expunges the payloads of these messages, unless that has happened before. Returns for how many it did.
pub async fn expunge(
    transaction: &mut Transaction,
    scope: Scope,
    events: &[EventId],
    now: Timestamp,
) -> Result<u64, StoreError> {
    if events.is_empty() {
        return Ok(0);
    }
    let ids = || events.iter().map(|event| event.0);
    let result = Entity::update_many()
        .col_expr(Column::Payload, Expr::value(""))
        .col_expr(Column::Headers, Expr::value(None::<String>))
        .col_expr(Column::ExpungedAt, Expr::value(now.as_micros()))
        .filter(in_scope::<Entity>(scope))
        .filter(Column::EventId.is_in(ids()))
        .filter(Column::ExpungedAt.is_null())
        .exec(transaction.connection())
        .await?;
    if result.rows_affected > 0 {
        cancel(transaction, scope, ids().collect(), now).await?;
    }
    Ok(result.rows_affected)
}

/// Expunges up to `limit` payloads of messages of an application written within `[since, until)`, the oldest first.
/// Returns how many.
pub async fn expunge_old(
    transaction: &mut Transaction,
    scope: Scope,
    (since, until): (Timestamp, Timestamp),
    limit: u64,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let old: Vec<Uuid> = Entity::find()
        .select_only()
        .column(Column::EventId)
        .filter(in_scope::<Entity>(scope))
        .filter(Column::CreatedAt.gte(since.as_micros()))
        .filter(Column::CreatedAt.lt(until.as_micros()))
        .filter(Column::ExpungedAt.is_null())
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::EventId)
        .limit(limit)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .into_tuple()
        .all(transaction.connection())
        .await?;
    let old: Vec<EventId> = old.into_iter().map(EventId).collect();
    expunge(transaction, scope, &old, now).await
}

/// Cancels the waiting deliveries of these messages, each with an entry in the history.
async fn cancel(
    transaction: &mut Transaction,
    scope: Scope,
    events: Vec<Uuid>,
    now: Timestamp,
) -> Result<(), StoreError> {
    use delivery::Column;
    let waiting = delivery::Entity::find()
        .filter(Column::EndpointId.in_subquery(endpoints_of(scope)))
        .filter(Column::EventId.is_in(events))
        .filter(Column::State.eq(DeliveryState::Waiting as i16))
        .lock(LockType::Update)
        .all(transaction.connection())
        .await?;
    for row in waiting {
        // What was finished before a person asked for another attempt stays what it was.
        let was_finished = Column::Manual
            .eq(true)
            .and(Column::ResumeState.gte(DeliveryState::Succeeded as i16));
        let state = CaseStatement::new()
            .case(was_finished, Expr::col(Column::ResumeState))
            .finally(DeliveryState::Canceled as i16);
        delivery::Entity::update_many()
            .col_expr(Column::State, state.into())
            .col_expr(Column::Attempts, Expr::value(row.attempts + 1))
            .col_expr(Column::Manual, Expr::value(false))
            .col_expr(Column::ResumeState, Expr::value(None::<i16>))
            .col_expr(Column::ResumeDueAt, Expr::value(None::<i64>))
            .filter(Column::EndpointId.eq(row.endpoint_id))
            .filter(Column::EventId.eq(row.event_id))
            .exec(transaction.connection())
            .await?;
        attempt::Entity::insert(attempt::ActiveModel::from(canceled(scope, row, now)))
            .exec_without_returning(transaction.connection())
            .await?;
    }
    Ok(())
}

fn canceled(scope: Scope, row: delivery::Model, now: Timestamp) -> attempt::Model {
    attempt::Model {
        organization_id: scope.organization.0,
        application_id: scope.application.0,
        id: AttemptId::new(now).0,
        endpoint_id: row.endpoint_id,
        event_id: row.event_id,
        event_name: row.delivered_name,
        number: row.attempts + 1,
        manual: row.manual,
        status: AttemptStatus::Canceled as i16,
        next_attempt_at: None,
        url: String::new(),
        http_status: None,
        error_kind: Some(ERROR_KIND.to_owned()),
        error_detail: Some(REASON.to_owned()),
        request_headers: "{}".to_owned(),
        response_headers: "{}".to_owned(),
        response_body: String::new(),
        duration_ms: 0,
        started_at: now.as_micros(),
    }
}
