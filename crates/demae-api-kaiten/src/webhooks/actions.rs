//! What can be done with a webhook: a test delivery, its numbers, and sending again what failed.

use std::str::FromStr;

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::PathOf,
    json::fields::{Fields, Node, ReadBody},
    problem::{Problem, ProblemKind},
    query::{Query, QueryFields, ReadQuery},
    write::{Answer, Operation, Outcome},
};
use demae_delivery::management::recovery::{RecoverInput, RecoverState};
use demae_event::{EndpointId, JobId, Timestamp};
use demae_store::repository::{jobs::Job, stats::EndpointStats};
use futures::FutureExt;
use http::StatusCode;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::{Allowed, ReadWebhooks, WriteWebhooks},
    events::body::AcceptedBody,
    input::{JsonBody, Kaiten, OptionalBody},
    places::in_own_words,
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(test))
        .routes(routes!(stats))
        .routes(routes!(recover))
        .routes(routes!(recovery))
}

/// Which example is sent.
#[derive(Debug, ToSchema)]
#[schema(as = TestWebhook, rename_all = "camelCase", example = json!({"eventName": "CUSTOMER_CREATION"}))]
struct TestBody {
    /// The name (either form) or type of an event; the first that the webhook subscribes to if left out.
    #[schema(min_length = 1, max_length = 256)]
    event_name: Option<String>,
}

impl ReadBody<Kaiten> for TestBody {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            event_name: fields.field("eventName").nullable(|node| node.string(1..=256))?,
        })
    }
}

/// Send an example event
///
/// To this webhook only, whether or not it subscribes to such events. The delivery is like any other: signed, retried
/// and in the history.
#[utoipa::path(post, path = "/api/webhooks/{id}/test", operation_id = "test_webhook", tag = "Webhooks",
    security(("token" = ["write:webhooks"])), params(("id" = String, Path, description = "The webhook's id.")),
    request_body = Option<TestBody>,
    responses(
        (status = 202, description = "The event that is being sent.", body = AcceptedBody),
        (status = 409, description = "The webhook is disabled."),
    ))]
async fn test(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    PathOf(id): PathOf<EndpointId>,
    operation: Operation,
    OptionalBody { body }: OptionalBody<TestBody>,
) -> Outcome {
    let (event_name, management) = (body.value.event_name, state.management().clone());
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let place = (caller.scope(), id);
                let (name, now) = (event_name.as_deref(), caller.now());
                let event = management
                    .send_example(transaction, place, name, now, caller.traceparent())
                    .await?;
                Answer::json(StatusCode::ACCEPTED, &AcceptedBody::of_new(&event))
            }
            .boxed()
        })
        .await
}

/// A window of time.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters; Window is read")]
struct WindowParameters {
    /// Attempts begun then or later; 28 days before `until` if left out, and at most so much before.
    #[param(value_type = String, format = DateTime, required = false, nullable = false)]
    since: Option<Timestamp>,
    /// Attempts begun before; now if left out.
    #[param(value_type = String, format = DateTime, required = false, nullable = false)]
    until: Option<Timestamp>,
}

struct Window {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl ReadQuery for Window {
    fn read(query: &mut QueryFields<'_>) -> Option<Self> {
        let since = query.timestamp("since");
        let until = query.timestamp("until");
        Some(Self {
            since: since?,
            until: until?,
        })
    }
}

/// How a webhook fared.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookStats)]
struct StatsBody {
    /// Attempts that were answered 2xx.
    success: u64,
    /// Attempts that failed while another one was planned.
    failing: u64,
    /// Attempts after which a delivery was given up.
    failed: u64,
    /// Attempts that were not made because the webhook was disabled or deleted.
    canceled: u64,
    /// Deliveries that wait for an attempt now.
    waiting: u64,
    /// Attempts under way now.
    sending: u64,
    /// Whether every attempt of the window was counted; if not, the newest 100,000 were.
    complete: bool,
}

impl From<EndpointStats> for StatsBody {
    fn from(stats: EndpointStats) -> Self {
        Self {
            success: stats.success,
            failing: stats.failing,
            failed: stats.failed,
            canceled: stats.canceled,
            waiting: stats.waiting,
            sending: stats.sending,
            complete: stats.complete,
        }
    }
}

/// Get a webhook's numbers
#[utoipa::path(get, path = "/api/webhooks/{id}/stats", operation_id = "get_webhook_stats", tag = "Webhooks",
    security(("token" = ["read:webhooks"])),
    params(("id" = String, Path, description = "The webhook's id."), WindowParameters),
    responses((status = 200, description = "Its numbers.", body = StatsBody)))]
