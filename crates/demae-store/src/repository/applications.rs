//! Applications: parts of an organization with endpoints, messages and history of their own (see
//! [`Scope`](demae_event::Scope)).
//!
//! The default application of an organization is written together with it (see
//! [`organizations::insert`](super::organizations::insert)) and cannot be deleted. A deleted application is in no list, its
//! endpoints are deleted with it, and sources may no longer name it. Its row stays until retention has removed its history
//! ([`retention::applications`](super::retention::applications)).

use std::collections::HashSet;

use demae_event::{ApplicationId, OrganizationId, Scope, Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, ExprTrait as _},
};
use uuid::Uuid;

use super::{Listing, Page, endpoints, insert_unless_taken, scoped::scope_of};
use crate::{
    StoreError, Transaction,
    entity::application::{ActiveModel, Column, Entity, Model},
};

/// Writes a new application; `false` if its client id is taken in its organization.
pub async fn insert(transaction: &mut Transaction, application: Model) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, ActiveModel::from(application)).await
}

/// One application.
pub async fn find(connection: &impl ConnectionTrait, scope: Scope) -> Result<Option<Model>, StoreError> {
    Ok(live(scope.organization)
        .filter(Column::Id.eq(scope.application.0))
        .one(connection)
        .await?)
}

/// The same, and no other transaction changes it until this one ends.
pub async fn find_for_update(
    transaction: &mut Transaction,
    scope: Scope,
) -> Result<Option<Model>, StoreError> {
    let query = live(scope.organization)
        .filter(Column::Id.eq(scope.application.0))
        .lock_exclusive();
    Ok(query.one(transaction.connection()).await?)
}

/// The application that its owner knows under `uid`.
pub async fn find_by_uid(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    uid: &str,
) -> Result<Option<Model>, StoreError> {
    Ok(live(organization)
        .filter(Column::Uid.eq(uid))
        .one(connection)
        .await?)
}

/// The applications of an organization, oldest first.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<ApplicationId>,
) -> Result<Listing<Model, ApplicationId>, StoreError> {
    let mut query = live(organization).order_by_asc(Column::Id).limit(page.rows());
    if let Some(after) = page.after {
        query = query.filter(Column::Id.gt(after.0));
    }
    let rows = query.all(connection).await?;
    Ok(Listing::cut(rows, &page, |row| ApplicationId(row.id)))
}

/// How many an organization has, deleted ones aside.
pub async fn count(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
) -> Result<u64, StoreError> {
    Ok(live(organization).count(connection).await?)
}

/// Those of `scopes` whose application exists in their organization.
pub async fn existing(
    connection: &impl ConnectionTrait,
    scopes: impl IntoIterator<Item = Scope>,
) -> Result<HashSet<Scope>, StoreError> {
    let asked: HashSet<Scope> = scopes.into_iter().collect();
    let found: Vec<(Uuid, Uuid)> = Entity::find()
        .select_only()
        .columns([Column::OrganizationId, Column::Id])
        .filter(Column::Id.is_in(asked.iter().map(|scope| scope.application.0)))
        .filter(Column::DeletedAt.is_null())
        .into_tuple()
        .all(connection)
        .await?;
    let found: HashSet<Scope> = found
        .into_iter()
        .map(|(organization, id)| scope_of(organization, id))
        .collect();
    // An application of another organization is none.
    Ok(asked.intersection(&found).copied().collect())
}

/// The scopes of an organization, deleted applications included: what retention goes through.
pub async fn scopes(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<ApplicationId>,
) -> Result<Listing<Scope, ApplicationId>, StoreError> {
    let mut query = Entity::find()
        .select_only()
        .columns([Column::OrganizationId, Column::Id])
        .filter(Column::OrganizationId.eq(organization.0))
        .order_by_asc(Column::Id)
        .limit(page.rows());
    if let Some(after) = page.after {
        query = query.filter(Column::Id.gt(after.0));
    }
    let rows: Vec<(Uuid, Uuid)> = query.into_tuple().all(connection).await?;
    Ok(Listing::cut(rows, &page, |(_, id)| ApplicationId(*id))
        .map(|(organization, id)| scope_of(organization, id)))
}

/// Writes name, client id, version and time of change. The client id must be free, or it is a
/// [`StoreError::Conflict`].
pub async fn update(transaction: &mut Transaction, application: &Model) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Uid, Expr::value(application.uid.clone()))
        .col_expr(Column::Name, Expr::value(application.name.as_str()))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .col_expr(Column::UpdatedAt, Expr::value(application.updated_at))
        .filter(Column::OrganizationId.eq(application.organization_id))
        .filter(Column::Id.eq(application.id))
        .filter(Column::DeletedAt.is_null())
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}

/// Deletes an application with its endpoints; `false` if there is none, or if it is the organization's default one.
pub async fn delete(transaction: &mut Transaction, scope: Scope, now: Timestamp) -> Result<bool, StoreError> {
    if scope.is_default() {
        return Ok(false);
    }
    let result = Entity::update_many()
        .col_expr(Column::DeletedAt, Expr::value(now.as_micros()))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .filter(Column::OrganizationId.eq(scope.organization.0))
        .filter(Column::Id.eq(scope.application.0))
        .filter(Column::DeletedAt.is_null())
        .exec(transaction.connection())
        .await?;
    if result.rows_affected == 0 {
        return Ok(false);
    }
    endpoints::delete_all(transaction, scope, now).await?;
    Ok(true)
}

fn live(organization: OrganizationId) -> Select<Entity> {
    Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::DeletedAt.is_null())
}
