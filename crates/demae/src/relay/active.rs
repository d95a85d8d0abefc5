//! A source that only one of several processes reads at a time.

use std::collections::HashSet;

use async_trait::async_trait;
use demae_delivery::engine::{EventSource, SourceError};
use demae_event::{Event, EventId, OrganizationId};
use demae_store::leadership::Leadership;

/// Gauge: 1 while this process reads the outbox, 0 while it stands by.
const ACTIVE: &str = "demae_relay_active";

/// Reads `source` while this process leads, and stands by otherwise.
///
/// Two that read at the same time would be no harm, only work done twice: routing knows an event by its id.
pub(crate) struct WhileLeading<S> {
    source: S,
    leadership: Leadership,
}

impl<S> WhileLeading<S> {
    pub(crate) fn new(source: S, leadership: Leadership) -> Self {
        metrics::gauge!(ACTIVE).set(0.0);
        Self { source, leadership }
    }
}

#[async_trait]
impl<S: EventSource> EventSource for WhileLeading<S> {
    async fn next(&mut self, limit: u32) -> Result<Vec<Event>, SourceError> {
        loop {
            if !self.leadership.leads() {
                metrics::gauge!(ACTIVE).set(0.0);
                tracing::debug!("standing by for reading the outbox");
                self.leadership.won().await;
                tracing::info!("this process reads the outbox");
            }
            metrics::gauge!(ACTIVE).set(1.0);
            tokio::select! {
                events = self.source.next(limit) => return events,
                () = self.leadership.lost() => {}
            }
        }
    }

    async fn next_of_others(&mut self, except: &HashSet<OrganizationId>) -> Result<Vec<Event>, SourceError> {
        self.source.next_of_others(except).await
    }

    async fn acknowledge(&mut self, events: &[EventId]) -> Result<(), SourceError> {
        self.source.acknowledge(events).await
    }
}