async fn stats(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadWebhooks>,
    PathOf(id): PathOf<EndpointId>,
    Query(window): Query<Window>,
) -> Result<Json<StatsBody>, Problem> {
    let (scope, window) = (caller.scope(), (window.since, window.until));
    Ok(Json(
        state
            .management()
            .endpoint_stats(scope, id, window, caller.now())
            .await?
            .into(),
    ))
}

/// What is sent again.
#[derive(Debug, ToSchema)]
#[schema(as = RecoverWebhook, rename_all = "camelCase", example = json!({"since": "2026-09-21T12:00:00.000Z"}))]
#[expect(dead_code, reason = "describes the body; management's own type is read")]
struct RecoverBody {
    /// Events written then or later.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Events written before; now if left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Of these, any of `failed`, `failing`, `canceled` and `missing` (never sent to this webhook); all if left out.
    #[schema(max_items = 4)]
    status: Option<Vec<String>>,
}

impl ReadBody<Kaiten> for RecoverInput {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let since = fields.field("since").required(Node::timestamp);
        let until = fields.field("until").nullable(Node::timestamp);
        let words = RecoverState::ALL.map(RecoverState::as_str);
        let status = fields.field("status").nullable(|node| {
            node.array(0..=words.len(), |node| {
                RecoverState::from_str(&node.one_of(&words)?).ok()
            })
        });
        Some(Self {
            since: since?,
            until: until?,
            states: status?.unwrap_or_default(),
        })
    }
}

/// Work that goes on after its request was answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RecoveryJob)]
struct JobBody {
    /// Its identity.
    #[schema(examples("job_2bZ8Q0iZkzJ2yq1cZ5mWc0J1x7T"))]
    id: String,
    /// The webhook it works for.
    webhook_id: String,
    /// `running`, `finished` or `failed`.
    #[schema(examples("running"))]
    status: &'static str,
    /// Events looked at so far.
    examined: u64,
    /// Deliveries that were planned anew so far.
    resent: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it last got on.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Job> for JobBody {
    fn from(job: Job) -> Self {
        Self {
            id: job.id.to_string(),
            webhook_id: job.endpoint_id.to_string(),
            status: job.status.as_str(),
            examined: job.examined,
            resent: job.resent,
            error: job.error.as_deref().map(in_own_words),
            created_at: job.created_at,
            updated_at: job.updated_at,
        }
    }
}

/// Send again what failed or never arrived
///
/// In the background; ask for the progress at `…/recover/{job}`. Attempts that were planned stay planned.
#[utoipa::path(post, path = "/api/webhooks/{id}/recover", operation_id = "recover_webhook", tag = "Webhooks",
    security(("token" = ["write:webhooks"])), params(("id" = String, Path, description = "The webhook's id.")),
    request_body = RecoverBody,
    responses(
        (status = 202, description = "The job.", body = JobBody,
            links(("get_recovery" = (operation_id = "get_recovery",
                parameters(("id" = "$response.body#/webhookId"), ("job" = "$response.body#/id")))))),
        (status = 409, description = "The webhook is disabled, or a recovery of it is running."),
    ))]
async fn recover(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    PathOf(id): PathOf<EndpointId>,
    operation: Operation,
    body: JsonBody<RecoverInput>,
) -> Outcome {
    let (input, management) = (body.value, state.management().clone());
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let (scope, now) = (caller.scope(), caller.now());
                let job = management
                    .recover_endpoint(transaction, scope, id, input, now)
                    .await?;
                Answer::json(StatusCode::ACCEPTED, &JobBody::from(job))
            }
            .boxed()
        })
        .await
}

/// Get the progress of a recovery
#[utoipa::path(get, path = "/api/webhooks/{id}/recover/{job}", operation_id = "get_recovery", tag = "Webhooks",
    security(("token" = ["read:webhooks"])),
    params(
        ("id" = String, Path, description = "The webhook's id."),
        ("job" = String, Path, description = "The job's id."),
    ),
    responses((status = 200, description = "The job.", body = JobBody)))]
async fn recovery(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadWebhooks>,
    PathOf((id, job)): PathOf<(EndpointId, JobId)>,
) -> Result<Json<JobBody>, Problem> {
    let job = state.management().job(caller.scope(), job).await?;
    if job.endpoint_id != id {
        return Err(Problem::new(
            ProblemKind::NotFound,
            "GetJob.NotFound",
            "There is no such job.",
        ));
    }
    Ok(Json(job.into()))
}
