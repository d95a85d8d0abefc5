//! Defines what a kind of timer is: its handler and its bounds.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use demae_event::Timestamp;
use demae_store::{StoreError, repository::timers::Timer};

/// A kind of timer, as a process runs it.
#[derive(Clone)]
pub struct TimerKind {
    /// Its name in the table.
    pub name: &'static str,
    /// What it does.
    pub handler: Arc<dyn TimerHandler>,
    /// Runs in flight in this process; at least 1. One organization gets about half of them.
    pub concurrency: u32,
    /// The longest run. A run that exceeds it is dropped at its next await and counts as failed.
    pub deadline: Duration,
}

impl std::fmt::Debug for TimerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimerKind")
            .field("name", &self.name)
            .field("concurrency", &self.concurrency)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Does what a kind of timer is for.
///
/// A handler can be called again for the same due time, and can be dropped at any await: see
/// [`timers`](super) for what that asks of it.
#[async_trait]
pub trait TimerHandler: Send + Sync + 'static {
    /// Runs a due timer.
    async fn run(&self, timer: &Timer, now: Timestamp) -> Result<Outcome, TimerError>;
}

/// What becomes of a timer after a run without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing follows: the timer is removed.
    Done,
    /// The timer runs again.
    Again {
        /// When.
        at: Timestamp,
        /// [`Timer::data`] of the next run.
        data: Option<String>,
    },
    /// The handler has completed or rescheduled the timer in the transaction of its effects.
    Settled,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum TimerError {
    /// Another worker runs the timer, or it was set anew or canceled. That is no failure.
    #[error("the lease was lost")]
    LeaseLost,
    /// The database failed, or what it holds cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}
