//! Bounds how many bytes of answers wait for their clients.
//!
//! An answer is made whole before its first byte leaves. A page is bounded, but a client may ask for many pages at once and
//! read none of them: each would stay in memory until the connection's deadline. So at most [`READS`] requests that only
//! read are worked on at a time, for as long as their handlers take; and of what they answer, at most [`LARGE_BYTES`] in
//! large answers wait for clients. What does not fit is refused with 503, which costs neither changes nor small answers
//! anything.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::Method;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::{sync::Semaphore, time::timeout};

use crate::{ApiState, problem::Problem};

/// Requests that only read and are worked on at the same time.
const READS: usize = 16;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of large answers that wait for their clients.
const LARGE_BYTES: usize = 16 * 1024 * 1024;
/// An answer that is no larger is not counted.
const SMALL: u64 = 64 * 1024;

/// The turns and the room of one server.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    reads: Arc<Semaphore>,
    room: Arc<Semaphore>,
    large_bytes: usize,
}

impl Default for Answers {
    fn default() -> Self {
        Self::new(READS, LARGE_BYTES)
    }
}

/// The layer. See the module's documentation.
pub(crate) async fn handle(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    // Evaluating flags changes nothing, though it is asked by POST.
    let only_reads = request.method() == Method::GET || request.uri().path().starts_with("/api/ofrep/");
    let answering = next.run(request);
    if only_reads {
        state.answers().bound(answering).await
    } else {
        answering.await
    }
}

impl Answers {
    fn new(reads: usize, large_bytes: usize) -> Self {
        Self {
            reads: Arc::new(Semaphore::new(reads)),
            room: Arc::new(Semaphore::new(large_bytes)),
            large_bytes,
        }
    }

    async fn bound(&self, answering: impl Future<Output = Response>) -> Response {
        let Ok(Ok(turn)) = timeout(PATIENCE, self.reads.acquire()).await else {
            return busy();
        };
        let response = answering.await;
        drop(turn);
        let size = response.body().size_hint().exact().unwrap_or(u64::MAX);
        if size <= SMALL {
            return response;
        }
        // One that is larger than all the room takes all of it.
        let weight = usize::try_from(size).unwrap_or(usize::MAX).min(self.large_bytes);
        let Ok(room) = self.room.clone().try_acquire_many_owned(weight as u32) else {
            return busy();
        };
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                // Goes with the body, sent or given up.
                let _held = &room;
                frame
            }))
        })
    }
}

fn busy() -> Response {
    Problem::unavailable(&Busy).into_response()
}

#[derive(Debug, thiserror::Error)]
#[error("too many answers wait for their clients")]
struct Busy;

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tokio::sync::Notify;

    use super::*;

    #[expect(clippy::unused_async, reason = "it stands for a handler")]
    async fn large(bytes: usize) -> Response {
        vec![b'x'; bytes].into_response()
    }

    #[tokio::test]
    async fn large_answers_that_wait_are_bounded_and_small_ones_pass() {
        const SIZE: usize = 100_000;
        let answers = Answers::new(8, 3 * SIZE);
        let mut waiting = Vec::new();
        for _ in 0..3 {
            waiting.push(answers.bound(large(SIZE)).await);
        }
        assert_eq!(
            answers.bound(large(SIZE)).await.status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(answers.bound(large(1_000)).await.status(), StatusCode::OK);
        // Read to its end, or given up: both make room.
        let read = waiting.remove(0).into_body().collect().await.unwrap().to_bytes();
        assert_eq!(read.len(), SIZE);
        drop(waiting.remove(0));
        for _ in 0..2 {
            waiting.push(answers.bound(large(SIZE)).await);
        }
        assert!(waiting.iter().all(|answer| answer.status() == StatusCode::OK));
        drop(waiting);
        assert_eq!(answers.bound(large(SIZE * 9)).await.status(), StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_its_turn_and_not_longer_than_its_patience() {
        let answers = Answers::new(1, LARGE_BYTES);
        let done = Arc::new(Notify::new());
        let slow = {
            let (answers, done) = (answers.clone(), done.clone());
            tokio::spawn(async move {
                answers
                    .bound(async move {
                        done.notified().await;
                        StatusCode::OK.into_response()
                    })
                    .await
            })
        };
        tokio::task::yield_now().await;
        assert_eq!(
            answers.bound(large(1)).await.status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        done.notify_one();
        assert_eq!(answers.bound(large(1)).await.status(), StatusCode::OK);
        assert_eq!(slow.await.unwrap().status(), StatusCode::OK);
    }
}
