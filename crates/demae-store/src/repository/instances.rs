//! Instances, with the slugs of what they refer to.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, JoinType, QueryFilter, QueryOrder,
    QuerySelect, Select,
    sea_query::{Expr, ExprTrait as _, LockType},
};
use uuid::Uuid;

use super::{Listing, Page, resource};
use crate::{
    StoreError, Transaction,
    entity::{
        customer, deployment_zone,
        instance::{Column, Entity, Model},
        license,
        resource::Named,
    },
};

/// An instance and the slugs of what it refers to.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct NamedInstance {
    /// The row.
    #[sea_orm(nested)]
    pub row: Model,
    /// Of its customer.
    pub customer_slug: String,
    /// Of its license.
    pub license_slug: String,
    /// Of the zone it runs in, if it runs in one.
    pub deployment_zone_slug: Option<String>,
}

fn named(organization: OrganizationId) -> Select<Entity> {
    let mut query = Entity::find()
        .column_as(customer::Column::Slug, "customer_slug")
        .column_as(license::Column::Slug, "license_slug")
        .column_as(deployment_zone::Column::Slug, "deployment_zone_slug")
        .filter(Column::OrganizationId.eq(organization.0));
    let refers = |column: Column| Expr::col((Entity, column));
    QuerySelect::query(&mut query)
        .join(
            JoinType::InnerJoin,
            customer::Entity,
            refers(Column::CustomerId).equals((customer::Entity, customer::Column::Id)),
        )
        .join(
            JoinType::InnerJoin,
            license::Entity,
            refers(Column::LicenseId).equals((license::Entity, license::Column::Id)),
        )
        .join(
            JoinType::LeftJoin,
            deployment_zone::Entity,
            refers(Column::DeploymentZoneId).equals((deployment_zone::Entity, deployment_zone::Column::Id)),
        );
    query
}

/// The instance with this slug.
pub async fn find(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<NamedInstance>, StoreError> {
    let query = named(organization).filter(Column::Slug.eq(slug));
    Ok(query.into_model().one(connection).await?)
}

/// The same, and nobody else changes it until the transaction ends.
///
/// Two statements: a row that changes while it is waited for would be joined with what it referred to before.
pub async fn find_for_update(
    transaction: &mut Transaction,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<NamedInstance>, StoreError> {
    match resource::find_for_update::<Entity>(transaction, organization, slug).await? {
        None => Ok(None),
        Some(_) => find(transaction.connection(), organization, slug).await,
    }
}

/// The instances of an organization, oldest first.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<Uuid>,
) -> Result<Listing<NamedInstance, Uuid>, StoreError> {
    let mut query = named(organization).order_by_asc(Column::Id).limit(page.rows());
    if let Some(after) = page.after {
        query = query.filter(Column::Id.gt(after));
    }
    let rows = query.into_model::<NamedInstance>().all(connection).await?;
    Ok(Listing::cut(rows, &page, |named| named.row.id))
}

/// The slug of the customer with this id, which nobody deletes until the transaction ends.
pub async fn hold_customer(
    transaction: &mut Transaction,
    organization: OrganizationId,
    id: Uuid,
) -> Result<Option<String>, StoreError> {
    hold::<customer::Entity>(transaction, organization, id).await
}

/// The slug of the license with this id, which nobody deletes until the transaction ends.
pub async fn hold_license(
    transaction: &mut Transaction,
    organization: OrganizationId,
    id: Uuid,
) -> Result<Option<String>, StoreError> {
    hold::<license::Entity>(transaction, organization, id).await
}

/// The slug of the zone with this id, which nobody deletes until the transaction ends.
pub async fn hold_zone(
    transaction: &mut Transaction,
    organization: OrganizationId,
    id: Uuid,
) -> Result<Option<String>, StoreError> {
    hold::<deployment_zone::Entity>(transaction, organization, id).await
}

/// Locks as a foreign key does: whoever only changes the row is not in the way.
async fn hold<R: Named>(
    transaction: &mut Transaction,
    organization: OrganizationId,
    id: Uuid,
) -> Result<Option<String>, StoreError> {
    let query = R::find()
        .select_only()
        .column(R::SLUG)
        .filter(R::ORGANIZATION.eq(organization.0))
        .filter(R::ID.eq(id))
        .lock(LockType::KeyShare);
    Ok(query.into_tuple().one(transaction.connection()).await?)
}

/// The slugs of a customer's first instances.
pub async fn of_customer(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    customer: Uuid,
    limit: u64,
) -> Result<Vec<String>, StoreError> {
    let query = Entity::find()
        .select_only()
        .column(Column::Slug)
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::CustomerId.eq(customer))
        .order_by_asc(Column::Id)
        .limit(limit);
    Ok(query.into_tuple().all(connection).await?)
}
