//! Routing without delivering: for a process that leaves all deliveries to others.

use std::sync::Arc;

use demae_event::Clock;
use demae_store::{Store, StoreError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{EventSource, router::Router};
use crate::directory::Directory;

/// A running router without lanes: every delivery it writes waits in the table, and the workers of other processes,
/// which the store tells of it, take it from there.
#[derive(Debug)]
pub struct Relay {
    stopping: CancellationToken,
    intake: TaskTracker,
}

impl Relay {
    /// Starts routing what `sources` offer, each by a task of its own.
    pub async fn start(
        store: &Store,
        clock: Arc<dyn Clock>,
        sources: Vec<Box<dyn EventSource>>,
    ) -> Result<Self, StoreError> {
        let directory = Arc::new(Directory::new(store.clone()));
        directory.refresh().await?;
        let router = Arc::new(Router {
            engine: store.engine().clone(),
            directory,
            clock,
            hand_over: None,
        });
        let stopping = CancellationToken::new();
        let intake = TaskTracker::new();
        for source in sources {
            intake.spawn(router.clone().run(source, stopping.clone()));
        }
        intake.close();
        Ok(Self { stopping, intake })
    }

    /// Stops taking events in; returns when what was begun is written.
    pub async fn drain(self) {
        self.stopping.cancel();
        self.intake.wait().await;
    }
}
