//! A gate that holds answers back until the test opens it.

use tokio::sync::watch;

/// Closed until opened; then everyone passes, those who already wait and those who come later.
#[derive(Debug, Clone)]
pub struct Gate {
    open: watch::Sender<bool>,
}

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self {
            open: watch::Sender::new(false),
        }
    }

    /// Lets everyone pass.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Holds whoever comes from now on.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// Returns once the gate is open.
    pub async fn pass(&self) {
        // The sender lives in `self`, so the wait cannot end by its closing.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}
