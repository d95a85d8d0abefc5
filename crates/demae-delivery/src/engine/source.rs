//! Where committed events come from.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use demae_event::{Event, EventId, OrganizationId};
use demae_store::{Engine, StoreError};
use tokio::time::timeout;

/// Bytes of events that a source offers at once; at least one event always is.
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Why a source has no events to offer, or could not be told that they were routed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Demae's own database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the events come from failed: another database, a broker.
    #[error("the source failed")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SourceError {
    /// The failure of a source that is not Demae's own database.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}

/// A source of committed events.
///
/// - *Committed*: an event is offered only after the transaction that wrote it.
/// - *At least once*: an event is offered again until it was acknowledged, and may be after that; its id tells. What the
///   last call offered and nobody acknowledged (routing failed) is offered again by the next one, in the same order.
/// - *Failure*: after an error the caller waits a moment and calls again; the source reconnects by itself.
/// - *Order*: events of one transaction come in the order in which they were written. Between transactions the source
///   tries to keep the order of commits but promises nothing.
/// - *Bounded*: a batch ends once it holds [`BATCH_BYTES`], however many events were asked for.
/// - *Concurrency*: one reader at a time.
#[async_trait]
pub trait EventSource: Send + 'static {
    /// The next events, at most `limit`; waits until there are any. Cancel-safe: what was not acknowledged comes again.
    async fn next(&mut self, limit: u32) -> Result<Vec<Event>, SourceError>;

    /// Events of organizations other than `except`, as many as the source likes; does not wait for any. Asked for while
    /// events of those in `except` are not routed yet, so that the others' do not wait for them.
    ///
    /// A source that is a stream has none: what it reads ahead, it offers in order, and an event waits for all before it in
    /// the stream. Only where events lie in a table can another organization's be found behind them.
    async fn next_of_others(&mut self, _except: &HashSet<OrganizationId>) -> Result<Vec<Event>, SourceError> {
        Ok(Vec::new())
    }

    /// Says that these events are durably routed. Only what the last [`EventSource::next`] offered, and
    /// [`EventSource::next_of_others`] since, may be named.
    async fn acknowledge(&mut self, events: &[EventId]) -> Result<(), SourceError>;
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
    async fn next(&mut self, limit: u32) -> Result<Vec<Event>, SourceError> {
        loop {
            let events = self.engine.read_outbox(limit).await?;
            if !events.is_empty() {
                return Ok(events);
            }
            // A wake-up between the read and this wait is not lost: the notification keeps one permit.
            let _ = timeout(self.poll_interval, self.engine.outbox_changed()).await;
        }
    }

    async fn next_of_others(&mut self, except: &HashSet<OrganizationId>) -> Result<Vec<Event>, SourceError> {
        Ok(self.engine.read_outbox_of_others(except).await?)
    }

    /// Nothing to say: routing took the rows out of the outbox, in the same transaction.
    async fn acknowledge(&mut self, _events: &[EventId]) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Demae's own outbox, for a reader who does not route its events but hands them to something that keeps them, such as a
/// broker: what is acknowledged is taken out of the table.
pub struct HandedOn {
    source: Box<dyn EventSource>,
    engine: Arc<dyn Engine>,
}

impl HandedOn {
    /// `source` reads the outbox of `engine`, one way or another.
    pub fn new(source: Box<dyn EventSource>, engine: Arc<dyn Engine>) -> Self {
        Self { source, engine }
    }
}

#[async_trait]
impl EventSource for HandedOn {
    async fn next(&mut self, limit: u32) -> Result<Vec<Event>, SourceError> {
        self.source.next(limit).await
    }

    async fn next_of_others(&mut self, except: &HashSet<OrganizationId>) -> Result<Vec<Event>, SourceError> {
        self.source.next_of_others(except).await
    }

    async fn acknowledge(&mut self, events: &[EventId]) -> Result<(), SourceError> {
        self.engine.take_out(events).await?;
        self.source.acknowledge(events).await
    }
}
