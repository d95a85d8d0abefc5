//! Events from a Dapr sidecar: `GET /dapr/subscribe` tells it what we want, `POST /events` takes what it brings
//! (kaiten.md, section 6.3).
//!
//! An event is answered SUCCESS when it is durably routed, RETRY when that did not happen in time or failed, DROP when it
//! can never be routed; what is dropped is written down (`demae dead-letters`). Heartbeats are answered and forgotten.
//! An event's id counts within its application, and events that only the engine emits are dropped.
//!
//! These paths know no tenant, so they exist only where `dapr_app_token` is set, and want that token in the header in which
//! Dapr sends it (`APP_API_TOKEN`). The address of a peer proves nothing: behind a proxy on this machine, every client has
//! a loopback address.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Json, Router,
    body::to_bytes,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use demae_cdc::{
    envelope::{self, Envelope, EnvelopeError},
    mapping::reserved,
};
use demae_delivery::engine::{BATCH_BYTES, EventSource, SourceError};
use demae_event::{Event, EventId, catalogue};
use demae_store::StoreError;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use subtle::ConstantTimeEq as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    organizations::{Organizations, unknown_scope},
    rejections::{HoldError, Rejections},
};
use crate::config::Secret;

/// The component, topics and route of the pipeline that this is a part of.
const PUBSUB: &str = "rabbitmq-pubsub";
const TOPIC: &str = "kaiten.events";
const DEAD_LETTER_TOPIC: &str = "kaiten.events.dlq";
const ROUTE: &str = "/events";
/// How dropped events are labelled.
const SOURCE: &str = "dapr";

/// An event that is not routed after so long is asked for again. Shorter than the time that Dapr itself waits (60 s).
const ANSWER_LIMIT: Duration = Duration::from_secs(25);
/// The largest message that RabbitMQ 4 takes by default is as large, in bytes.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// Events that wait for the router; more requests wait for a place.
const WAITING: usize = 64;
/// Bytes of events that wait for the router or are being routed; more requests wait before their bodies are read.
const WAITING_BYTES: usize = BODY_LIMIT;

/// Counter, label `status`: answers to Dapr.
const ANSWERS: &str = "demae_dapr_answers_total";

/// What the handlers need to know.
pub(crate) struct Dapr {
    pub(crate) app_token: Secret,
    pub(crate) organizations: Organizations,
    pub(crate) rejections: Rejections,
}

impl Dapr {
    /// The two ends: what a sidecar talks to, and what a router reads from.
    pub(crate) fn open(self) -> (Router, DaprSource) {
        let (hand_in, arrivals) = mpsc::channel(WAITING);
        let state = Arc::new(Handlers {
            dapr: self,
            hand_in,
            room: Arc::new(Semaphore::new(WAITING_BYTES)),
        });
        let router = Router::new()
            .route("/dapr/subscribe", get(subscribe))
            .route(ROUTE, post(receive))
            .with_state(state);
        let source = DaprSource {
            arrivals,
            offered: Vec::new(),
        };
        (router, source)
    }
}

/// An event and who waits for it to be routed.
struct Arrival {
    event: Event,
    waiting: Waiting,
}

/// Where the answer of an event goes, and the room that the event takes until then.
struct Waiting {
    routed: oneshot::Sender<()>,
    _room: OwnedSemaphorePermit,
}

struct Handlers {
    dapr: Dapr,
    hand_in: mpsc::Sender<Arrival>,
    /// For the bytes of events.
    room: Arc<Semaphore>,
}

/// What Dapr is told (Dapr's pub/sub API reference: expected HTTP response).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Success,
    Retry,
    Drop,
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Success => "SUCCESS",
            Self::Retry => "RETRY",
            Self::Drop => "DROP",
        };
        metrics::counter!(ANSWERS, "status" => status).increment(1);
        Json(json!({ "status": status })).into_response()
    }
}

async fn subscribe(State(handlers): State<Arc<Handlers>>, request: Request) -> Response {
    if let Err(refusal) = handlers.admit(&request) {
        return refusal.into_response();
    }
    Json(json!([{
        "pubsubname": PUBSUB,
        "topic": TOPIC,
        "route": ROUTE,
        "deadLetterTopic": DEAD_LETTER_TOPIC,
    }]))
    .into_response()
}

async fn receive(State(handlers): State<Arc<Handlers>>, request: Request) -> Response {
    if let Err(refusal) = handlers.admit(&request) {
        return refusal.into_response();
    }
    if !is_json(request.headers()) {
        // A page in somebody's browser may send other types to this machine without asking first.
        let reason = "send application/cloudevents+json or application/json";
        return Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason).into_response();
    }
    let deadline = Instant::now() + ANSWER_LIMIT;
    match timeout_at(deadline, handlers.take(request, deadline)).await {
        Ok(Ok(status)) => status.into_response(),
        Ok(Err(error)) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "an event from Dapr has to come again"
            );
            Status::Retry.into_response()
        }
        Err(_) => Status::Retry.into_response(),
    }
}

impl Handlers {
    /// Whether whoever sent this may.
    fn admit(&self, request: &Request) -> Result<(), Refusal> {
        let given = request
            .headers()
            .get("dapr-api-token")
            .map_or(&[][..], |value| value.as_bytes());
        if bool::from(given.ct_eq(self.dapr.app_token.expose().as_bytes())) {
            return Ok(());
        }
        Err(Refusal(
            StatusCode::UNAUTHORIZED,
            "the header dapr-api-token must hold Demae's dapr_app_token (Dapr: APP_API_TOKEN)",
        ))
    }

