//! Feature flags.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait as _, QueryFilter, QueryOrder, QuerySelect,
    sea_query::LockType,
};
use uuid::Uuid;

use crate::{
    StoreError, Transaction,
    entity::{
        feature_flag::{Column, Entity, Model},
        organization,
    },
};

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
