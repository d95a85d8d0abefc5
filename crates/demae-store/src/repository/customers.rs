//! Customers.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use uuid::Uuid;

use super::{Listing, Page, insert_unless_taken};
use crate::{
    StoreError, Transaction,
    entity::customer::{ActiveModel, Column, Entity, Model},
};

/// Writes a new customer; `false` if its slug is taken in its organization.
pub async fn insert(transaction: &mut Transaction, customer: Model) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, ActiveModel::from(customer)).await
}

/// The customer with this slug.
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

/// The customers of an organization, oldest first.
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

/// Writes what a replacement may change: name, external id, domain, and who did it when.
pub async fn update(transaction: &mut Transaction, customer: &Model) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Name, Expr::value(customer.name.as_str()))
        .col_expr(
            Column::ExternalCustomerId,
            Expr::value(customer.external_customer_id.clone()),
        )
        .col_expr(Column::Domain, Expr::value(customer.domain.clone()))
        .col_expr(Column::UpdatedAt, Expr::value(customer.updated_at))
        .col_expr(Column::UpdatedById, Expr::value(customer.updated_by_id))
        .col_expr(
            Column::UpdatedByName,
            Expr::value(customer.updated_by_name.clone()),
        )
        .filter(Column::OrganizationId.eq(customer.organization_id))
        .filter(Column::Id.eq(customer.id))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}

/// Removes a customer.
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