    async fn take(&self, request: Request, deadline: Instant) -> Result<Status, StoreError> {
        // A place and room first: bodies in memory are as many, and as large, as there is place and room.
        let Ok(place) = self.hand_in.reserve().await else {
            return Ok(Status::Retry);
        };
        let size = declared_size(request.headers());
        let Ok(room) = self.room.clone().acquire_many_owned(size).await else {
            return Ok(Status::Retry);
        };
        let body = match to_bytes(request.into_body(), BODY_LIMIT).await {
            Ok(body) => body,
            Err(error) if is_too_long(&error) => {
                let reason = format!("longer than {BODY_LIMIT} bytes");
                return self.drop_it(&reason, &[]).await;
            }
            Err(_) => return Ok(Status::Retry),
        };
        let mut event = match read(&body) {
            Ok(Envelope::Event(event)) => event,
            Ok(Envelope::Heartbeat | Envelope::Ignored) => return Ok(Status::Success),
            Err(error) => return self.drop_it(&error.to_string(), &body).await,
        };
        if !self.dapr.organizations.exists(event.scope).await? {
            return self.drop_it(&unknown_scope(event.scope), &body).await;
        }
        if let Some(text) = [&event.name, &event.event_type]
            .into_iter()
            .find(|text| catalogue::is_reserved(text))
        {
            return self.drop_it(&reserved(text), &body).await;
        }
        // Whoever brings it may name any id; it must be no other organization's.
        event.id = EventId::of_source(event.scope, SOURCE, &event.id.to_string());
        drop(body);
        let (routed, done) = oneshot::channel();
        let waiting = Waiting { routed, _room: room };
        place.send(Arrival { event, waiting });
        Ok(match timeout_at(deadline, done).await {
            Ok(Ok(())) => Status::Success,
            // Not routed, or not in time; if it is routed after all, its id tells when it comes again.
            Ok(Err(_)) | Err(_) => Status::Retry,
        })
    }

    async fn drop_it(&self, reason: &str, body: &[u8]) -> Result<Status, StoreError> {
        match self.dapr.rejections.hold(SOURCE, reason, body).await {
            Ok(()) => Ok(Status::Drop),
            Err(HoldError::Store(error)) => Err(error),
            Err(unseen @ HoldError::Unseen { .. }) => {
                tracing::error!(
                    error = &unseen as &dyn std::error::Error,
                    "an event from Dapr has to wait"
                );
                Ok(Status::Retry)
            }
        }
    }
}

/// Why a request is not looked at.
struct Refusal(StatusCode, &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

/// How much room a body takes; as much as any may take if its sender does not say.
fn declared_size(headers: &HeaderMap) -> u32 {
    headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(BODY_LIMIT)
        .clamp(1, BODY_LIMIT) as u32
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["application/cloudevents+json", "application/json"]
        .iter()
        .any(|json| essence.eq_ignore_ascii_case(json))
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

/// Reads the envelope, or the one inside it: what was a `CloudEvent` already when it was published may have been wrapped
/// once more, as an object or as text.
fn read(body: &[u8]) -> Result<Envelope, EnvelopeError> {
    #[derive(Deserialize)]
    struct Wrapper<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let error = match envelope::decode(body) {
        Ok(envelope) => return Ok(envelope),
        Err(error) => error,
    };
    let Ok(wrapper) = serde_json::from_slice::<Wrapper<'_>>(body) else {
        return Err(error);
    };
    let inner = match serde_json::from_str::<String>(wrapper.data.get()) {
        Ok(text) => envelope::decode(text.as_bytes()),
        Err(_) => envelope::decode(wrapper.data.get().as_bytes()),
    };
    // What is wrong with the outer one is what its sender should hear.
    inner.map_err(|_| error)
}

/// The events that a sidecar brought.
pub(crate) struct DaprSource {
    arrivals: mpsc::Receiver<Arrival>,
    /// Those that the last call offered.
    offered: Vec<(EventId, Waiting)>,
}

#[async_trait]
impl EventSource for DaprSource {
    async fn next(&mut self, limit: u32) -> Result<Vec<Event>, SourceError> {
        // Whoever waits for what was offered before and not acknowledged hears that it did not work out.
        self.offered.clear();
        let mut next = self.arrivals.recv().await;
        if next.is_none() {
            // There is no other end any more: the process stops.
            std::future::pending::<()>().await;
        }
        let mut events = Vec::new();
        let mut bytes = 0;
        while let Some(Arrival { event, waiting }) = next {
            bytes += event.size();
            self.offered.push((event.id, waiting));
            events.push(event);
            next = if events.len() < limit as usize && bytes < BATCH_BYTES {
                self.arrivals.try_recv().ok()
            } else {
                None
            };
        }
        Ok(events)
    }

    async fn acknowledge(&mut self, events: &[EventId]) -> Result<(), SourceError> {
        for (_, waiting) in self.offered.extract_if(.., |(id, _)| events.contains(id)) {
            // Nobody may be waiting any more.
            let _ = waiting.routed.send(());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
