//! Whether an event's application exists in its organization. Whoever writes to a source may name anybody, Demae's own outbox
//! included. An event of an unknown organization would lie in the tables for ever, and an event of another tenant's application
//! must not be delivered.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use demae_cdc::envelope;
use demae_delivery::engine::{EventSource, SourceError};
use demae_event::{Event, EventId, OrganizationId, Scope};
use demae_store::{Engine, Store, StoreError, repository::applications, silence::answer};
use tokio::time::Instant;

use super::rejections::{HoldError, Rejections};

/// Organizations remembered, and applications; beyond it, memory starts anew.
const REMEMBERED: usize = 100_000;
/// How long applications are remembered, which can be deleted.
const APPLICATIONS_REMEMBERED: Duration = Duration::from_mins(1);

/// The organizations and applications that exist, remembered. Clones share the memory.
#[derive(Clone)]
pub(crate) struct Organizations {
    store: Store,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// None is ever deleted, and neither is its default application.
    organizations: HashSet<OrganizationId>,
    applications: HashSet<Scope>,
    /// When the oldest of the applications was found.
    applications_since: Option<Instant>,
}

impl Known {
    fn contains(&self, scope: Scope) -> bool {
        if scope.is_default() {
            self.organizations.contains(&scope.organization)
        } else {
            self.applications.contains(&scope)
        }
    }

    fn insert(&mut self, scope: Scope, now: Instant) {
        if scope.is_default() {
            if self.organizations.len() >= REMEMBERED {
                self.organizations.clear();
            }
            self.organizations.insert(scope.organization);
        } else {
            if self.applications.len() >= REMEMBERED {
                self.forget_applications();
            }
            self.applications_since.get_or_insert(now);
            self.applications.insert(scope);
        }
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old = |since| now.duration_since(since) >= APPLICATIONS_REMEMBERED;
        if self.applications_since.is_some_and(is_old) {
            self.forget_applications();
        }
    }

    fn forget_applications(&mut self) {
        self.applications.clear();
        self.applications_since = None;
    }
}

impl Organizations {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            known: Arc::default(),
        }
    }

    /// Whether there is such an application in its organization.
    pub(crate) async fn exists(&self, scope: Scope) -> Result<bool, StoreError> {
        Ok(self.unknown([scope].into_iter()).await?.is_empty())
    }

    /// Those of `scopes` that do not exist. Costs no statement where all are remembered, and otherwise one.
    pub(crate) async fn unknown(
        &self,
        scopes: impl Iterator<Item = Scope> + Send,
    ) -> Result<HashSet<Scope>, StoreError> {
        let now = Instant::now();
        let mut unknown: HashSet<Scope> = {
            let mut known = self.known();
            known.forget_old(now);
            scopes.filter(|scope| !known.contains(*scope)).collect()
        };
        if unknown.is_empty() {
            return Ok(unknown);
        }
        let question = applications::existing(self.store.reader(), unknown.iter().copied());
        let found = answer(question).await?;
        let mut known = self.known();
        for scope in found {
            unknown.remove(&scope);
            known.insert(scope, now);
        }
        Ok(unknown)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an event of an organization or application that does not exist is rejected.
pub(crate) fn unknown_scope(scope: Scope) -> String {
    let organization = scope.organization;
    match scope.named_application() {
        None => format!("there is no organization {organization}"),
        Some(application) => format!(
            "the organization {organization} has no application {} ({application})",
            application.0
        ),
    }
}

/// Why a source stops.
pub(super) fn not_held(error: HoldError) -> SourceError {
    match error {
        HoldError::Store(error) => SourceError::Store(error),
        unseen @ HoldError::Unseen { .. } => SourceError::other(unseen),
    }
}

/// A source without the events of organizations and applications that do not exist: those are written down and acknowledged.
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

    /// The events of scopes that exist; the others are set aside.
    async fn known(&mut self, events: Vec<Event>) -> Result<Vec<Event>, SourceError> {
        let scopes = events.iter().map(|event| event.scope);
        let unknown = self.organizations.unknown(scopes).await?;
        if unknown.is_empty() {
            return Ok(events);
        }
        let (known, rejected): (Vec<_>, Vec<_>) = events
            .into_iter()
            .partition(|event| !unknown.contains(&event.scope));
        self.set_aside(&rejected).await?;
        Ok(known)
    }

    /// Writes them down, and only then lets go of them.
    async fn set_aside(&mut self, events: &[Event]) -> Result<(), SourceError> {
        let rejected: Vec<_> = events
            .iter()
            .map(|event| (unknown_scope(event.scope), envelope::encode(event)))
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
            let known = self.known(events).await?;
            if !known.is_empty() {
                return Ok(known);
            }
        }
    }

    async fn next_of_others(&mut self, except: &HashSet<OrganizationId>) -> Result<Vec<Event>, SourceError> {
        let events = self.source.next_of_others(except).await?;
        self.known(events).await
    }

    async fn acknowledge(&mut self, events: &[EventId]) -> Result<(), SourceError> {
        self.source.acknowledge(events).await
    }
}

#[cfg(test)]
mod tests;
