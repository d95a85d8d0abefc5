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
    time::Duration,
};

use demae_event::{EndpointId, OrganizationId, Timestamp, subscription::SubscriptionSet};
use demae_signature::standard::SigningKey;
use demae_store::{Store, StoreError, silence::answer};
use http::HeaderMap;

use crate::{client::EndpointUrl, dialect::Dialect, management, policy::RetrySchedule};

/// An endpoint as the engine needs it: parsed and ready for use.
#[derive(Debug)]
pub struct EndpointConfig {
    /// Its identity.
    pub id: EndpointId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// Where to.
    pub url: EndpointUrl,
    /// The URL as its owner wrote it, for history.
    pub url_text: String,
    /// What it wants.
    pub subscriptions: SubscriptionSet,
    /// Its own headers.
    pub headers: HeaderMap,
    /// Names of own headers that are no secret.
    pub public_headers: Vec<String>,
    /// Deliveries per second.
    pub rate_limit: Option<u32>,
    /// For the whole exchange.
    pub timeout: Duration,
    /// Its own schedule, if it has one.
    pub schedule: Option<RetrySchedule>,
    /// Whether it receives anything.
    pub enabled: bool,
    /// How it is spoken to.
    pub dialect: Dialect,
    /// The keys that sign, the current one first, each with the time at which it stops.
    pub keys: Vec<(SigningKey, Option<Timestamp>)>,
    /// What is known about its health.
    pub health: KnownHealth,
    /// Whether its keys and headers could be opened. If not, its deliveries wait.
    pub opened: bool,
}

/// What this process knows about an endpoint's health. It changes in place: it is no reason to load an endpoint again.
#[derive(Debug)]
pub struct KnownHealth {
    failing_since: AtomicI64,
    failing_notified_at: AtomicI64,
}

/// Stands for no time.
const NEVER: i64 = i64::MIN;

impl KnownHealth {
    /// From what the database says.
    pub fn new(failing_since: Option<Timestamp>, failing_notified_at: Option<Timestamp>) -> Self {
        let health = Self {
            failing_since: AtomicI64::new(NEVER),
            failing_notified_at: AtomicI64::new(NEVER),
        };
        health.set(failing_since, failing_notified_at);
        health
    }

    /// What it is from now on.
    pub fn set(&self, failing_since: Option<Timestamp>, failing_notified_at: Option<Timestamp>) {
        let micros = |time: Option<Timestamp>| time.map_or(NEVER, Timestamp::as_micros);
        self.failing_since.store(micros(failing_since), Ordering::Relaxed);
        self.failing_notified_at
            .store(micros(failing_notified_at), Ordering::Relaxed);
    }

    /// Since when there has been nothing but failure.
    pub fn failing_since(&self) -> Option<Timestamp> {
        time(&self.failing_since)
    }

    /// When its owner was told.
    pub fn failing_notified_at(&self) -> Option<Timestamp> {
        time(&self.failing_notified_at)
    }
}

fn time(micros: &AtomicI64) -> Option<Timestamp> {
    let micros = micros.load(Ordering::Relaxed);
    (micros != NEVER).then(|| Timestamp::from_micros(micros))
}

impl EndpointConfig {
    /// The keys that sign at `now`, the current one first.
    pub fn signing_keys(&self, now: Timestamp) -> impl Iterator<Item = &SigningKey> {
        self.keys
            .iter()
            .filter(move |(_, until)| until.is_none_or(|until| until > now))
            .map(|(key, _)| key)
    }
}

/// Every endpoint that is not deleted, at one version.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Rises without another change if nothing but health changed, which is kept in place.
    version: AtomicI64,
    by_id: HashMap<EndpointId, Arc<EndpointConfig>>,
    by_organization: HashMap<OrganizationId, Vec<Arc<EndpointConfig>>>,
}

impl Snapshot {
    fn insert(&mut self, endpoint: EndpointConfig) {
        self.remove(endpoint.id);
        let endpoint = Arc::new(endpoint);
        self.by_organization
            .entry(endpoint.organization_id)
            .or_default()
            .push(endpoint.clone());
        self.by_id.insert(endpoint.id, endpoint);
    }

    fn remove(&mut self, id: EndpointId) {
        let Some(endpoint) = self.by_id.remove(&id) else {
            return;
        };
        if let Some(siblings) = self.by_organization.get_mut(&endpoint.organization_id) {
            siblings.retain(|sibling| sibling.id != id);
            if siblings.is_empty() {
                self.by_organization.remove(&endpoint.organization_id);
            }
        }
    }

    /// The endpoint, unless it is deleted.
    pub fn get(&self, id: EndpointId) -> Option<&Arc<EndpointConfig>> {
        self.by_id.get(&id)
    }

    /// The organization's endpoints.
    pub fn of(&self, organization: OrganizationId) -> &[Arc<EndpointConfig>] {
        self.by_organization.get(&organization).map_or(&[], Vec::as_slice)
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
            by_organization: known.by_organization.clone(),
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
