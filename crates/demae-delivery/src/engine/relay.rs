//! Routing without delivering: for a process that leaves all deliveries to others.

use std::sync::Arc;

use demae_event::Clock;
use demae_store::{Store, StoreError};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{EventSource, router::Router};
use crate::directory::Directory;

/// A running router without lanes: every delivery it writes waits in the table, and the workers of other processes,
/// which the store tells of it, take it from there.
#[derive(Debug)]
pub struct Relay {
    stopping: CancellationToken,
    cutting: CancellationToken,
    intake: TaskTracker,
}

impl Relay {
    /// Starts routing what `sources` offer, each by a task of its own.
    pub async fn start(
        store: &Store,
        clock: Arc<dyn Clock>,
        sources: Vec<Box<dyn EventSource>>,
    ) -> Result<Self, StoreError> {
        // Requests use the other connections, also all of them.
        let directory = Arc::new(Directory::new(store.apart()));
        directory.refresh().await?;
        let router = Arc::new(Router {
            engine: store.engine().clone(),
            directory,
            clock,
            hand_over: None,
        });
        let stopping = CancellationToken::new();
        let cutting = CancellationToken::new();
        let intake = TaskTracker::new();
        for source in sources {
            let routing = router.clone().run(source, stopping.clone());
            intake.spawn(cutting.clone().run_until_cancelled_owned(routing));
        }
        intake.close();
        Ok(Self {
            stopping,
            cutting,
            intake,
        })
    }

    /// Stops accepting events, and returns when the batches in progress are written, by `end` at the latest. A batch that
    /// is cut off was not acknowledged; its source offers it again.
    pub async fn drain(self, end: Instant) {
        self.stopping.cancel();
        if tokio::time::timeout_at(end, self.intake.wait()).await.is_err() {
            tracing::warn!(
                "events that were being routed did not become deliveries before the deadline; they stay in their source"
            );
            self.cutting.cancel();
        }
    }
}
