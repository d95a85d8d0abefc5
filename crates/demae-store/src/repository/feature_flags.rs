//! Feature flags.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait as _, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, LockType},
};
use uuid::Uuid;

use super::{Listing, Page, insert_unless_taken};
use crate::{
    StoreError, Transaction,
    entity::{
        feature_flag::{ActiveModel, Column, Entity, Model},
        organization,
    },
};

/// Writes a new flag; `false` if its slug is taken in its organization.
pub async fn insert(transaction: &mut Transaction, flag: Model) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, ActiveModel::from(flag)).await
}

/// How many flags the organization has; nobody adds one until the transaction ends, if everybody who adds one asks here
/// first.
pub async fn count_before_insert(
    transaction: &mut Transaction,
    organization: OrganizationId,
) -> Result<u64, StoreError> {
    organization::Entity::find_by_id(organization.0)
        // Rows that refer to the organization may be written meanwhile.
        .lock(LockType::NoKeyUpdate)
        .one(transaction.connection())
        .await?;
    let flags = Entity::find().filter(Column::OrganizationId.eq(organization.0));
    Ok(flags.count(transaction.connection()).await?)
}

/// The flag with this slug.
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
        .lock_exclusive();
    Ok(query.one(transaction.connection()).await?)
}

/// The flags of an organization, oldest first.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<Uuid>,
) -> Result<Listing<Model, Uuid>, StoreError> {
    let mut query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .order_by_asc(Column::Id)
        .limit(page.rows());
    if let Some(after) = page.after {
        query = query.filter(Column::Id.gt(after));
    }
    let rows = query.all(connection).await?;
    Ok(Listing::cut(rows, &page, |row| row.id))
}

/// Id and time of the last change of the first `limit` flags of an organization, in the order of their slugs.
pub async fn revisions(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    limit: u64,
) -> Result<Vec<(Uuid, i64)>, StoreError> {
    let query = Entity::find()
        .select_only()
        .columns([Column::Id, Column::UpdatedAt])
        .filter(Column::OrganizationId.eq(organization.0))
        .order_by_asc(Column::Slug)
        .limit(limit);
    Ok(query.into_tuple().all(connection).await?)
}

/// Those of these flags that are there.
pub async fn find_many(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    ids: &[Uuid],
) -> Result<Vec<Model>, StoreError> {
    let query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Id.is_in(ids.iter().copied()));
    Ok(query.all(connection).await?)
}

/// Writes what a replacement may change: everything but identity, slug and type.
pub async fn update(transaction: &mut Transaction, flag: &Model) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Name, Expr::value(flag.name.as_str()))
        .col_expr(Column::Description, Expr::value(flag.description.clone()))
        .col_expr(Column::Enabled, Expr::value(flag.enabled))
        .col_expr(Column::EventName, Expr::value(flag.event_name.as_str()))
        .col_expr(Column::Metadata, Expr::value(flag.metadata.as_str()))
        .col_expr(Column::Variants, Expr::value(flag.variants.clone()))
        .col_expr(Column::DefaultVariant, Expr::value(flag.default_variant.as_str()))
        .col_expr(Column::Targetings, Expr::value(flag.targetings.clone()))
        .col_expr(Column::UpdatedAt, Expr::value(flag.updated_at))
        .col_expr(Column::UpdatedById, Expr::value(flag.updated_by_id))
        .col_expr(Column::UpdatedByName, Expr::value(flag.updated_by_name.clone()))
        .filter(Column::OrganizationId.eq(flag.organization_id))
        .filter(Column::Id.eq(flag.id))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}

/// Removes a flag.
pub async fn delete(
    transaction: &mut Transaction,
    organization: OrganizationId,
    id: Uuid,
) -> Result<bool, StoreError> {
    let result = Entity::delete_many()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Id.eq(id))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}
