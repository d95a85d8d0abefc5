//! An endpoint as the engine needs it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use demae_event::{EndpointId, Scope, Timestamp, subscription::SubscriptionSet};
use demae_signature::standard::SigningKey;
use http::HeaderMap;

use crate::{client::EndpointUrl, dialect::Dialect, policy::RetrySchedule};

/// An endpoint as the engine needs it: parsed and ready for use.
#[derive(Debug)]
pub struct EndpointConfig {
    /// Its identity.
    pub id: EndpointId,
    /// The application it belongs to, within its organization.
    pub scope: Scope,
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
