//! Runs the computations that users decide about: schemas, rules.
//!
//! # Guarantees
//! Such a computation never runs on a runtime thread, nor inside a transaction: it is done before the transaction begins.
//! An organization uses at most its share of the threads, so another organization's computation waits for one computation
//! of it, not for all of them. A request that waits too long is refused (503), and so is a request of an organization that
//! has [`MAX_WAITING`] others waiting. A computation that takes longer than [`DEADLINE`] is answered at the deadline.
//!
//! # Design
//! A thread cannot be stopped. Therefore each computation must be bounded by itself, in the crate that does it; the
//! deadline is for machines that are slower than expected. The computation keeps its permits until it ends, whether or not
//! its client waits for it.

use std::{thread::available_parallelism, time::Duration};

use demae_event::{Faults, OrganizationId};

use crate::{
    problem::{Problem, ProblemKind},
    shares::{NoShare, Shares},
};

/// Time that a computation may take, before its caller is told that it takes too long.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// Time that a computation may wait for its turn.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Computations of one organization that wait for its turn or run.
pub const MAX_WAITING: usize = 64;

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ComputeError {
    /// Not now: others are computing.
    #[error("too many computations are under way")]
    Busy,
    /// It takes longer than [`DEADLINE`].
    #[error("takes too long to check; make it smaller")]
    TooLong,
    /// It panicked.
    #[error("a computation panicked")]
    Panicked,
}

impl From<ComputeError> for Problem {
    /// As a fault of the whole body; see [`ComputePool::check`] for one with its place.
    fn from(error: ComputeError) -> Self {
        match error {
            ComputeError::Busy => Self::new(
                ProblemKind::Unavailable,
                "Busy",
                "Too many computations are under way; try again.",
            ),
            ComputeError::TooLong => too_long("body", error),
            ComputeError::Panicked => Self::internal(&error),
        }
    }
}

fn too_long(place: &str, error: ComputeError) -> Problem {
    let mut faults = Faults::new();
    faults.push(place, error.to_string());
    Problem::invalid(faults.into_vec())
}

impl From<NoShare> for ComputeError {
    fn from(_: NoShare) -> Self {
        Self::Busy
    }
}

/// The threads for computations. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ComputePool(Shares);

impl ComputePool {
    /// As many threads as processors, but two at least; half of them for one organization.
    pub(crate) fn new() -> Self {
        Self::with_threads(available_parallelism().map_or(2, usize::from).max(2))
    }

    fn with_threads(threads: usize) -> Self {
        // The organization's turn comes first, so at most its share of computations waits for a thread.
        Self(Shares::new(threads, (threads / 2).max(1), MAX_WAITING))
    }

    /// Runs `work`, which must be bounded by itself, on behalf of an organization.
    pub async fn run<T: Send + 'static>(
        &self,
        organization: OrganizationId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ComputeError> {
        let share = tokio::time::timeout(PATIENCE, self.0.take(organization))
            .await
            .map_err(|_| ComputeError::Busy)??;
        let computation = tokio::task::spawn_blocking(move || {
            let _kept = share;
            work()
        });
        match tokio::time::timeout(DEADLINE, computation).await {
            Ok(result) => result.map_err(|_| ComputeError::Panicked),
            Err(_) => Err(ComputeError::TooLong),
        }
    }

    /// Checks a part of the body; if that takes too long, `place` is at fault.
    pub async fn check<T, E>(
        &self,
        organization: OrganizationId,
        place: &str,
        check: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        E: Into<Problem> + Send + 'static,
    {
        match self.run(organization, check).await {
            Ok(result) => result.map_err(Into::into),
            Err(error @ ComputeError::TooLong) => Err(too_long(place, error)),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use demae_event::Timestamp;
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;

    fn organization(number: u128) -> OrganizationId {
        OrganizationId(Uuid::from_u128(number))
    }

    /// A computation that says when it begins, and ends when it is let go.
    fn gate() -> (
        impl FnOnce() + Send + 'static,
        tokio::sync::oneshot::Receiver<()>,
        mpsc::Sender<()>,
    ) {
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (let_go, gate) = mpsc::channel();
        let work = move || {
            begun.send(()).unwrap();
            // An error: the test let go of its end.
            let _ = gate.recv();
        };
        (work, has_begun, let_go)
    }

    #[tokio::test]
    async fn another_organization_has_threads_left() {
        let pool = ComputePool::with_threads(2);
        let (work, has_begun, let_go) = gate();
        let running = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(organization(1), work).await }
        });
        has_begun.await.unwrap();
        let mut waiting: Vec<_> = (1..MAX_WAITING)
            .map(|n| Box::pin(pool.run(organization(1), move || n)))
            .collect();
        for next in &mut waiting {
            assert_eq!(next.now_or_never(), None);
        }
        assert_eq!(pool.run(organization(1), || 0).await, Err(ComputeError::Busy));
        assert_eq!(pool.run(organization(2), || 7).await, Ok(7));
        let_go.send(()).unwrap();
        running.await.unwrap().unwrap();
        for (index, next) in waiting.into_iter().enumerate() {
            assert_eq!(next.await, Ok(index + 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_the_wait_but_not_the_share() {
        let pool = ComputePool::with_threads(2);
        let (work, has_begun, let_go) = gate();
        let running = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(organization(1), work).await }
        });
        has_begun.await.unwrap();
        tokio::time::advance(DEADLINE).await;
        assert_eq!(running.await.unwrap(), Err(ComputeError::TooLong));
        // The thread computes on, so the next one waits, for a while.
        let mut next = Box::pin(pool.run(organization(1), || ()));
        assert_eq!((&mut next).now_or_never(), None);
        tokio::time::advance(PATIENCE).await;
        assert_eq!(next.await, Err(ComputeError::Busy));
        let_go.send(()).unwrap();
        assert_eq!(pool.run(organization(1), || 1).await, Ok(1));
    }

    #[tokio::test]
    async fn a_client_that_leaves_frees_its_place_and_a_panic_is_an_error() {
        let pool = ComputePool::with_threads(2);
        let (work, has_begun, let_go) = gate();
        let running = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(organization(1), work).await }
        });
        has_begun.await.unwrap();
        for _ in 0..2 * MAX_WAITING {
            assert_eq!(pool.run(organization(1), || ()).now_or_never(), None);
        }
        running.abort();
        let_go.send(()).unwrap();
        let panics = || -> Timestamp { panic!("on purpose") };
        assert_eq!(
            pool.run(organization(1), panics).await,
            Err(ComputeError::Panicked)
        );
        assert_eq!(pool.run(organization(1), || 1).await, Ok(1));
    }
}
