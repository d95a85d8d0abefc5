//! Releases and what they consist of.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect, RelationDef,
};
use uuid::Uuid;

use crate::{
    StoreError, Transaction,
    entity::{
        component, deployment, deployment_zone,
        release::{Column, Entity, Model},
        release_component,
    },
};

/// Says what a new release consists of, in this order.
pub async fn insert_components(
    transaction: &mut Transaction,
    release: &Model,
    components: &[Uuid],
) -> Result<(), StoreError> {
    if components.is_empty() {
        return Ok(());
    }
    let links = components.iter().zip(0_i32..).map(|(component, position)| {
        release_component::ActiveModel::from(release_component::Model {
            release_id: release.id,
            component_id: *component,
            organization_id: release.organization_id,
            position,
        })
    });
    release_component::Entity::insert_many(links)
        .exec_without_returning(transaction.connection())
        .await?;
    Ok(())
}

/// Whether a release has this version.
pub async fn is_version_taken(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    version: &str,
) -> Result<bool, StoreError> {
    let query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Version.eq(version));
    Ok(query.one(connection).await?.is_some())
}

/// What these releases consist of: each component with the release that it is in, and those of one release in their order.
pub async fn components_of(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    releases: &[Uuid],
) -> Result<Vec<(Uuid, component::Model)>, StoreError> {
    let component: RelationDef = release_component::Entity::belongs_to(component::Entity)
        .from(release_component::Column::ComponentId)
        .to(component::Column::Id)
        .into();
    let query = release_component::Entity::find()
        .join(JoinType::InnerJoin, component)
        .select_also(component::Entity)
        .filter(release_component::Column::OrganizationId.eq(organization.0))
        .filter(release_component::Column::ReleaseId.is_in(releases.iter().copied()))
        .order_by_asc(release_component::Column::ReleaseId)
        .order_by_asc(release_component::Column::Position);
    let rows = query.all(connection).await?;
    Ok(rows
        .into_iter()
        .filter_map(|(link, component)| Some((link.release_id, component?)))
        .collect())
}

/// The slugs of the first zones that a release was ever deployed to.
///
/// One after the other: a release that came to a zone a thousand times has as many rows in its history.
pub async fn zones_with(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    id: Uuid,
    limit: u64,
) -> Result<Vec<String>, StoreError> {
    let mut slugs = Vec::new();
    let mut last = Uuid::nil();
    while (slugs.len() as u64) < limit {
        let zone: RelationDef = deployment::Entity::belongs_to(deployment_zone::Entity)
            .from(deployment::Column::DeploymentZoneId)
            .to(deployment_zone::Column::Id)
            .into();
        let query = deployment::Entity::find()
            .join(JoinType::InnerJoin, zone)
            .filter(deployment::Column::OrganizationId.eq(organization.0))
            .filter(deployment::Column::ReleaseId.eq(id))
            .filter(deployment::Column::DeploymentZoneId.gt(last))
            .order_by_asc(deployment::Column::DeploymentZoneId)
            .select_only()
            .column(deployment_zone::Column::Id)
            .column(deployment_zone::Column::Slug);
        let Some((zone, slug)) = query.into_tuple::<(Uuid, String)>().one(connection).await? else {
            break;
        };
        slugs.push(slug);
        last = zone;
    }
    Ok(slugs)
}
