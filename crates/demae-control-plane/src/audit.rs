//! The audit trail: who did what to which resource when.
//!
//! Entries are written by [`Change`](crate::Change), in the transaction of what they tell of, and never change. They
//! outlive what they are about.

use demae_event::{Timestamp, catalogue};
use demae_fields::{Shown, schema::any_object};
use demae_store::{
    Store, StoreError,
    entity::audit_entry::Model,
    repository::{self, Listing, Page, audit::AuditFilter},
};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    Actor, DomainError, User,
    error::Operation,
    model::{from_json, time},
};

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Shown)]
#[serde(rename_all = "camelCase")]
#[shown(name = "AuditTrail")]
pub struct AuditEntry {
    /// Its identity.
    pub id: Uuid,
    /// What happened; the name of its event, if it has one.
    #[shown(example = "INSTANCE_UPDATE")]
    pub event_name: String,
    /// The type that goes with it.
    #[shown(example = "com.kaiten.instance.v1.updated")]
    pub event_type: String,
    /// To what kind of resource.
    #[shown(example = "instance")]
    pub resource: String,
    /// To which one.
    pub resource_id: Uuid,
    /// Its slug at that time.
    pub resource_slug: String,
    /// The instance that it is, or belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<Uuid>,
    /// The instance's slug at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_slug: Option<String>,
    /// When.
    pub timestamp: Timestamp,
    /// Who did it.
    pub actor: User,
    /// The resource as it was then; the last time, for one that was deleted.
    #[shown(schema = any_object())]
    pub payload: Value,
}

/// Which entries are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// With this event name (either form) or type.
    pub event_name: Option<String>,
    /// About this kind of resource.
    pub resource: Option<String>,
    /// Of what this service account did.
    pub actor: Option<Uuid>,
    /// Written then or later.
    pub after: Option<Timestamp>,
    /// Written then or before.
    pub before: Option<Timestamp>,
}

impl AuditQuery {
    fn filter(self, instance: Option<Uuid>) -> AuditFilter {
        let name = |text: String| match catalogue::find(&text) {
            Some(definition) => definition.name.to_owned(),
            None => text,
        };
        AuditFilter {
            instance,
            event_name: self.event_name.map(name),
            resource: self.resource,
            actor: self.actor,
            after: self.after,
            before: self.before,
        }
    }
}

/// The entries of the actor's organization, newest first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    query: AuditQuery,
    page: Page<Uuid>,
) -> Result<Listing<AuditEntry, Uuid>, DomainError> {
    Ok(read(store, actor, &query.filter(None), page).await?)
}

/// Those about one instance and what it used, newest first.
pub async fn of_instance(
    store: &Store,
    actor: &Actor,
    instance: &str,
    query: AuditQuery,
    page: Page<Uuid>,
) -> Result<Listing<AuditEntry, Uuid>, DomainError> {
    let found = repository::instances::find(store.reader(), actor.organization_id, instance)
        .await?
        .ok_or(Operation("ListAuditTrails").missing("InstanceNotFound", "instance"))?;
    Ok(read(store, actor, &query.filter(Some(found.row.id)), page).await?)
}

async fn read(
    store: &Store,
    actor: &Actor,
    filter: &AuditFilter,
    page: Page<Uuid>,
) -> Result<Listing<AuditEntry, Uuid>, StoreError> {
    repository::audit::list(store.reader(), actor.organization_id, filter, page)
        .await?
        .try_map(model)
}

fn model(row: Model) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        id: row.id,
        event_name: row.event_name,
        event_type: row.event_type,
        resource: row.resource,
        resource_id: row.resource_id,
        resource_slug: row.resource_slug,
        instance_id: row.instance_id,
        instance_slug: row.instance_slug,
        timestamp: time(row.created_at),
        actor: User {
            id: row.created_by_id,
            name: row.created_by_name,
        },
        payload: from_json(&row.payload, "an audit entry's payload")?,
    })
}
