//! Licenses.

use demae_event::OrganizationId;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::NotSet, ColumnTrait, ConnectionTrait, EntityTrait, JoinType,
    QueryFilter, QueryOrder, QuerySelect, RelationDef, sea_query::LockType,
};
use uuid::Uuid;

use super::{
    Listing, Page, insert_unless_taken,
    resource::{self, Resource},
};
use crate::{
    StoreError, Transaction,
    entity::{
        entitlement, instance,
        license::{ActiveModel, Column, Entity, Model},
        license_entitlement, organization,
    },
};

impl Resource for Entity {
    const ORGANIZATION: Column = Column::OrganizationId;
    const ID: Column = Column::Id;
    const SLUG: Column = Column::Slug;

    fn id(row: &Model) -> Uuid {
        row.id
    }
}

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

/// Writes a new license; `false` if its slug is taken in its organization, or its version, or it would be another default.
pub async fn insert(transaction: &mut Transaction, license: Model) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, ActiveModel::from(license)).await
}

/// The license with this slug.
pub async fn find(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<Model>, StoreError> {
    resource::find::<Entity>(connection, organization, slug).await
}

/// The same, and nobody else changes it or refers to it until the transaction ends.
pub async fn find_for_update(
    transaction: &mut Transaction,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<Model>, StoreError> {
    resource::find_for_update::<Entity>(transaction, organization, slug).await
}

/// The same, and nobody changes or deletes it until the transaction ends.
pub async fn find_shared(
    transaction: &mut Transaction,
    organization: OrganizationId,
    slug: &str,
) -> Result<Option<Model>, StoreError> {
    resource::find_shared::<Entity>(transaction, organization, slug).await
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

/// The licenses of an organization, oldest first.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<Uuid>,
) -> Result<Listing<Model, Uuid>, StoreError> {
    resource::list::<Entity>(connection, organization, page).await
}

/// Writes what a change may change: everything but its identity, its slug, its version and who created it when.
pub async fn update(transaction: &mut Transaction, license: &Model) -> Result<bool, StoreError> {
    let row = ActiveModel {
        id: NotSet,
        organization_id: NotSet,
        slug: NotSet,
        version: NotSet,
        created_at: NotSet,
        created_by_id: NotSet,
        created_by_name: NotSet,
        ..ActiveModel::from(license.clone()).reset_all()
    };
    let result = Entity::update_many()
        .set(row)
        .filter(Column::OrganizationId.eq(license.organization_id))
        .filter(Column::Id.eq(license.id))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
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

/// Removes a license under which there is no instance and which grants nothing.
pub async fn delete(
    transaction: &mut Transaction,
    organization: OrganizationId,
    id: Uuid,
) -> Result<bool, StoreError> {
    resource::delete::<Entity>(transaction, organization, id).await
}
