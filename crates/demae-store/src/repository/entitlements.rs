//! Entitlements.

use demae_event::OrganizationId;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::NotSet, ColumnTrait, ConnectionTrait, EntityTrait, JoinType,
    QueryFilter, QueryOrder, QuerySelect, RelationDef,
};
use uuid::Uuid;

use super::{
    Listing, Page, insert_unless_taken,
    resource::{self, Resource},
};
use crate::{
    StoreError, Transaction,
    entity::{
        entitlement::{ActiveModel, Column, Entity, Model},
        entitlement_usage, instance, license, license_entitlement,
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

/// Writes a new entitlement; `false` if its slug is taken in its organization.
pub async fn insert(transaction: &mut Transaction, entitlement: Model) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, ActiveModel::from(entitlement)).await
}

/// The entitlement with this slug.
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

/// The entitlements of an organization, oldest first.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<Uuid>,
) -> Result<Listing<Model, Uuid>, StoreError> {
    resource::list::<Entity>(connection, organization, page).await
}

/// Writes what a replacement may change: everything but its identity, its slug and who created it when.
pub async fn update(transaction: &mut Transaction, entitlement: &Model) -> Result<bool, StoreError> {
    let row = ActiveModel {
        id: NotSet,
        organization_id: NotSet,
        slug: NotSet,
        created_at: NotSet,
        created_by_id: NotSet,
        created_by_name: NotSet,
        ..ActiveModel::from(entitlement.clone()).reset_all()
    };
    let result = Entity::update_many()
        .set(row)
        .filter(Column::OrganizationId.eq(entitlement.organization_id))
        .filter(Column::Id.eq(entitlement.id))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}

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

/// Removes an entitlement that no license grants and no instance has used.
pub async fn delete(
    transaction: &mut Transaction,
    organization: OrganizationId,
    id: Uuid,
) -> Result<bool, StoreError> {
    resource::delete::<Entity>(transaction, organization, id).await
}
