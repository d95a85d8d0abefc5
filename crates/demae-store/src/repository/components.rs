//! Components.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect, RelationDef,
    sea_query::Expr,
};
use uuid::Uuid;

use super::{
    Listing, Page, insert_unless_taken,
    resource::{self, Resource},
};
use crate::{
    StoreError, Transaction,
    entity::{
        component::{ActiveModel, Column, Entity, Model},
        release, release_component,
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

/// Writes a new component; `false` if its slug, or its name at its version, is taken in its organization.
pub async fn insert(transaction: &mut Transaction, component: Model) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, ActiveModel::from(component)).await
}

/// The component with this slug.
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

/// Those with these ids, in the order of their ids; nobody changes or deletes them until the transaction ends.
pub async fn find_all_shared(
    transaction: &mut Transaction,
    organization: OrganizationId,
    ids: &[Uuid],
) -> Result<Vec<Model>, StoreError> {
    resource::find_all_shared::<Entity>(transaction, organization, ids).await
}

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

/// The components of an organization, oldest first.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<Uuid>,
) -> Result<Listing<Model, Uuid>, StoreError> {
    resource::list::<Entity>(connection, organization, page).await
}

/// Writes what a replacement may change: name, version, description, and who did it when.
///
/// # Errors
///
/// [`StoreError::Conflict`] if the name at this version is another one's.
pub async fn update(transaction: &mut Transaction, component: &Model) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Name, Expr::value(component.name.as_str()))
        .col_expr(Column::Version, Expr::value(component.version.as_str()))
        .col_expr(Column::Description, Expr::value(component.description.clone()))
        .col_expr(Column::UpdatedAt, Expr::value(component.updated_at))
        .col_expr(Column::UpdatedById, Expr::value(component.updated_by_id))
        .col_expr(
            Column::UpdatedByName,
            Expr::value(component.updated_by_name.clone()),
        )
        .filter(Column::OrganizationId.eq(component.organization_id))
        .filter(Column::Id.eq(component.id))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
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

/// Removes a component, which no release contains. Those that came after it no longer say so.
pub async fn delete(
    transaction: &mut Transaction,
    organization: OrganizationId,
    id: Uuid,
) -> Result<bool, StoreError> {
    resource::delete::<Entity>(transaction, organization, id).await
}
