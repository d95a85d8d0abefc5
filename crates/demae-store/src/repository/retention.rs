//! Forgetting what is old, in small transactions.
//!
//! Each function does one bounded piece and says whether there is more. Its caller repeats it, one organization after the
//! other, in a transaction for each piece, so that no request waits for a long delete. One process at a time does the
//! pieces of a table, because it holds the table's timer ([`super::timers::hold`]): two that delete the same rows in
//! different order would wait for each other.

use demae_event::{OrganizationId, Scope, Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Statement,
    sea_query::{Expr, ExprTrait as _, IntoTableRef, Query, SelectStatement},
};
use uuid::Uuid;

use super::{
    history::first_id_at,
    messages::MessageCursor,
    page::within,
    scoped::{endpoints_of, in_scope},
};
use crate::{
    StoreError, Transaction,
    engine::DeliveryState,
    entity::{
        application, attempt, audit_entry, delivery, endpoint, idempotency_key, job, message, rejected_event,
    },
};

/// Bytes of payloads that one piece removes; at least one message always goes.
const PIECE_BYTES: u64 = 32 * 1024 * 1024;

/// Removes up to `limit` of an application's attempts begun before `before`; answers how many.
pub async fn attempts(
    transaction: &mut Transaction,
    scope: Scope,
    before: Timestamp,
    limit: u64,
) -> Result<u64, StoreError> {
    use attempt::Column;
    let oldest = attempt::Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(in_scope::<attempt::Entity>(scope))
        .filter(Column::Id.lt(first_id_at(before)))
        .order_by_asc(Column::Id)
        .limit(limit)
        .into_query();
    let result = attempt::Entity::delete_many()
        .filter(in_scope::<attempt::Entity>(scope))
        .filter(Column::Id.in_subquery(oldest))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected)
}

/// What a piece of work on an application's messages did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Messages removed.
    pub removed: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<MessageCursor>,
}

/// Removes messages of an application written before `before`, with their finished deliveries: takes up to `limit` of
/// them after `after`, oldest first and 32 MiB at most, and keeps those that still have an open delivery.
pub async fn messages(
    transaction: &mut Transaction,
    scope: Scope,
    before: Timestamp,
    after: Option<MessageCursor>,
    limit: u64,
) -> Result<Swept, StoreError> {
    let mut old = super::messages::walk_to_remove(
        transaction,
        scope,
        (Timestamp::from_micros(i64::MIN), before),
        after,
        limit,
    )
    .await?;
    let piece = within(PIECE_BYTES, old.iter().map(|message| message.size));
    let more = old.len() as u64 == limit || old.len() > piece;
    old.truncate(piece);
    let next = if more {
        old.last().map(super::messages::MessageHead::cursor)
    } else {
        None
    };
    let ids: Vec<_> = old.iter().map(|message| message.event_id).collect();
    let open: std::collections::HashSet<_> =
        super::messages::deliveries(transaction.connection(), scope, &ids)
            .await?
            .into_iter()
            .filter(|delivery| matches!(delivery.state, DeliveryState::Waiting | DeliveryState::Leased))
            .map(|delivery| delivery.event_id)
            .collect();
    let finished: Vec<Uuid> = ids
        .iter()
        .filter(|id| !open.contains(id))
        .map(|id| id.0)
        .collect();
    if finished.is_empty() {
        return Ok(Swept { removed: 0, next });
    }
    let connection = transaction.connection();
    delivery::Entity::delete_many()
        .filter(delivery::Column::EndpointId.in_subquery(endpoints_of(scope)))
        .filter(delivery::Column::EventId.is_in(finished.iter().copied()))
        .filter(delivery::Column::State.gte(DeliveryState::Succeeded as i16))
        .exec(connection)
        .await?;
    // A delivery that somebody asked for again meanwhile was not deleted above, and keeps its message here.
    let reopened = Query::select()
        .expr(Expr::value(1))
        .from(delivery::Entity)
        .and_where(delivery::Column::EndpointId.in_subquery(endpoints_of(scope)))
        .and_where(
            Expr::col((delivery::Entity, delivery::Column::EventId))
                .equals((message::Entity, message::Column::EventId)),
        )
        .to_owned();
    let result = message::Entity::delete_many()
        .filter(message::Column::EventId.is_in(finished))
        .filter(in_scope::<message::Entity>(scope))
        .filter(Expr::exists(reopened).not())
        .exec(connection)
        .await?;
    Ok(Swept {
        removed: result.rows_affected,
        next,
    })
}

/// Removes up to `limit` of an application's deleted endpoints, deleted before `before` and without deliveries or
/// attempts left; answers how many.
pub async fn endpoints(
    transaction: &mut Transaction,
    scope: Scope,
    before: Timestamp,
    limit: u64,
) -> Result<u64, StoreError> {
    use endpoint::Column;
    let delivered = Query::select()
        .expr(Expr::value(1))
        .from(delivery::Entity)
        .and_where(
            Expr::col((delivery::Entity, delivery::Column::EndpointId))
                .equals((endpoint::Entity, Column::Id)),
        )
        .to_owned();
    let attempted = Query::select()
        .expr(Expr::value(1))
        .from(attempt::Entity)
        .and_where(
            Expr::col((attempt::Entity, attempt::Column::EndpointId)).equals((endpoint::Entity, Column::Id)),
        )
        .to_owned();
    let gone: Vec<Uuid> = endpoint::Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(in_scope::<endpoint::Entity>(scope))
        .filter(Column::DeletedAt.lt(before.as_micros()))
        .filter(Expr::exists(delivered).not())
        .filter(Expr::exists(attempted).not())
        .limit(limit)
        .into_tuple()
        .all(transaction.connection())
        .await?;
    let result = endpoint::Entity::delete_many()
        .filter(in_scope::<endpoint::Entity>(scope))
        .filter(Column::Id.is_in(gone))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected)
}

