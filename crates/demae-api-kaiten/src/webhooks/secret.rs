//! `/api/webhooks/{id}/secret`: what a receiver verifies with, and its rotation.
//!
//! Reading a secret needs `write:webhooks`: whoever has it can forge deliveries, which is more than looking.

use axum::{Json, extract::State, response::IntoResponse};
use demae_api::{
    ApiState,
    extract::PathOf,
    json::fields::{Fields, ReadBody},
    problem::Problem,
    write::{Answer, Operation, Outcome},
};
use demae_delivery::management::{
    Endpoint,
    endpoint::{OVERLAPS, receiver_secret},
};
use demae_event::{EndpointId, Timestamp};
use futures::FutureExt;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    input::MAX_SECRET,
    trail::{self, Happened},
};
use crate::{
    auth::{Allowed, WriteWebhooks},
    input::{Kaiten, OptionalBody},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(get)).routes(routes!(rotate))
}

/// A webhook's signing secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookSecret)]
struct SecretBody {
    /// What its receiver verifies signatures with; missing from the answer to a repetition.
    #[schema(required = false, examples("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"))]
    secret: String,
    /// Until when each earlier secret signs as well, latest first; absent if none does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, value_type = Vec<String>, format = DateTime)]
    previous_sign_until: Vec<Timestamp>,
}

impl SecretBody {
    fn new(endpoint: &Endpoint, now: Timestamp) -> Result<Self, Problem> {
        let previous = endpoint
            .previous_secrets
            .iter()
            .map(|previous| previous.expires_at);
        Ok(Self {
            secret: receiver_secret(endpoint)?.to_string(),
            previous_sign_until: previous.filter(|end| *end > now).collect(),
        })
    }
}

/// Get a webhook's signing secret
#[utoipa::path(get, path = "/api/webhooks/{id}/secret", operation_id = "get_webhook_secret", tag = "Webhooks",
    security(("token" = ["write:webhooks"])), params(("id" = String, Path, description = "The webhook's id.")),
    responses((status = 200, description = "The secret.", body = SecretBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    PathOf(id): PathOf<EndpointId>,
) -> Result<impl IntoResponse, Problem> {
    let endpoint = state.management().endpoint(caller.scope(), id).await?;
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((no_store, Json(SecretBody::new(&endpoint, caller.now())?)))
}

/// How a secret is rotated.
#[derive(Debug, ToSchema)]
#[schema(as = RotateWebhookSecret, rename_all = "camelCase", example = json!({"overlapSeconds": 86400}))]
struct RotateBody {
    /// A signing key of the caller's own, `whsec_…` or `whsk_…`; made here if left out.
    #[schema(max_length = 512)]
    secret: Option<String>,
    /// Seconds for which the earlier secret signs as well; a day if left out.
    #[schema(minimum = 0, maximum = 604_800)]
    overlap_seconds: Option<i64>,
}

impl ReadBody<Kaiten> for RotateBody {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let secret = fields
            .field("secret")
            .nullable(|node| node.secret(1..=MAX_SECRET));
        let overlap_seconds = fields
            .field("overlapSeconds")
            .nullable(|node| node.integer(OVERLAPS));
        Some(Self {
            secret: secret?,
            overlap_seconds: overlap_seconds?,
        })
    }
}

/// Rotate a webhook's signing secret
///
/// During the overlap every delivery carries the signatures of both.
#[utoipa::path(post, path = "/api/webhooks/{id}/secret/rotate", operation_id = "rotate_webhook_secret",
    tag = "Webhooks", security(("token" = ["write:webhooks"])),
    params(("id" = String, Path, description = "The webhook's id.")),
    request_body = Option<RotateBody>,
    responses(
        (status = 200, description = "The new secret.", body = SecretBody),
        (status = 409, description = "Too many earlier secrets still sign."),
    ))]
async fn rotate(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    PathOf(id): PathOf<EndpointId>,
    operation: Operation,
    OptionalBody { body }: OptionalBody<RotateBody>,
) -> Outcome {
    let (input, management) = (body.value, state.management().clone());
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let place = (caller.scope(), id);
                let (key, now) = (input.secret.as_deref(), caller.now());
                let endpoint = management
                    .rotate_secret(transaction, place, key, input.overlap_seconds, now)
                    .await?;
                trail::note(transaction, caller, Happened::SecretRotated, &endpoint).await?;
                Answer::with_secret(StatusCode::OK, &SecretBody::new(&endpoint, now)?, "secret")
            }
            .boxed()
        })
        .await
}
