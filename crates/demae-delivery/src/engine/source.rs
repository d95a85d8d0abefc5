//! Where committed events come from.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use demae_event::{Event, EventId};
use demae_store::{Engine, StoreError};
use tokio::time::timeout;

/// A source of committed events.
///
/// - *Committed*: an event is offered only after the transaction that wrote it.
/// - *At least once*: an event is offered again until it was acknowledged, and may be after that; its id tells.
/// - *Order*: events of one transaction come in the order in which they were written. Between transactions the source
///   tries to keep the order of commits but promises nothing.
/// - *Concurrency*: one reader at a time.
#[async_trait]
pub trait EventSource: Send + 'static {
    /// The next events, at most `limit`; waits until there are any. Cancel-safe: what was not acknowledged comes again.
    async fn next(&mut self, limit: u32) -> Result<Vec<Event>, StoreError>;

    /// Says that these events are durably routed. Only what the last [`EventSource::next`] offered may be named.
    async fn acknowledge(&mut self, events: &[EventId]) -> Result<(), StoreError>;
}

/// The outbox table, read directly: at once after a commit of this process, and from time to time for the others.
pub struct OutboxSource {
    engine: Arc<dyn Engine>,
    poll_interval: Duration,
}

impl OutboxSource {
    /// Reads the outbox of `engine`, looking for writers that tell nobody every `poll_interval`.
    pub fn new(engine: Arc<dyn Engine>, poll_interval: Duration) -> Self {
        Self {
            engine,
            poll_interval,
        }
    }
}

#[async_trait]
impl EventSource for OutboxSource {
    async fn next(&mut self, limit: u32) -> Result<Vec<Event>, StoreError> {
        loop {
            let events = self.engine.read_outbox(limit).await?;
            if !events.is_empty() {
                return Ok(events);
            }
            // A wake-up between the read and this wait is not lost: the notification keeps one permit.
            let _ = timeout(self.poll_interval, self.engine.outbox_changed()).await;
        }
    }

    /// Nothing to say: routing took the rows out of the outbox, in the same transaction.
    async fn acknowledge(&mut self, _events: &[EventId]) -> Result<(), StoreError> {
        Ok(())
    }
}
