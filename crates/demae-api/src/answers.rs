//! Bounds how many bytes of answers wait for their clients.
//!
//! An answer is made whole before its first byte leaves. A page is bounded, but a client may ask for many pages at once and
//! read none of them: each would stay in memory until the connection's deadline. So at most [`READS`] requests that only
//! read are worked on at a time, from their authentication until their answer is made; and of what they answer, at most
//! [`LARGE_BYTES`] in large answers wait for clients. What does not fit is refused with 503, which costs neither changes nor
//! small answers anything.
//!
//! Both are shared out among organizations: one has at most half. A request without a valid token takes nothing, because it
//! gets nothing large: what this server shows to everybody is kept once, for all.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use demae_event::OrganizationId;
use http::{Extensions, Method};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::{
    problem::Problem,
    shares::{NoShare, Share, Shares},
    surfaces::Surfaces,
};

/// Requests that only read and are worked on at the same time.
const READS: usize = 16;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of large answers that wait for their clients.
const LARGE_BYTES: usize = 16 * 1024 * 1024;
/// An answer that is no larger is not counted.
const SMALL: u64 = 64 * 1024;

/// One organization's part of both: so many.
const PART: usize = 2;
/// Requests of one organization that are worked on or wait for their turn, or whose large answers wait.
const USERS: usize = 1_024;

/// The turns and the room of one server.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    reads: Shares,
    room: Shares,
}

/// An extension of a request that only reads: its turn, once it is known whose request it is.
#[derive(Debug, Clone, Default)]
struct Reading(Arc<OnceLock<(OrganizationId, Share)>>);

impl Default for Answers {
    fn default() -> Self {
        Self::new(READS, LARGE_BYTES)
    }
}

/// The layer. See the module's documentation.
pub(crate) async fn handle(
    State((answers, surfaces)): State<(Answers, Arc<Surfaces>)>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::GET && !surfaces.only_reads(request.uri().path()) {
        return next.run(request).await;
    }
    let reading = Reading::default();
    request.extensions_mut().insert(reading.clone());
    let response = next.run(request).await;
    match reading.0.get() {
        Some((organization, _turn)) => answers.make_room(*organization, response),
        None => response,
    }
}

impl Answers {
    fn new(reads: usize, large_bytes: usize) -> Self {
        Self {
            reads: Shares::new(reads, reads / PART, USERS),
            room: Shares::new(large_bytes, large_bytes / PART, USERS),
        }
    }

    /// Waits for the turn of an authenticated request, if it only reads; the layer ends the turn. To be called once in a
    /// request.
    pub(crate) async fn begin(
        &self,
        request: &Extensions,
        organization: OrganizationId,
    ) -> Result<(), Problem> {
        let Some(reading) = request.get::<Reading>() else {
            return Ok(());
        };
        let turn = timeout(PATIENCE, self.reads.take(organization)).await;
        let turn = turn
            .map_err(|_| busy())
            .and_then(|turn| turn.map_err(|NoShare| busy()))?;
        // A second turn of one request is not kept: it needs no more than one.
        let _ = reading.0.set((organization, turn));
        Ok(())
    }

    /// The answer, counted until its client has it if it is large.
    fn make_room(&self, organization: OrganizationId, response: Response) -> Response {
        let size = response.body().size_hint().exact().unwrap_or(u64::MAX);
        if size <= SMALL {
            return response;
        }
        let Ok(room) = self.room.try_take(organization, size) else {
            return busy().into_response();
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

fn busy() -> Problem {
    Problem::unavailable(&Busy)
}

#[derive(Debug, thiserror::Error)]
#[error("too many answers wait for their clients")]
struct Busy;

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use http::StatusCode;
    use uuid::Uuid;

    use super::*;

    const SIZE: usize = 100_000;

    fn organization(number: u128) -> OrganizationId {
        OrganizationId(Uuid::from_u128(number))
    }

    fn large(bytes: usize) -> Response {
        vec![b'x'; bytes].into_response()
    }

    #[tokio::test]
    async fn large_answers_that_wait_are_bounded_and_small_ones_pass() {
        let answers = Answers::new(8, 6 * SIZE);
        let answer = |of, size| answers.make_room(organization(of), large(size));
        let mut waiting: Vec<_> = (0..3).map(|_| answer(1, SIZE)).collect();
        assert_eq!(answer(1, SIZE).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer(1, 1_000).status(), StatusCode::OK);
        assert_eq!(
            answer(2, SIZE).status(),
            StatusCode::OK,
            "another organization has its part"
        );
        // Read to its end, or given up: both make room.
        let read = waiting.remove(0).into_body().collect().await.unwrap().to_bytes();
        assert_eq!(read.len(), SIZE);
        drop(waiting.remove(0));
        waiting.extend((0..2).map(|_| answer(1, SIZE)));
        assert!(waiting.iter().all(|answer| answer.status() == StatusCode::OK));
        drop(waiting);
        assert_eq!(answer(1, SIZE * 9).status(), StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_its_turn_and_not_longer_than_its_patience() {
        let answers = Answers::new(2, LARGE_BYTES);
        let request = || {
            let mut extensions = Extensions::new();
            extensions.insert(Reading::default());
            extensions
        };
        let slow = request();
        answers.begin(&slow, organization(1)).await.unwrap();
        assert!(answers.begin(&request(), organization(1)).await.is_err());
        answers.begin(&request(), organization(2)).await.unwrap();
        let next = request();
        let mut waiting = Box::pin(answers.begin(&next, organization(1)));
        assert!((&mut waiting).now_or_never().is_none());
        drop(slow);
        waiting.await.unwrap();
        // A request that changes something has no turn.
        answers.begin(&Extensions::new(), organization(1)).await.unwrap();
    }
}
