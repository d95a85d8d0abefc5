//! What can never become an event is written down, so that it neither blocks what comes after it nor vanishes.

use std::sync::Arc;

use demae_event::Clock;
use demae_store::{
    Store, StoreError,
    repository::rejected::{self, NewRejected},
    silence::answer,
};

/// Counter, label `source`: things that could not become events.
const REJECTED: &str = "demae_rejected_events_total";

/// Writes rejected events down. Clones share the database.
#[derive(Clone)]
pub(crate) struct Rejections {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Rejections {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Keeps what arrived from `source`, and why it is no event. Only after `Ok` may it be acknowledged.
    pub(crate) async fn add(&self, source: &str, reason: &str, body: &[u8]) -> Result<(), StoreError> {
        let written = async {
            let mut transaction = self.store.begin().await?;
            let rejected = NewRejected { source, reason, body };
            let id = rejected::insert(&mut transaction, rejected, self.clock.now()).await?;
            transaction.commit().await?;
            Ok::<_, StoreError>(id)
        };
        let id = answer(written).await?;
        metrics::counter!(REJECTED, "source" => source.to_owned()).increment(1);
        tracing::warn!(source, reason, %id, "rejected: it cannot become an event; see `demae dead-letters`");
        Ok(())
    }
}
