//! Where events come from and which way they go: sources and transports, put together by settings and roles.

use std::time::Duration;

use demae_delivery::engine::{EventSource, OutboxSource};
use demae_store::Store;

/// How often the outbox is looked at without a wake-up: writers in other processes tell nobody.
const OUTBOX_POLL: Duration = Duration::from_millis(250);

/// The sources whose events this process routes itself.
pub(crate) fn sources(relay: bool, store: &Store) -> Vec<Box<dyn EventSource>> {
    let mut sources: Vec<Box<dyn EventSource>> = Vec::new();
    if relay {
        sources.push(Box::new(OutboxSource::new(store.engine().clone(), OUTBOX_POLL)));
    }
    sources
}
