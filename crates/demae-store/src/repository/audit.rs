//! The audit trail: written with every change, never changed.

use demae_event::{OrganizationId, Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, Func},
};
use uuid::Uuid;

use super::{Listing, Page, history::first_id_at, insert_unless_taken};
use crate::{
    StoreError, Transaction,
    entity::audit_entry::{ActiveModel, Column, Entity, Model},
};

/// Which entries are wanted; empty for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// About this instance, or something inside it.
    pub instance: Option<Uuid>,
    /// With this event name.
    pub event_name: Option<String>,
    /// About this kind of resource.
    pub resource: Option<String>,
    /// Of what this service account did.
    pub actor: Option<Uuid>,
    /// Written then or later.
    pub after: Option<Timestamp>,
    /// Written then or before, to the millisecond.
    pub before: Option<Timestamp>,
}

/// Adds an entry; `false` if its id is taken.
pub async fn insert(transaction: &mut Transaction, entry: Model) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, ActiveModel::from(entry)).await
}

/// The entries of an organization, newest first.
///
/// There is an index for each filter alone, and for the name within an instance. With several others, the narrowest is
/// read by its index and the rest is left out of the page, which may be short therefore.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    filter: &AuditFilter,
    page: Page<Uuid>,
) -> Result<Listing<Model, Uuid>, StoreError> {
    let mut query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .order_by_desc(Column::Id)
        .limit(page.rows());
    // Ids begin with the millisecond of their time, and times are shown to the millisecond: `before` includes whatever
    // shows that time. `after` is compared with the time itself, which is never less than what is shown.
    if let Some(after) = filter.after {
        query = query
            .filter(Column::Id.gte(first_id_at(after)))
            .filter(Column::CreatedAt.gte(after.as_micros()));
    }
    let mut end = page.after;
    if let Some(before) = filter.before {
        let next = first_id_at(Timestamp::from_micros(before.as_micros().saturating_add(1_000)));
        end = Some(end.map_or(next, |end| end.min(next)));
    }
    // One upper bound: with two, SQLite takes the index of all entries for the narrower one.
    if let Some(end) = end {
        query = query.filter(Column::Id.lt(end));
    }
    let backend = connection.get_database_backend();
    let rare = |condition: Expr| match backend {
        // Without statistics it prefers the index of all entries within two bounds, because its rows are narrower.
        DbBackend::Sqlite => Expr::from(Func::cust("likelihood").arg(condition).arg(Expr::cust("0.0"))),
        _ => condition,
    };
    let mut rest = filter.clone();
    if let Some(instance) = rest.instance.take() {
        query = query.filter(rare(Column::InstanceId.eq(instance)));
        if let Some(name) = rest.event_name.take() {
            query = query.filter(Column::EventName.eq(name));
        }
    } else if let Some(name) = rest.event_name.take() {
        query = query.filter(rare(Column::EventName.eq(name)));
    } else if let Some(actor) = rest.actor.take() {
        query = query.filter(rare(Column::CreatedById.eq(actor)));
    } else if let Some(resource) = rest.resource.take() {
        query = query.filter(rare(Column::Resource.eq(resource)));
    }
    let mut listing = Listing::cut(query.all(connection).await?, &page, |entry| entry.id);
    listing.items.retain(|entry| {
        rest.actor.is_none_or(|actor| entry.created_by_id == actor)
            && rest
                .resource
                .as_ref()
                .is_none_or(|resource| entry.resource == *resource)
    });
    Ok(listing)
}
