//! A count that can be waited for.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How long a test waits for something that must happen before it is declared broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A count of events that tests read and wait for.
#[derive(Debug, Clone)]
pub struct Counter {
    name: &'static str,
    count: watch::Sender<usize>,
}

impl Counter {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            count: watch::Sender::new(0),
        }
    }

    /// The count now.
    pub fn get(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until the count is at least `least`; panics after [`PATIENCE`].
    pub async fn wait_for(&self, least: usize) {
        let mut seen = self.count.subscribe();
        let reached = timeout(PATIENCE, seen.wait_for(|count| *count >= least)).await;
        assert!(
            reached.is_ok(),
            "{}: waited for {least}, got {}",
            self.name,
            self.get()
        );
    }

    /// Waits until the count is at most `most`; panics after [`PATIENCE`].
    pub async fn wait_for_at_most(&self, most: usize) {
        let mut seen = self.count.subscribe();
        let reached = timeout(PATIENCE, seen.wait_for(|count| *count <= most)).await;
        assert!(
            reached.is_ok(),
            "{}: waited for at most {most}, got {}",
            self.name,
            self.get()
        );
    }

    pub(crate) fn up(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    /// Counts one up for as long as the returned guard lives.
    pub(crate) fn hold(&self) -> Held {
        self.up();
        Held(self.clone())
    }
}

pub(crate) struct Held(Counter);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| *count -= 1);
    }
}
