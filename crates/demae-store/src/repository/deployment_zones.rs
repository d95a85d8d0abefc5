//! Deployment zones and the releases that came to them.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use uuid::Uuid;

use super::{
    Listing, Page, insert_unless_taken,
    resource::{self, Resource},
};
use crate::{
    StoreError, Transaction,
    entity::{
        deployment,
        deployment_zone::{ActiveModel, Column, Entity, Model},
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

/// Writes a new zone; `false` if its slug is taken in its organization.
pub async fn insert(transaction: &mut Transaction, zone: Model) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, ActiveModel::from(zone)).await
}

/// The zone with this slug.
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

/// The zones of an organization, oldest first.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<Uuid>,
) -> Result<Listing<Model, Uuid>, StoreError> {
    resource::list::<Entity>(connection, organization, page).await
}

/// Writes what a replacement may change: name, type, description, metadata, release, and who did it when.
pub async fn update(transaction: &mut Transaction, zone: &Model) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Name, Expr::value(zone.name.as_str()))
        .col_expr(Column::Kind, Expr::value(zone.kind.as_str()))
        .col_expr(Column::Description, Expr::value(zone.description.as_str()))
        .col_expr(Column::Metadata, Expr::value(zone.metadata.as_str()))
        .col_expr(Column::ReleaseId, Expr::value(zone.release_id))
        .col_expr(Column::UpdatedAt, Expr::value(zone.updated_at))
        .col_expr(Column::UpdatedById, Expr::value(zone.updated_by_id))
        .col_expr(Column::UpdatedByName, Expr::value(zone.updated_by_name.clone()))
        .filter(Column::OrganizationId.eq(zone.organization_id))
        .filter(Column::Id.eq(zone.id))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}

/// Removes a zone and its deployments. Its instances are in no zone afterwards.
pub async fn delete(
    transaction: &mut Transaction,
    organization: OrganizationId,
    id: Uuid,
) -> Result<bool, StoreError> {
    resource::delete::<Entity>(transaction, organization, id).await
}

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
