//! Keeps the engine running when a part of it panics.
//!
//! # Guarantees
//! - A panic ends the step in which it happened, not the task: the caller goes on with the next one.
//! - Every panic is logged with the part in which it happened, and counted. Its message, which may quote a payload, goes
//!   to the panic hook and not to the log.
//!
//! # Design
//! A task that ends by a panic leaves its part of the engine standing until a restart: a lane whose tasks are counted as
//! active, a recorder without which nothing more is sent. What the steps share is plain data behind locks that survive a
//! panic, and every step may be repeated, so it is safe to go on.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;

use super::metric;

/// Runs a step of the engine; none if it panicked.
// No `async fn`, which would have room for the step twice: as its argument and while it runs.
pub(super) fn caught<F: Future>(part: &'static str, step: F) -> impl Future<Output = Option<F::Output>> {
    AssertUnwindSafe(step).catch_unwind().map(move |result| {
        if result.is_err() {
            metrics::counter!(metric::PANICS, "part" => part).increment(1);
            tracing::error!(
                part,
                "a part of the engine panicked and goes on; this is a fault of Demae"
            );
        }
        result.ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_step_only() {
        let step = async |number: u32| {
            assert_ne!(number, 2, "this step panics");
            number
        };
        let mut results = Vec::new();
        for number in 1..=3 {
            results.push(caught("test", step(number)).await);
        }
        assert_eq!(results, [Some(1), None, Some(3)]);
    }
}
