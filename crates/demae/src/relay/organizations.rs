//! Whether an event's organization exists. Whoever writes to a source may name anybody, Demae's own outbox included, and an
//! event of nobody would lie in the tables for ever.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use demae_cdc::envelope;
use demae_delivery::engine::{EventSource, SourceError};
use demae_event::{Event, EventId, OrganizationId};
use demae_store::{Engine, Store, StoreError, repository::organizations, silence::answer};

use super::rejections::{HoldError, Rejections};

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
        Ok(self.unknown([id].into_iter()).await?.is_empty())
    }

    /// Those of `ids` that do not exist. Costs no statement where all are remembered, and otherwise one.
    pub(crate) async fn unknown(
        &self,
        ids: impl Iterator<Item = OrganizationId> + Send,
    ) -> Result<HashSet<OrganizationId>, StoreError> {
        let mut unknown: HashSet<OrganizationId> = {
            let known = self.known();
            ids.filter(|id| !known.contains(id)).collect()
        };
        if unknown.is_empty() {
            return Ok(unknown);
        }
        let question = organizations::existing(self.store.reader(), unknown.iter().copied());
        let found = answer(question).await?;
        let mut known = self.known();
        if known.len() + found.len() > REMEMBERED {
            known.clear();
        }
        for id in found {
            unknown.remove(&id);
            known.insert(id);
        }
        Ok(unknown)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<OrganizationId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an event of an organization that does not exist is rejected.
pub(super) fn unknown_organization(event: &Event) -> String {
    format!("there is no organization {}", event.organization_id)
}

/// Why a source stops.
pub(super) fn not_held(error: HoldError) -> SourceError {
    match error {
        HoldError::Store(error) => SourceError::Store(error),
        unseen @ HoldError::Unseen { .. } => SourceError::other(unseen),
    }
}

/// A source without the events of organizations that do not exist: those are written down and acknowledged.
pub(crate) struct OfKnownOrganizations {
    source: Box<dyn EventSource>,
    /// For people, where an event was rejected.
    name: String,
    organizations: Organizations,
    rejections: Rejections,
    /// Whose outbox the events lie in until they are routed, or rejected.
    outbox: Option<Arc<dyn Engine>>,
    /// Whether it stops when nobody looks at what is rejected, so that none of it is lost.
    waits: bool,
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
            outbox: None,
            waits: false,
        }
    }

    /// Of a source that nothing else comes through: it can wait until somebody has looked at what is rejected.
    pub(crate) fn waiting(self) -> Self {
        Self { waits: true, ..self }
    }

    /// Of Demae's own outbox: what is rejected is taken out of it.
    pub(crate) fn out_of(self, outbox: Arc<dyn Engine>) -> Self {
        Self {
            outbox: Some(outbox),
            ..self
        }
    }

    /// Writes them down, and only then lets go of them.
    async fn set_aside(&mut self, events: &[Event]) -> Result<(), SourceError> {
        let rejected: Vec<_> = events
            .iter()
            .map(|event| (unknown_organization(event), envelope::encode(event)))
            .collect();
        if self.waits {
            for (reason, body) in &rejected {
                let held = self.rejections.hold(&self.name, reason, body).await;
                held.map_err(not_held)?;
            }
        } else {
            self.rejections.add_all(&self.name, &rejected).await?;
        }
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        if let Some(outbox) = &self.outbox {
            outbox.take_out(&ids).await?;
        }
        self.source.acknowledge(&ids).await
    }
}

#[async_trait]
impl EventSource for OfKnownOrganizations {
    async fn next(&mut self, limit: u32) -> Result<Vec<Event>, SourceError> {
        loop {
            let events = self.source.next(limit).await?;
            let organizations = events.iter().map(|event| event.organization_id);
            let unknown = self.organizations.unknown(organizations).await?;
            if unknown.is_empty() {
                return Ok(events);
            }
            let (known, rejected): (Vec<_>, Vec<_>) = events
                .into_iter()
                .partition(|event| !unknown.contains(&event.organization_id));
            self.set_aside(&rejected).await?;
            if !known.is_empty() {
                return Ok(known);
            }
        }
    }

    async fn acknowledge(&mut self, events: &[EventId]) -> Result<(), SourceError> {
        self.source.acknowledge(events).await
    }
}

#[cfg(test)]
mod tests;
