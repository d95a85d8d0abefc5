//! `POST /api/events`: the way in for an application's own events, and the hot path of this crate.
//!
//! All events go to the [`EventSink`](demae_api::EventSink), where they share a commit with whatever else arrived. Those of a
//! request with an `Idempotency-Key` do so, too: see [`repeat`](super::repeat).

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use demae_api::{
    ApiState,
    extract::RawBody,
    ingest::IngestError,
    problem::{Problem, ProblemKind},
    write::{Answer, Operation, Outcome},
};
use demae_delivery::management::events::PublishInput;
use http::StatusCode;

use super::{
    body::{AcceptedBodies, AcceptedBody},
    read::{self, PublishBody},
    repeat::Repeatable,
};
use crate::auth::{Allowed, WriteWebhooks};

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
        (status = 429, description = "More events arrive than can be written."),
    ))]
pub(super) async fn publish(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    operation: Operation,
    RawBody(body): RawBody,
) -> Result<Response, Problem> {
    let submission = read::read(&body, state.limits().events_per_request)?;
    let several = submission.several;
    let named: Vec<bool> = submission.inputs.iter().map(is_named).collect();
    let scope = caller.scope();
    let prepared =
        state
            .management()
            .prepare_events(scope, submission.inputs, caller.now(), caller.traceparent());
    let mut events = prepared.await?;
    let repeatable = operation
        .key_digest(&caller)
        .and_then(|request| Repeatable::new(&request, body, &named, &mut events));
    // The sink owns them from here on; the answer is about what they are.
    let accepted: Vec<AcceptedBody> = events.iter().map(AcceptedBody::of_new).collect();
    if let Some(repeatable) = &repeatable
        && repeatable.is_repeated_list(&state).await?
    {
        let accepted = repeatable.answer_again(&state, accepted).await?;
        return Ok(answer(several, accepted)?.replayed().into_response());
    }
    let outcomes = state
        .events()
        .publish(events)
        .await
        .map_err(|error| refusal(&error))?;
    if let Some(repeatable) = repeatable.filter(|repeatable| repeatable.is_repetition(&outcomes)) {
        let accepted = repeatable.answer_again(&state, accepted).await?;
        return Ok(answer(several, accepted)?.replayed().into_response());
    }
    let accepted = accepted.into_iter().zip(outcomes);
    let accepted = accepted.map(|(body, outcome)| body.with(outcome)).collect();
    Ok(answer(several, accepted)?.into_response())
}

/// Whether its sender gave it an id.
fn is_named(input: &PublishInput) -> bool {
    input.id.is_some()
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

fn answer(several: bool, mut accepted: Vec<AcceptedBody>) -> Outcome {
    match accepted.pop() {
        Some(one) if !several => Answer::json(StatusCode::ACCEPTED, &one),
        last => {
            accepted.extend(last);
            Answer::json(StatusCode::ACCEPTED, &AcceptedBodies { items: accepted })
        }
    }
}

/// Why these events were not taken in.
fn refusal(error: &IngestError) -> Problem {
    match error {
        IngestError::Full => Problem::new(
            ProblemKind::TooMany,
            "PublishEvents.QueueFull",
            "More events arrive than can be written; try again.",
        ),
        IngestError::TooMany => {
            Problem::invalid_at("body.events", "has more events than fit into one commit")
        }
        IngestError::Refused(_) => Problem::new(
            ProblemKind::Invalid,
            "PublishEvents.NotStorable",
            "The database refuses a value of these events.",
        ),
        IngestError::Stopped | IngestError::Store(_) => Problem::unavailable(error),
        IngestError::Panicked => Problem::internal(error),
    }
}
