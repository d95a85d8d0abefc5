//! An organization's own event types.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};

use super::{Listing, Page, insert_unless_taken};
use crate::{
    StoreError, Transaction,
    entity::event_type::{ActiveModel, Column, Entity, Model},
};

/// Writes a new event type; `false` if its name is taken in its organization.
pub async fn insert(transaction: &mut Transaction, event_type: Model) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, ActiveModel::from(event_type)).await
}

/// The event type with this name.
pub async fn find(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    name: &str,
) -> Result<Option<Model>, StoreError> {
    Ok(Entity::find_by_id((organization.0, name.to_owned()))
        .one(connection)
        .await?)
}

/// The event type with this name, which nobody else changes until the transaction ends.
pub async fn find_for_update(
    transaction: &Transaction,
    organization: OrganizationId,
    name: &str,
) -> Result<Option<Model>, StoreError> {
    let query = Entity::find_by_id((organization.0, name.to_owned())).lock_exclusive();
    Ok(query.one(transaction.connection()).await?)
}

/// Name and type of an organization's event types, by name; `limit` of them at most. Their schemas, which are long, are
/// not read.
pub async fn names(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    limit: u64,
) -> Result<Vec<(String, String)>, StoreError> {
    let query = Entity::find()
        .select_only()
        .columns([Column::Name, Column::EventType])
        .filter(Column::OrganizationId.eq(organization.0))
        .order_by_asc(Column::Name)
        .limit(limit);
    Ok(query.into_tuple().all(connection).await?)
}

/// How many an organization has.
pub async fn count(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
) -> Result<u64, StoreError> {
    Ok(Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .count(connection)
        .await?)
}

/// The event types of an organization, by name.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<String>,
) -> Result<Listing<Model, String>, StoreError> {
    let mut query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .order_by_asc(Column::Name)
        .limit(page.rows());
    if let Some(after) = &page.after {
        query = query.filter(Column::Name.gt(after.as_str()));
    }
    let rows = query.all(connection).await?;
    Ok(Listing::cut(rows, &page, |row| row.name.clone()))
}

/// Writes everything but the name and the time of creation.
pub async fn update(transaction: &mut Transaction, event_type: &Model) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::EventType, Expr::value(event_type.event_type.as_str()))
        .col_expr(Column::Description, Expr::value(event_type.description.as_str()))
        .col_expr(Column::Schema, Expr::value(event_type.schema.clone()))
        .col_expr(Column::Example, Expr::value(event_type.example.clone()))
        .col_expr(Column::UpdatedAt, Expr::value(event_type.updated_at))
        .filter(Column::OrganizationId.eq(event_type.organization_id))
        .filter(Column::Name.eq(event_type.name.as_str()))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}

/// Removes an event type. Endpoints keep their subscriptions to it.
pub async fn delete(
    transaction: &mut Transaction,
    organization: OrganizationId,
    name: &str,
) -> Result<bool, StoreError> {
    let result = Entity::delete_many()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Name.eq(name))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}
