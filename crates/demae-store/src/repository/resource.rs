//! Queries that every table of an organization's things has.
//!
//! Named ones have a unique index on organization and slug, by which one is found, and an index on organization and id,
//! along which they are listed: ids are ordered by time. The files of the single tables hold what is unusual about them.

use demae_event::OrganizationId;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, ConnectionTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect, Select,
};
use uuid::Uuid;

use super::{Listing, Page, insert_unless_taken};
use crate::{
    StoreError, Transaction,
    entity::resource::{Named, Owned},
};

fn owned<R: Owned>(organization: OrganizationId) -> Select<R> {
    R::find().filter(R::ORGANIZATION.eq(organization.0))
}

/// Writes a new row; `false` if one of its unique values is taken in its organization.
pub async fn insert<R: Owned>(transaction: &mut Transaction, row: R::Model) -> Result<bool, StoreError>
where
    R::Model: IntoActiveModel<R::ActiveModel>,
{
    insert_unless_taken(transaction, R::whole(row)).await
}

/// The one with this slug.
pub async fn find<R: Named>(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<R::Model>, StoreError> {
    let query = owned::<R>(organization).filter(R::SLUG.eq(slug));
    Ok(query.one(connection).await?)
}

/// The same, and nobody else changes it or refers to it until the transaction ends.
pub async fn find_for_update<R: Named>(
    transaction: &mut Transaction,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<R::Model>, StoreError> {
    let query = owned::<R>(organization).filter(R::SLUG.eq(slug)).lock_exclusive();
    Ok(query.one(transaction.connection()).await?)
}

/// The same, and nobody changes or deletes it until the transaction ends.
pub async fn find_shared<R: Named>(
    transaction: &mut Transaction,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<R::Model>, StoreError> {
    let query = owned::<R>(organization).filter(R::SLUG.eq(slug)).lock_shared();
    Ok(query.one(transaction.connection()).await?)
}

/// Those with these ids, in the order of their ids; nobody changes or deletes them until the transaction ends.
pub async fn find_all_shared<R: Owned>(
    transaction: &mut Transaction,
    organization: OrganizationId,
    ids: &[Uuid],
) -> Result<Vec<R::Model>, StoreError> {
    let query = owned::<R>(organization)
        .filter(R::ID.is_in(ids.iter().copied()))
        .order_by_asc(R::ID)
        .lock_shared();
    Ok(query.all(transaction.connection()).await?)
}

/// A page of an organization's, oldest first.
pub async fn list<R: Owned>(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<Uuid>,
) -> Result<Listing<R::Model, Uuid>, StoreError> {
    let mut query = owned::<R>(organization).order_by_asc(R::ID).limit(page.rows());
    if let Some(after) = page.after {
        query = query.filter(R::ID.gt(after));
    }
    let rows = query.all(connection).await?;
    Ok(Listing::cut(rows, &page, |row| R::key(row).1))
}

/// Writes a row as it is now, but for what never changes.
///
/// # Errors
///
/// [`StoreError::Conflict`] if one of its unique values is another one's.
pub async fn update<R: Owned>(transaction: &mut Transaction, row: &R::Model) -> Result<bool, StoreError> {
    let (organization, id) = R::key(row);
    let mut values = R::whole(row.clone());
    for column in R::FIXED {
        values.not_set(*column);
    }
    let result = R::update_many()
        .set(values)
        .filter(R::ORGANIZATION.eq(organization))
        .filter(R::ID.eq(id))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}

/// Removes one, and with it what the schema says belongs to it.
pub async fn delete<R: Owned>(
    transaction: &mut Transaction,
    organization: OrganizationId,
    id: Uuid,
) -> Result<bool, StoreError> {
    let result = R::delete_many()
        .filter(R::ORGANIZATION.eq(organization.0))
        .filter(R::ID.eq(id))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}
