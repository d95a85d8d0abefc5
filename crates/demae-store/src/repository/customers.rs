//! Customers.

use demae_event::OrganizationId;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, sea_query::Expr};
use uuid::Uuid;

use super::{
    Listing, Page, insert_unless_taken,
    resource::{self, Resource},
};
use crate::{
    StoreError, Transaction,
    entity::customer::{ActiveModel, Column, Entity, Model},
};

impl Resource for Entity {
    const ORGANIZATION: Column = Column::OrganizationId;
    const ID: Column = Column::Id;
    const SLUG: Column = Column::Slug;

    fn id(row: &Model) -> Uuid {
        row.id
    }
}

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
    resource::find::<Entity>(connection, organization, slug).await
}

/// The same, and nobody else changes it until the transaction ends.
pub async fn find_for_update(
    transaction: &mut Transaction,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<Model>, StoreError> {
    resource::find_for_update::<Entity>(transaction, organization, slug).await
}

/// The customers of an organization, oldest first.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<Uuid>,
) -> Result<Listing<Model, Uuid>, StoreError> {
    resource::list::<Entity>(connection, organization, page).await
}

/// Writes what may change: name, external id, domain, integrations, and who did it when.
pub async fn update(transaction: &mut Transaction, customer: &Model) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Name, Expr::value(customer.name.as_str()))
        .col_expr(
            Column::ExternalCustomerId,
            Expr::value(customer.external_customer_id.clone()),
        )
        .col_expr(Column::Domain, Expr::value(customer.domain.clone()))
        .col_expr(Column::Integrations, Expr::value(customer.integrations.as_str()))
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
    resource::delete::<Entity>(transaction, organization, id).await
}
