//! Which endpoints there are, in memory.
//!
//! The router asks for every event, the sender for every attempt; neither may cost a query. A change of an endpoint
//! raises a counter in the same transaction ([`demae_store::Engine::endpoints_version`]), and the router compares the
//! counter before it fans a batch out: an event that was committed after an endpoint is never routed without it, in
//! whichever process either happened.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use demae_event::{EndpointId, OrganizationId, Timestamp, subscription::SubscriptionSet};
use demae_signature::standard::SigningKey;
use demae_store::{Store, StoreError, silence::answer};
use http::HeaderMap;

use crate::{client::EndpointUrl, dialect::Dialect, policy::RetrySchedule};

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
    /// Since when there has been nothing but failure.
    pub failing_since: Option<Timestamp>,
    /// When its owner was told.
    pub failing_notified_at: Option<Timestamp>,
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
    version: Option<i64>,
    by_id: HashMap<EndpointId, Arc<EndpointConfig>>,
    by_organization: HashMap<OrganizationId, Vec<Arc<EndpointConfig>>>,
}

impl Snapshot {
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
            snapshot: RwLock::default(),
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
        if known.version == Some(version) {
            return Ok(known);
        }
        let _one = self.refreshing.lock().await;
        let known = self.snapshot();
        if known.version.is_some_and(|known| known >= version) {
            return Ok(known);
        }
        // Read after the version: what is loaded is at least as new as what it is called.
        let mut snapshot = Snapshot {
            version: Some(version),
            ..Snapshot::default()
        };
        for endpoint in answer(crate::management::load_endpoints(&self.store)).await? {
            let endpoint = Arc::new(endpoint);
            snapshot
                .by_organization
                .entry(endpoint.organization_id)
                .or_default()
                .push(endpoint.clone());
            snapshot.by_id.insert(endpoint.id, endpoint);
        }
        let snapshot = Arc::new(snapshot);
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot.clone();
        Ok(snapshot)
    }
}
