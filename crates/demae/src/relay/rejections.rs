//! What can never become an event is written down, so that it neither blocks what comes after it nor vanishes.
//!
//! A source that can wait ([`Rejections::hold`]: another database, a Dapr sidecar) loses nothing unseen: beyond
//! [`rejected::UNSEEN`] rejected events that nobody has looked at it stops, and goes on after `demae dead-letters list`.
//! Where waiting would stop everybody ([`Rejections::add`]: Demae's own outbox, a broker, a destination), the newest
//! [`rejected::KEPT`] remain.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use demae_event::Clock;
use demae_store::{
    Store, StoreError,
    repository::rejected::{self, NewRejected},
    silence::answer,
};
use tokio::time::{Instant, sleep_until};

/// Counter, label `source`: things that could not become events.
const REJECTED: &str = "demae_rejected_events_total";
/// Written by one transaction.
const BATCH: usize = 64;
/// How often a source that waits looks whether somebody has looked, and says so.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Something that can never become an event: why, and what arrived.
pub(crate) type Rejection = (String, Bytes);

/// Why a rejected event was not written down.
#[derive(Debug)]
pub(crate) enum HoldError {
    /// Demae's own database failed.
    Store(StoreError),
    /// Nobody has looked at the last ones.
    Unseen {
        /// The source, as `demae dead-letters` names it.
        origin: String,
        /// How many.
        unseen: u64,
    },
}

impl fmt::Display for HoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Unseen { origin, unseen } => write!(
                f,
                "{unseen} rejected events of {origin} were not looked at yet; it waits, so that none is lost: run `demae \
                 dead-letters list`"
            ),
        }
    }
}

impl std::error::Error for HoldError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => error.source(),
            Self::Unseen { .. } => None,
        }
    }
}

impl From<StoreError> for HoldError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Writes rejected events down. Clones share the database.
#[derive(Clone)]
pub(crate) struct Rejections {
    store: Store,
    clock: Arc<dyn Clock>,
    limit: u64,
    look_again: Duration,
    room: Arc<Mutex<HashMap<String, Room>>>,
}

/// What is known of a source's bound.
#[derive(Clone, Copy)]
enum Room {
    /// How many more may be held before they are counted again.
    Left(u64),
    /// There was none; when to count again.
    Full(Instant),
}

impl Rejections {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            limit: rejected::UNSEEN,
            look_again: LOOK_AGAIN,
            room: Arc::default(),
        }
    }

    /// The same with another bound, and without a pause.
    #[cfg(test)]
    pub(crate) fn holding(self, limit: u64) -> Self {
        Self {
            limit,
            look_again: Duration::ZERO,
            ..self
        }
    }

    /// Keeps what arrived from `source`, and why it is no event. Only after `Ok` may it be acknowledged.
    pub(crate) async fn add(&self, source: &str, reason: &str, body: &[u8]) -> Result<(), StoreError> {
        self.write(source, &[(reason, body)], false).await
    }

    /// Keeps several of a source, many with one commit.
    pub(crate) async fn add_all(&self, source: &str, rejected: &[Rejection]) -> Result<(), StoreError> {
        for part in rejected.chunks(BATCH) {
            let part: Vec<_> = part
                .iter()
                .map(|(reason, body)| (reason.as_str(), &body[..]))
                .collect();
            self.write(source, &part, false).await?;
        }
        Ok(())
    }

    /// Keeps what arrived from `source`, which can wait, until somebody has looked.
    pub(crate) async fn hold(&self, source: &str, reason: &str, body: &[u8]) -> Result<(), HoldError> {
        if let Some(until) = self.take_room(source) {
            sleep_until(until).await;
            let unseen = answer(rejected::unseen(self.store.reader(), source, self.limit)).await?;
            let full = unseen >= self.limit;
            let room = if full {
                Room::Full(Instant::now() + self.look_again)
            } else {
                Room::Left(self.limit - unseen - 1)
            };
            self.room().insert(source.to_owned(), room);
            if full {
                let origin = source.to_owned();
                return Err(HoldError::Unseen { origin, unseen });
            }
        }
        Ok(self.write(source, &[(reason, body)], true).await?)
    }

    async fn write(&self, source: &str, items: &[(&str, &[u8])], unseen: bool) -> Result<(), StoreError> {
        let written = async {
            let mut transaction = self.store.begin().await?;
            let mut ids = Vec::with_capacity(items.len());
            for (reason, body) in items {
                let rejected = NewRejected { source, reason, body };
                let now = self.clock.now();
                ids.push(if unseen {
                    rejected::insert_unseen(&mut transaction, rejected, now).await?
                } else {
                    rejected::insert(&mut transaction, rejected, now).await?
                });
            }
            transaction.commit().await?;
            Ok::<_, StoreError>(ids)
        };
        let ids = answer(written).await?;
        metrics::counter!(REJECTED, "source" => source.to_owned()).increment(items.len() as u64);
        for ((reason, _), id) in items.iter().zip(ids) {
            tracing::warn!(source, reason, %id, "rejected: it cannot become an event; see `demae dead-letters`");
        }
        Ok(())
    }

    /// Takes a place, or says when to count them.
    fn take_room(&self, source: &str) -> Option<Instant> {
        match self.room().get_mut(source) {
            Some(Room::Left(left @ 1..)) => {
                *left -= 1;
                None
            }
            Some(Room::Full(until)) => Some(*until),
            _ => Some(Instant::now()),
        }
    }

    fn room(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
