//! What licenses grant.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select, sea_query::Expr,
};
use uuid::Uuid;

use super::{Listing, Page, insert_unless_taken};
use crate::{
    StoreError, Transaction,
    entity::{
        entitlement,
        license_entitlement::{ActiveModel, Column, Entity, Model},
    },
};

/// Writes a new grant; `false` if the license grants the entitlement already.
pub async fn insert(transaction: &mut Transaction, grant: Model) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, ActiveModel::from(grant)).await
}

fn pair(organization: OrganizationId, license: Uuid, entitlement: Uuid) -> Select<Entity> {
    Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::LicenseId.eq(license))
        .filter(Column::EntitlementId.eq(entitlement))
}

/// What a license grants of an entitlement.
pub async fn find(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    license: Uuid,
    entitlement: Uuid,
) -> Result<Option<Model>, StoreError> {
    Ok(pair(organization, license, entitlement).one(connection).await?)
}

/// The same, and nobody else changes it until the transaction ends.
pub async fn find_for_update(
    transaction: &mut Transaction,
    organization: OrganizationId,
    license: Uuid,
    entitlement: Uuid,
) -> Result<Option<Model>, StoreError> {
    let query = pair(organization, license, entitlement).lock_exclusive();
    Ok(query.one(transaction.connection()).await?)
}

/// What a license grants, each with its entitlement, in the order in which it was granted.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    license: Uuid,
    page: Page<Uuid>,
) -> Result<Listing<(Model, entitlement::Model), Uuid>, StoreError> {
    let mut query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::LicenseId.eq(license))
        .order_by_asc(Column::Id)
        .limit(page.rows());
    if let Some(after) = page.after {
        query = query.filter(Column::Id.gt(after));
    }
    let rows = query
        .find_also_linked(Granted)
        .all(connection)
        .await?
        .into_iter()
        // A foreign key holds the two together.
        .filter_map(|(grant, entitlement)| Some((grant, entitlement?)))
        .collect();
    Ok(Listing::cut(rows, &page, |(grant, _)| grant.id))
}

/// The way from a grant to its entitlement.
struct Granted;

impl sea_orm::Linked for Granted {
    type FromEntity = Entity;
    type ToEntity = entitlement::Entity;

    fn link(&self) -> Vec<sea_orm::LinkDef> {
        vec![
            Entity::belongs_to(entitlement::Entity)
                .from(Column::EntitlementId)
                .to(entitlement::Column::Id)
                .into(),
        ]
    }
}

/// Writes what a replacement may change: value, overage, and who did it when.
pub async fn update(transaction: &mut Transaction, grant: &Model) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Value, Expr::value(grant.value.as_str()))
        .col_expr(
            Column::LimitCapExceededOveragePercent,
            Expr::value(grant.limit_cap_exceeded_overage_percent),
        )
        .col_expr(Column::UpdatedAt, Expr::value(grant.updated_at))
        .col_expr(Column::UpdatedById, Expr::value(grant.updated_by_id))
        .col_expr(Column::UpdatedByName, Expr::value(grant.updated_by_name.clone()))
        .filter(Column::OrganizationId.eq(grant.organization_id))
        .filter(Column::Id.eq(grant.id))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}

/// Removes a grant.
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
