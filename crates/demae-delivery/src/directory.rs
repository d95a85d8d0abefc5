//! Which endpoints there are, in memory.
//!
//! The router asks for every event, the sender for every attempt; neither may cost a query. A change of an endpoint
//! raises a counter in the same transaction ([`demae_store::Engine::endpoints_version`]), and the router compares the
//! counter before it fans a batch out: an event that was committed after an endpoint is never routed without it, in
//! whichever process either happened.
//!
//! Only what changed is loaded, and opened, again. Health is kept in place: an endpoint that fails and works in turns costs
//! the others nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use demae_event::{EndpointId, Scope};
use demae_store::{Store, StoreError, silence::answer};

use crate::{endpoint::EndpointConfig, management};

/// Stands for no version.
const NEVER: i64 = i64::MIN;

/// Every endpoint that is not deleted, at one version.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Rises without another change if nothing but health changed, which is kept in place.
    version: AtomicI64,
    by_id: HashMap<EndpointId, Arc<EndpointConfig>>,
    by_scope: HashMap<Scope, Vec<Arc<EndpointConfig>>>,
}

impl Snapshot {
    fn insert(&mut self, endpoint: EndpointConfig) {
        self.remove(endpoint.id);
        let endpoint = Arc::new(endpoint);
        self.by_scope
            .entry(endpoint.scope)
            .or_default()
            .push(endpoint.clone());
        self.by_id.insert(endpoint.id, endpoint);
    }

    fn remove(&mut self, id: EndpointId) {
        let Some(endpoint) = self.by_id.remove(&id) else {
            return;
        };
        if let Some(siblings) = self.by_scope.get_mut(&endpoint.scope) {
            siblings.retain(|sibling| sibling.id != id);
            if siblings.is_empty() {
                self.by_scope.remove(&endpoint.scope);
            }
        }
    }

    /// The endpoint, unless it is deleted.
    pub fn get(&self, id: EndpointId) -> Option<&Arc<EndpointConfig>> {
        self.by_id.get(&id)
    }

    /// The application's endpoints. An application that is named in another organization than its own has none.
    pub fn of(&self, scope: Scope) -> &[Arc<EndpointConfig>] {
        self.by_scope.get(&scope).map_or(&[], Vec::as_slice)
    }
}

/// The endpoints, kept up to date.
#[derive(Debug)]
pub struct Directory {
    store: Store,
    snapshot: RwLock<Arc<Snapshot>>,
    /// One refresh at a time; the others wait for its result.
    refreshing: tokio::sync::Mutex<()>,
}

impl Directory {
    /// An empty directory; the first [`Directory::refresh`] fills it.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            snapshot: RwLock::new(Arc::new(Snapshot {
                version: AtomicI64::new(NEVER),
                ..Snapshot::default()
            })),
            refreshing: tokio::sync::Mutex::default(),
        }
    }

    /// The last known state, without looking.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The state as of now: everything that was committed before this call.
    pub async fn refresh(&self) -> Result<Arc<Snapshot>, StoreError> {
        let version = self.store.engine().endpoints_version().await?;
        let known = self.snapshot();
        if known.version.load(Ordering::Acquire) == version {
            return Ok(known);
        }
        let _one = self.refreshing.lock().await;
        let known = self.snapshot();
        let since = known.version.load(Ordering::Acquire);
        if since >= version {
            return Ok(known);
        }
        // Read after the version: what is loaded is at least as new as what it is called.
        let since = (since != NEVER).then_some(since);
        let changes = answer(management::load_changes(&self.store, since)).await?;
        for health in changes.health {
            if let Some(endpoint) = known.get(health.id) {
                endpoint
                    .health
                    .set(health.failing_since, health.failing_notified_at);
            }
        }
        if since.is_some() && changes.endpoints.is_empty() && changes.gone.is_empty() {
            known.version.store(version, Ordering::Release);
            return Ok(known);
        }
        let mut snapshot = Snapshot {
            version: AtomicI64::new(version),
            by_id: known.by_id.clone(),
            by_scope: known.by_scope.clone(),
        };
        for id in changes.gone {
            snapshot.remove(id);
        }
        for endpoint in changes.endpoints {
            snapshot.insert(endpoint);
        }
        let snapshot = Arc::new(snapshot);
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot.clone();
        Ok(snapshot)
    }
}
