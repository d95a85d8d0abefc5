//! Organizations.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::ExprTrait as _,
};

use super::{Listing, Page, applications, insert_unless_taken};
use crate::{
    StoreError, Transaction,
    entity::{
        application, counter,
        organization::{ActiveModel, Column, Entity, Model},
    },
};

/// Writes a new organization with its default application; `false` if its external id is taken.
pub async fn insert(transaction: &mut Transaction, organization: Model) -> Result<bool, StoreError> {
    let default = application::Model {
        id: organization.id,
        organization_id: organization.id,
        uid: None,
        name: organization.name.clone(),
        version: 0,
        created_at: organization.created_at,
        updated_at: organization.created_at,
        deleted_at: None,
    };
    Ok(
        insert_unless_taken(transaction, ActiveModel::from(organization)).await?
            && applications::insert(transaction, default).await?,
    )
}

/// One organization.
pub async fn find(
    connection: &impl ConnectionTrait,
    id: OrganizationId,
) -> Result<Option<Model>, StoreError> {
    Ok(Entity::find_by_id(id.0).one(connection).await?)
}

/// Those of `ids` that exist.
pub async fn existing(
    connection: &impl ConnectionTrait,
    ids: impl IntoIterator<Item = OrganizationId>,
) -> Result<Vec<OrganizationId>, StoreError> {
    let ids = ids.into_iter().map(|id| id.0);
    let found: Vec<uuid::Uuid> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Id.is_in(ids))
        .into_tuple()
        .all(connection)
        .await?;
    Ok(found.into_iter().map(OrganizationId).collect())
}

/// The organization that an identity provider knows under `external_id`.
pub async fn find_by_external_id(
    connection: &impl ConnectionTrait,
    external_id: &str,
) -> Result<Option<Model>, StoreError> {
    Ok(Entity::find()
        .filter(Column::ExternalId.eq(external_id))
        .one(connection)
        .await?)
}

/// The oldest organization, which is the one made on the first start.
pub async fn first(connection: &impl ConnectionTrait) -> Result<Option<Model>, StoreError> {
    Ok(Entity::find().order_by_asc(Column::Id).one(connection).await?)
}

/// All organizations, oldest first.
pub async fn list(
    connection: &impl ConnectionTrait,
    page: Page<OrganizationId>,
) -> Result<Listing<Model, OrganizationId>, StoreError> {
    let mut query = Entity::find().order_by_asc(Column::Id).limit(page.rows());
    if let Some(after) = page.after {
        query = query.filter(Column::Id.gt(after.0));
    }
    let rows = query.all(connection).await?;
    Ok(Listing::cut(rows, &page, |row| OrganizationId(row.id)))
}

/// Makes other transactions that call this wait until this one ends, so that "look whether there is one, else make
/// one" is done by one process only.
pub async fn lock_creation(transaction: &mut Transaction) -> Result<(), StoreError> {
    // Any row that every process knows will do; an update holds it until the end of the transaction.
    counter::Entity::update_many()
        .col_expr(
            counter::Column::Value,
            sea_orm::sea_query::Expr::col(counter::Column::Value).add(0),
        )
        .filter(counter::Column::Name.eq("endpoints"))
        .exec(transaction.connection())
        .await?;
    Ok(())
}
