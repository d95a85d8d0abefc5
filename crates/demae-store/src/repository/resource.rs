//! What all tables of things that an organization owns and names by slug have in common.
//!
//! Each of them has a unique index on organization and slug, by which one is found, and an index on organization and id,
//! along which they are listed: ids are ordered by time.

use demae_event::OrganizationId;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use uuid::Uuid;

use super::{Listing, Page};
use crate::{StoreError, Transaction};

/// Such a table.
pub(super) trait Resource: EntityTrait {
    /// Whose it is.
    const ORGANIZATION: Self::Column;
    /// Its identity.
    const ID: Self::Column;
    /// Its name in URLs.
    const SLUG: Self::Column;

    /// The identity of a row.
    fn id(row: &Self::Model) -> Uuid;
}

fn owned<R: Resource>(organization: OrganizationId) -> Select<R> {
    R::find().filter(R::ORGANIZATION.eq(organization.0))
}

/// The one with this slug.
pub(super) async fn find<R: Resource>(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<R::Model>, StoreError> {
    let query = owned::<R>(organization).filter(R::SLUG.eq(slug));
    Ok(query.one(connection).await?)
}

/// The same, and nobody else changes it or refers to it until the transaction ends.
pub(super) async fn find_for_update<R: Resource>(
    transaction: &mut Transaction,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<R::Model>, StoreError> {
    let query = owned::<R>(organization).filter(R::SLUG.eq(slug)).lock_exclusive();
    Ok(query.one(transaction.connection()).await?)
}

/// The same, and nobody changes or deletes it until the transaction ends.
pub(super) async fn find_shared<R: Resource>(
    transaction: &mut Transaction,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<R::Model>, StoreError> {
    let query = owned::<R>(organization).filter(R::SLUG.eq(slug)).lock_shared();
    Ok(query.one(transaction.connection()).await?)
}

/// Those with these ids, in the order of their ids; nobody changes or deletes them until the transaction ends.
pub(super) async fn find_all_shared<R: Resource>(
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
pub(super) async fn list<R: Resource>(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<Uuid>,
) -> Result<Listing<R::Model, Uuid>, StoreError> {
    let mut query = owned::<R>(organization).order_by_asc(R::ID).limit(page.rows());
    if let Some(after) = page.after {
        query = query.filter(R::ID.gt(after));
    }
    let rows = query.all(connection).await?;
    Ok(Listing::cut(rows, &page, R::id))
}

/// Removes one.
pub(super) async fn delete<R: Resource>(
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
