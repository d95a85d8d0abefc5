//! Licenses.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect, RelationDef,
    sea_query::LockType,
};
use uuid::Uuid;

use crate::{
    StoreError, Transaction,
    entity::{
        entitlement, instance,
        license::{Column, Entity, Model},
        license_entitlement, organization,
    },
};

/// Lets one transaction of an organization at a time go on from here, until it ends: which license is the default, and
/// which version of a name comes next, depend on rows that others may be about to write. Rows that refer to the
/// organization can be written meanwhile.
pub async fn take_turn(
    transaction: &mut Transaction,
    organization: OrganizationId,
) -> Result<(), StoreError> {
    let query = organization::Entity::find()
        .filter(organization::Column::Id.eq(organization.0))
        .lock(LockType::NoKeyUpdate);
    query.one(transaction.connection()).await?;
    Ok(())
}

/// The organization's default, which nobody else changes until the transaction ends.
pub async fn find_default_for_update(
    transaction: &mut Transaction,
    organization: OrganizationId,
) -> Result<Option<Model>, StoreError> {
    let query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        // Without a parameter, or no planner would recognise the index by it.
        .filter(Column::IsDefault.into_expr())
        .lock_exclusive();
    Ok(query.one(transaction.connection()).await?)
}

/// The highest version of the licenses of this name.
pub async fn highest_version(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    name: &str,
) -> Result<Option<i64>, StoreError> {
    let query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Name.eq(name))
        .order_by_desc(Column::Version)
        .select_only()
        .column(Column::Version)
        .limit(1)
        .into_tuple();
    Ok(query.one(connection).await?)
}

/// Whether there is a license of this name at this version.
pub async fn version_exists(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    name: &str,
    version: i64,
) -> Result<bool, StoreError> {
    let query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Name.eq(name))
        .filter(Column::Version.eq(version));
    Ok(query.one(connection).await?.is_some())
}

/// The slugs of the first instances under a license.
pub async fn instances_under(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    id: Uuid,
    limit: u64,
) -> Result<Vec<String>, StoreError> {
    let query = instance::Entity::find()
        .filter(instance::Column::OrganizationId.eq(organization.0))
        .filter(instance::Column::LicenseId.eq(id))
        .order_by_asc(instance::Column::Id)
        .select_only()
        .column(instance::Column::Slug)
        .limit(limit)
        .into_tuple();
    Ok(query.all(connection).await?)
}

/// The slugs of the first entitlements that a license grants.
pub async fn entitlements_granted(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    id: Uuid,
    limit: u64,
) -> Result<Vec<String>, StoreError> {
    let entitlement: RelationDef = license_entitlement::Entity::belongs_to(entitlement::Entity)
        .from(license_entitlement::Column::EntitlementId)
        .to(entitlement::Column::Id)
        .into();
    let query = license_entitlement::Entity::find()
        .join(JoinType::InnerJoin, entitlement)
        .filter(license_entitlement::Column::OrganizationId.eq(organization.0))
        .filter(license_entitlement::Column::LicenseId.eq(id))
        .order_by_asc(license_entitlement::Column::Id)
        .select_only()
        .column(entitlement::Column::Slug)
        .limit(limit)
        .into_tuple();
    Ok(query.all(connection).await?)
}
