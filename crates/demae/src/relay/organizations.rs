//! Whether an event's organization exists. Demae's own outbox is written by Demae; what comes from elsewhere may name
//! anybody, and an event of nobody would lie in the tables for ever.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use demae_cdc::envelope;
use demae_delivery::engine::{EventSource, SourceError};
use demae_event::{Event, EventId, OrganizationId};
use demae_store::{Store, StoreError, repository::organizations, silence::answer};

use super::rejections::Rejections;

/// Organizations remembered; beyond it, memory starts anew.
const REMEMBERED: usize = 100_000;

/// The organizations that exist, remembered: none is ever deleted. Clones share the memory.
#[derive(Clone)]
pub(crate) struct Organizations {
    store: Store,
    known: Arc<Mutex<HashSet<OrganizationId>>>,
}

impl Organizations {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            known: Arc::default(),
        }
    }

    /// Whether there is such an organization.
    pub(crate) async fn exists(&self, id: OrganizationId) -> Result<bool, StoreError> {
        if self.known().contains(&id) {
            return Ok(true);
        }
        let found = answer(organizations::find(self.store.reader(), id))
            .await?
            .is_some();
        if found {
            let mut known = self.known();
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(id);
        }
        Ok(found)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<OrganizationId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an event of an organization that does not exist is rejected.
pub(super) fn unknown_organization(event: &Event) -> String {
    format!("there is no organization {}", event.organization_id)
}

/// A source without the events of organizations that do not exist: those are written down and acknowledged.
pub(crate) struct OfKnownOrganizations {
    source: Box<dyn EventSource>,
    /// For people, where an event was rejected.
    name: String,
    organizations: Organizations,
    rejections: Rejections,
}

impl OfKnownOrganizations {
    pub(crate) fn new(
        source: Box<dyn EventSource>,
        name: impl Into<String>,
        organizations: Organizations,
        rejections: Rejections,
    ) -> Self {
        Self {
            source,
            name: name.into(),
            organizations,
            rejections,
        }
    }
}

#[async_trait]
impl EventSource for OfKnownOrganizations {
    async fn next(&mut self, limit: u32) -> Result<Vec<Event>, SourceError> {
        loop {
            let mut known = Vec::new();
            let mut rejected = Vec::new();
            for event in self.source.next(limit).await? {
                if self.organizations.exists(event.organization_id).await? {
                    known.push(event);
                } else {
                    let reason = unknown_organization(&event);
                    self.rejections
                        .add(&self.name, &reason, &envelope::encode(&event))
                        .await?;
                    rejected.push(event.id);
                }
            }
            if !rejected.is_empty() {
                self.source.acknowledge(&rejected).await?;
            }
            if !known.is_empty() {
                return Ok(known);
            }
        }
    }

    async fn acknowledge(&mut self, events: &[EventId]) -> Result<(), SourceError> {
        self.source.acknowledge(events).await
    }
}
