//! Service accounts.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, LockType},
};
use uuid::Uuid;

use super::{Listing, Page, insert_unless_taken};
use crate::{
    StoreError, Transaction,
    entity::service_account::{ActiveModel, Column, Entity, Model},
};

/// Writes a new service account; `false` if its slug is taken in its organization.
pub async fn insert(transaction: &mut Transaction, account: Model) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, ActiveModel::from(account)).await
}

/// The service account with this slug.
pub async fn find(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<Model>, StoreError> {
    let query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Slug.eq(slug));
    Ok(query.one(connection).await?)
}

/// The same, and nobody else changes it until the transaction ends.
pub async fn find_for_update(
    transaction: &mut Transaction,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<Model>, StoreError> {
    let query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Slug.eq(slug))
        .lock(LockType::NoKeyUpdate);
    Ok(query.one(transaction.connection()).await?)
}

/// The service account with this id.
pub async fn find_by_id(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    id: Uuid,
) -> Result<Option<Model>, StoreError> {
    Ok(Entity::find_by_id(id)
        .filter(Column::OrganizationId.eq(organization.0))
        .one(connection)
        .await?)
}

/// The service accounts of an organization, by slug (the order of their index).
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<String>,
) -> Result<Listing<Model, String>, StoreError> {
    let mut query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .order_by_asc(Column::Slug)
        .limit(page.rows());
    if let Some(after) = &page.after {
        query = query.filter(Column::Slug.gt(after.as_str()));
    }
    let rows = query.all(connection).await?;
    Ok(Listing::cut(rows, &page, |row| row.slug.clone()))
}

/// Gives a service account another name.
pub async fn rename(
    transaction: &mut Transaction,
    organization: OrganizationId,
    id: Uuid,
    name: &str,
) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Name, Expr::value(name))
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Id.eq(id))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}
