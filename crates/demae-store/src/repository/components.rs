//! Components.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect, RelationDef,
};
use uuid::Uuid;

use crate::{
    StoreError,
    entity::{
        component::{Column, Entity, Model},
        release, release_component,
    },
};

/// The component of this name at this version.
pub async fn find_version(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    name: &str,
    version: &str,
) -> Result<Option<Model>, StoreError> {
    let query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Name.eq(name))
        .filter(Column::Version.eq(version));
    Ok(query.one(connection).await?)
}

/// The slugs of the first releases that contain a component.
pub async fn releases_with(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    id: Uuid,
    limit: u64,
) -> Result<Vec<String>, StoreError> {
    let release: RelationDef = release_component::Entity::belongs_to(release::Entity)
        .from(release_component::Column::ReleaseId)
        .to(release::Column::Id)
        .into();
    let query = release_component::Entity::find()
        .join(JoinType::InnerJoin, release)
        .filter(release_component::Column::OrganizationId.eq(organization.0))
        .filter(release_component::Column::ComponentId.eq(id))
        .order_by_asc(release_component::Column::ReleaseId)
        .select_only()
        .column(release::Column::Slug)
        .limit(limit)
        .into_tuple();
    Ok(query.all(connection).await?)
}
