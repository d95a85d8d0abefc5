//! `POST /api/events`: the way in for an application's own events, and the hot path of this crate.
//!
//! Without an `Idempotency-Key` the events go to the [`EventSink`](crate::EventSink), where they share a commit with
//! whatever else arrived. With one, they take the road of every other change, since their answer is stored beside them.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use demae_delivery::management::{Management, ManagementError, events::PublishInput};
use demae_event::Event;
use demae_store::{StoreError, Transaction, engine::Appended, outbox};
use futures::FutureExt;
use http::StatusCode;
use sha2::{Digest, Sha256};

use super::{
    body::{AcceptedBodies, AcceptedBody},
    read::{self, PublishBody, Submission},
};
use crate::{
    ApiState,
    auth::{Allowed, Caller, WriteWebhooks},
    extract::RawBody,
    ingest::IngestError,
    problem::{Problem, ProblemKind},
    write::{Answer, Operation, Outcome},
};

/// Publish events
///
/// One, or several as `{"events": […]}`; several are taken in together or not at all. After the answer they are durable
/// and on their way to every webhook that subscribes to them. An event with an `id` of its sender's own is taken in once,
/// however often it is sent.
#[utoipa::path(post, path = "/api/events", operation_id = "publish_events", tag = "Events",
    security(("token" = ["write:webhooks"])), request_body = PublishBody,
    responses(
        (status = 202, description = "Taken in.", body = AcceptedAny,
            links(("get_event" = (operation_id = "get_event", parameters(("id" = "$response.body#/id")))))),
        (status = 409, description = "An event with this `id` is being taken in at this moment."),
        (status = 429, description = "More events arrive than can be written."),
    ))]
pub(super) async fn publish(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    operation: Operation,
    RawBody(body): RawBody,
) -> Result<Response, Problem> {
    let submission = read::read(&body, state.limits().events_per_request)?;
    if operation.is_repeatable() {
        return Ok(publish_repeatable(&state, caller, operation, &body, submission)
            .await?
            .into_response());
    }
    let events = prepare(state.management(), &caller, submission.inputs).await?;
    // The sink owns them from here on; the answer is about what they are.
    let accepted: Vec<AcceptedBody> = events.iter().map(AcceptedBody::of_new).collect();
    let outcomes = state.events().publish(events).await?;
    let accepted = accepted
        .into_iter()
        .zip(outcomes)
        .map(|(body, outcome)| body.with(outcome))
        .collect();
    Ok(answer(submission.several, accepted)?.into_response())
}

/// One event's answer, or those of several.
#[derive(utoipa::ToSchema)]
#[schema(as = AcceptedAny)]
#[expect(dead_code, reason = "describes the answer")]
#[serde(untagged)]
enum AcceptedAny {
    /// To one event.
    One(AcceptedBody),
    /// To several.
    Several(AcceptedBodies),
}

async fn publish_repeatable(
    state: &ApiState,
    caller: Caller,
    operation: Operation,
    body: &Bytes,
    submission: Submission,
) -> Outcome {
    let management = state.management().clone();
    let operation = operation.of_body(Sha256::digest(body).into());
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let events = prepare(&management, caller, submission.inputs).await?;
                let mut accepted = Vec::with_capacity(events.len());
                for event in &events {
                    let outcome = append(&management, transaction, event).await?;
                    accepted.push(AcceptedBody::new(event, outcome));
                }
                answer(submission.several, accepted)
            }
            .boxed()
        })
        .await
}

async fn prepare(
    management: &Management,
    caller: &Caller,
    inputs: Vec<PublishInput>,
) -> Result<Vec<Event>, ManagementError> {
    let organization = caller.actor().organization_id;
    management
        .prepare_events(organization, inputs, caller.now(), caller.traceparent())
        .await
}

/// Writes an event unless there is one with its id.
async fn append(
    management: &Management,
    transaction: &mut Transaction,
    event: &Event,
) -> Result<Appended, Problem> {
    match management.event(event.organization_id, event.id).await {
        Ok(_) => return Ok(Appended::Duplicate),
        Err(ManagementError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    match outbox::append(transaction, event).await {
        Ok(()) => Ok(Appended::New),
        // Twice in this request, or in another one that has not committed.
        Err(StoreError::Conflict(_)) => Err(Problem::new(
            ProblemKind::Conflict,
            "PublishEvents.IdTaken",
            "An event with this id is being taken in at this moment.",
        )),
        Err(error) => Err(error.into()),
    }
}

fn answer(several: bool, mut accepted: Vec<AcceptedBody>) -> Outcome {
    match accepted.pop() {
        Some(one) if !several => Answer::json(StatusCode::ACCEPTED, &one),
        last => {
            accepted.extend(last);
            Answer::json(StatusCode::ACCEPTED, &AcceptedBodies { items: accepted })
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Full => Self::new(
                ProblemKind::TooMany,
                "PublishEvents.QueueFull",
                "More events arrive than can be written; try again.",
            ),
            IngestError::TooMany => {
                Self::invalid_at("body.events", "has more events than fit into one commit")
            }
            IngestError::Stopped | IngestError::Store(_) => Self::unavailable(&error),
        }
    }
}
