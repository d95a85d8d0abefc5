//! What every handler can reach, and the bounds it keeps.

use std::{sync::Arc, time::Duration};

use crate::{
    answers::Answers, compute::ComputePool, ingest::EventSink, shares::Shares, tokens::TokenLookup,
    turns::WriteTurns,
};
use demae_control_plane::feature_flags::FlagCache;
use demae_delivery::management::Management;
use demae_event::{Clock, Timestamp};
use demae_store::Store;

/// Bytes of large request bodies in memory at the same time; two bodies of the greatest length at least.
pub(crate) const BODY_ROOM: usize = 16 * 1024 * 1024;
/// Large request bodies of one organization, in memory or waiting for room.
const BODY_USERS: usize = 8_192;

/// The bounds of the HTTP surfaces.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest request body, in bytes.
    pub body_bytes: usize,
    /// A body must have arrived by then.
    pub body_timeout: Duration,
    /// Changes of one organization under way or waiting for the database at the same time, and half of those of all; more
    /// are answered 503.
    pub concurrent_writes: usize,
    /// Events in one request.
    pub events_per_request: usize,
    /// How long the answer to a request with an `Idempotency-Key` is kept.
    pub idempotency_kept: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            concurrent_writes: 256,
            events_per_request: 100,
            idempotency_kept: Duration::from_hours(24),
        }
    }
}

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Shared>);

struct Shared {
    store: Store,
    management: Management,
    clock: Arc<dyn Clock>,
    events: Arc<dyn EventSink>,
    limits: Limits,
    tokens: TokenLookup,
    flags: FlagCache,
    writes: WriteTurns,
    computations: ComputePool,
    answers: Answers,
    bodies: Shares,
}

impl std::fmt::Debug for ApiState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiState")
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}

impl ApiState {
    /// Over an open and migrated `store`, which `management` works on too; events that come with no other change go to
    /// `events`.
    pub fn new(
        store: Store,
        management: Management,
        clock: Arc<dyn Clock>,
        events: Arc<dyn EventSink>,
        limits: Limits,
    ) -> Self {
        let body_room = BODY_ROOM.max(limits.body_bytes.saturating_mul(2));
        Self(Arc::new(Shared {
            tokens: TokenLookup::new(&store),
            writes: WriteTurns::new(limits.concurrent_writes, store.write_connections()),
            answers: Answers::default(),
            store,
            management,
            clock,
            events,
            limits,
            flags: FlagCache::default(),
            computations: ComputePool::new(),
            bodies: Shares::new(body_room, body_room / 2, BODY_USERS),
        }))
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What looks after endpoints, events and history.
    pub fn management(&self) -> &Management {
        &self.0.management
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Where events go that come with no other change.
    pub fn events(&self) -> &dyn EventSink {
        &*self.0.events
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// What tokens stand for.
    pub fn tokens(&self) -> &TokenLookup {
        &self.0.tokens
    }

    /// The compiled rules of feature flags.
    pub fn flags(&self) -> &FlagCache {
        &self.0.flags
    }

    pub(crate) fn answers(&self) -> &Answers {
        &self.0.answers
    }

    /// Room for large bodies, in bytes.
    pub(crate) fn bodies(&self) -> &Shares {
        &self.0.bodies
    }

    pub(crate) fn writes(&self) -> &WriteTurns {
        &self.0.writes
    }

    /// The threads for computations that users cause.
    pub fn computations(&self) -> &ComputePool {
        &self.0.computations
    }
}
