//! Deployment zones and the releases that came to them.

use demae_event::OrganizationId;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::{Listing, Page, insert_unless_taken};
use crate::{StoreError, Transaction, entity::deployment};

/// Adds to the history of a zone, which its caller holds; `false` if the deployment's id is taken.
pub async fn insert_deployment(
    transaction: &mut Transaction,
    deployment: deployment::Model,
) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, deployment::ActiveModel::from(deployment)).await
}

/// What came to a zone, newest first.
pub async fn deployments(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    zone: Uuid,
    page: Page<Uuid>,
) -> Result<Listing<deployment::Model, Uuid>, StoreError> {
    let mut query = deployment::Entity::find()
        .filter(deployment::Column::OrganizationId.eq(organization.0))
        .filter(deployment::Column::DeploymentZoneId.eq(zone))
        .order_by_desc(deployment::Column::Id)
        .limit(page.rows());
    if let Some(after) = page.after {
        query = query.filter(deployment::Column::Id.lt(after));
    }
    let rows = query.all(connection).await?;
    Ok(Listing::cut(rows, &page, |row| row.id))
}
