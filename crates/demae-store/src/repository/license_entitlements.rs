//! What licenses grant.

use demae_event::OrganizationId;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use uuid::Uuid;

use super::{Listing, Page};
use crate::{
    StoreError, Transaction,
    entity::{
        entitlement,
        license_entitlement::{Column, Entity, Model},
    },
};

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