/// Removes up to `limit` of an application's jobs made before `before` that are not running; answers how many.
pub async fn jobs(
    transaction: &mut Transaction,
    scope: Scope,
    before: Timestamp,
    limit: u64,
) -> Result<u64, StoreError> {
    use job::Column;
    let oldest = job::Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(in_scope::<job::Entity>(scope))
        .filter(Column::Id.lt(first_id_at(before)))
        .filter(Column::Status.ne(super::jobs::JobStatus::Running.as_str()))
        .order_by_asc(Column::Id)
        .limit(limit)
        .into_query();
    let result = job::Entity::delete_many()
        .filter(in_scope::<job::Entity>(scope))
        .filter(Column::Id.in_subquery(oldest))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected)
}

/// Removes up to `limit` of an organization's deleted applications, deleted before `before` and without endpoints, messages
/// or attempts left; answers how many.
pub async fn applications(
    transaction: &mut Transaction,
    organization: OrganizationId,
    before: Timestamp,
    limit: u64,
) -> Result<u64, StoreError> {
    use application::{Column, Entity};
    let of_it = |mut rest: SelectStatement, column: Expr| {
        rest.and_where(column.equals((Entity, Column::Id)));
        Expr::exists(rest).not()
    };
    let endpoints = of_it(
        one_of(endpoint::Entity),
        Expr::col((endpoint::Entity, endpoint::Column::ApplicationId)),
    );
    let messages = of_it(
        one_of(message::Entity),
        Expr::col((message::Entity, message::Column::ApplicationId)),
    );
    let attempts = of_it(
        one_of(attempt::Entity),
        Expr::col((attempt::Entity, attempt::Column::ApplicationId)),
    );
    let gone: Vec<Uuid> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::DeletedAt.lt(before.as_micros()))
        .filter(endpoints)
        .filter(messages)
        .filter(attempts)
        .limit(limit)
        .into_tuple()
        .all(transaction.connection())
        .await?;
    let result = Entity::delete_many()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Id.is_in(gone))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected)
}

fn one_of(table: impl IntoTableRef) -> SelectStatement {
    Query::select().expr(Expr::value(1)).from(table).to_owned()
}

/// Removes up to `limit` of an organization's audit entries written before `before`; answers how many.
pub async fn audit_entries(
    transaction: &mut Transaction,
    organization: OrganizationId,
    before: Timestamp,
    limit: u64,
) -> Result<u64, StoreError> {
    use audit_entry::{Column, Entity};
    let oldest = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Id.lt(first_id_at(before)))
        .order_by_asc(Column::Id)
        .limit(limit)
        .into_query();
    let result = Entity::delete_many()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Id.in_subquery(oldest))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected)
}

/// Removes up to `limit` expired idempotency keys of any organization; answers how many.
pub async fn idempotency_keys(
    transaction: &mut Transaction,
    now: Timestamp,
    limit: u64,
) -> Result<u64, StoreError> {
    use idempotency_key::Column;
    let expired: Vec<(Uuid, Vec<u8>)> = idempotency_key::Entity::find()
        .select_only()
        .column(Column::OrganizationId)
        .column(Column::KeyDigest)
        .filter(Column::ExpiresAt.lte(now.as_micros()))
        .order_by_asc(Column::ExpiresAt)
        .limit(limit)
        .into_tuple()
        .all(transaction.connection())
        .await?;
    if expired.is_empty() {
        return Ok(0);
    }
    let key = Expr::tuple([Expr::col(Column::OrganizationId), Expr::col(Column::KeyDigest)]);
    let result = idempotency_key::Entity::delete_many()
        .filter(key.in_tuples(expired))
        // Renewed meanwhile by a request that found it expired.
        .filter(Column::ExpiresAt.lte(now.as_micros()))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected)
}

/// Removes up to `limit` rejected events received before `before`, or older than the newest `kept`; answers how many.
/// Those that wait to be looked at stay, and count as none.
pub async fn rejected(
    transaction: &mut Transaction,
    before: Timestamp,
    kept: u64,
    limit: u64,
) -> Result<u64, StoreError> {
    use rejected_event::{Column, Entity};
    let connection = transaction.connection();
    let oldest_kept = super::rejected::oldest_kept(connection, kept).await?;
    let first = oldest_kept.map_or(first_id_at(before), |id| Ord::max(id, first_id_at(before)));
    let oldest = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Id.lt(first))
        .filter(Column::Unseen.eq(false))
        .order_by_asc(Column::Id)
        .limit(limit)
        .into_query();
    let result = Entity::delete_many()
        .filter(Column::Id.in_subquery(oldest))
        .exec(connection)
        .await?;
    Ok(result.rows_affected)
}

/// Removes workers that gave no sign of life since `before`; answers how many. Their leases must be recovered first.
pub async fn workers(transaction: &mut Transaction, before: Timestamp) -> Result<u64, StoreError> {
    let connection = transaction.connection();
    let backend = connection.get_database_backend();
    let sql = "DELETE FROM workers WHERE heartbeat_at < $1";
    let statement = Statement::from_sql_and_values(backend, sql, [before.as_micros().into()]);
    Ok(connection.execute_raw(statement).await?.rows_affected())
}
