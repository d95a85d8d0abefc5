//! Entitlements.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect, RelationDef,
};
use uuid::Uuid;

use crate::{
    StoreError,
    entity::{entitlement_usage, instance, license, license_entitlement},
};

/// The slugs of the first licenses that grant an entitlement.
pub async fn licenses_granting(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    id: Uuid,
    limit: u64,
) -> Result<Vec<String>, StoreError> {
    let license: RelationDef = license_entitlement::Entity::belongs_to(license::Entity)
        .from(license_entitlement::Column::LicenseId)
        .to(license::Column::Id)
        .into();
    let query = license_entitlement::Entity::find()
        .join(JoinType::InnerJoin, license)
        .filter(license_entitlement::Column::OrganizationId.eq(organization.0))
        .filter(license_entitlement::Column::EntitlementId.eq(id))
        .order_by_asc(license_entitlement::Column::LicenseId)
        .select_only()
        .column(license::Column::Slug)
        .limit(limit)
        .into_tuple();
    Ok(query.all(connection).await?)
}

/// The slugs of the first instances that have used an entitlement.
pub async fn instances_using(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    id: Uuid,
    limit: u64,
) -> Result<Vec<String>, StoreError> {
    let instance: RelationDef = entitlement_usage::Entity::belongs_to(instance::Entity)
        .from(entitlement_usage::Column::InstanceId)
        .to(instance::Column::Id)
        .into();
    let query = entitlement_usage::Entity::find()
        .join(JoinType::InnerJoin, instance)
        .filter(entitlement_usage::Column::OrganizationId.eq(organization.0))
        .filter(entitlement_usage::Column::EntitlementId.eq(id))
        .order_by_asc(entitlement_usage::Column::InstanceId)
        .select_only()
        .column(instance::Column::Slug)
        .limit(limit)
        .into_tuple();
    Ok(query.all(connection).await?)
}
