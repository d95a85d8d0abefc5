//! Evaluating feature flags: `/api/ofrep/v1/evaluate/flags`, and `/api/openfeature/v0/manifest` (kaiten.md, section 3.2).
//!
//! OFREP, the `OpenFeature` Remote Evaluation Protocol, is spoken as its OpenAPI document (0.2.0, `service/openapi.yaml` of
//! open-feature/protocol) says, so that the providers of every `OpenFeature` SDK work: base URL `…/api`, bearer token. What
//! the protocol has an answer for (a body that cannot be read, an unknown flag, a missing targeting key) is answered in
//! its form; everything else, such as a missing scope, is a problem document as everywhere, and SDKs go by its status.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use demae_api::{
    ApiState,
    caller::Caller,
    extract::{PathOf, RawBody, Segment},
    json,
    problem::Problem,
    revision::{IfNoneMatch, Tagged},
};
use demae_control_plane::{
    DomainError,
    feature_flags::{
        self, Evaluated, FlagType, FoundFlags, ManifestFlag,
        evaluation::{EvaluationError, TARGETING_KEY},
    },
};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::feature_flags::FlagTypeBody;
use crate::auth::{Allowed, ReadFeatureFlags};

/// Longest evaluation context, in bytes of JSON.
const MAX_CONTEXT: usize = 65_536;

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(evaluate_one))
        .routes(routes!(evaluate_all))
        .routes(routes!(manifest))
}

/// Who asks for what flags are.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"context": {"targetingKey": "user-1", "plan": "enterprise"}}))]
#[expect(dead_code, reason = "describes the body")]
struct EvaluationRequest {
    /// Attributes that rules ask for; `targetingKey`, a text, is who asks. At most 65,536 bytes.
    context: Option<Map<String, Value>>,
}

/// What is served.
#[derive(Debug, Serialize, ToSchema)]
struct EvaluationSuccess {
    /// The flag's slug.
    key: String,
    /// `STATIC`, `DEFAULT`, `TARGETING_MATCH`, `SPLIT` or `DISABLED`.
    reason: &'static str,
    /// Name of the variant.
    variant: String,
    /// Its value.
    value: Value,
    /// What of the flag's metadata is a text, a number or a boolean; `targeting`, the name of the one that matched;
    /// `failedTargetings`, the names of those whose rules could not be evaluated, and why.
    metadata: Map<String, Value>,
}

/// Why nothing can be served: the application's own default counts.
#[derive(Debug, Serialize, ToSchema)]
struct EvaluationFailure {
    /// The flag's slug.
    key: String,
    /// What kind of failure.
    #[serde(rename = "errorCode")]
    error_code: ErrorCode,
    /// What happened.
    #[serde(rename = "errorDetails")]
    error_details: String,
}

/// Why no flag can be evaluated.
#[derive(Debug, Serialize, ToSchema)]
struct BulkEvaluationFailure {
    /// What kind of failure.
    #[serde(rename = "errorCode")]
    error_code: ErrorCode,
    /// What happened.
    #[serde(rename = "errorDetails")]
    error_details: String,
}

/// Error codes of `OpenFeature`.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ErrorCode {
    ParseError,
    TargetingKeyMissing,
    InvalidContext,
    General,
    FlagNotFound,
}

/// One flag of many.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum BulkEvaluation {
    Success(EvaluationSuccess),
    Failure(EvaluationFailure),
}

/// Every flag.
#[derive(Debug, Serialize, ToSchema)]
struct BulkEvaluationSuccess {
    /// In the order of their keys.
    flags: Vec<BulkEvaluation>,
}

/// Evaluate a feature flag
///
/// OFREP, for servers: asked whenever the application asks.
#[utoipa::path(post, path = "/api/ofrep/v1/evaluate/flags/{key}", operation_id = "evaluate_flag", tag = "Feature flags",
    security(("token" = ["read:feature_flags"])),
    params(("key" = String, Path, description = "The flag's slug.")), request_body = EvaluationRequest,
    responses(
        (status = 200, description = "What is served.", body = EvaluationSuccess),
        (status = 400, description = "The request cannot be understood, or lacks the targeting key that a rollout needs.",
            body = EvaluationFailure),
        (status = 404, description = "There is no such flag.", body = EvaluationFailure),
    ))]
async fn evaluate_one(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadFeatureFlags>,
    PathOf(Segment(key)): PathOf<Segment>,
    RawBody(body): RawBody,
) -> Result<Response, Problem> {
    let failed = |status: StatusCode, error_code: ErrorCode, error_details: String| {
        let failure = EvaluationFailure {
            key: key.clone(),
            error_code,
            error_details,
        };
        Ok((status, Json(failure)).into_response())
    };
    let context = match read_context(&body) {
        Ok(context) => context,
        Err((code, details)) => return failed(StatusCode::BAD_REQUEST, code, details),
    };
    let found = match feature_flags::find_one(state.store(), state.flags(), caller.actor(), &key).await {
        Ok(found) => found,
        Err(error @ DomainError::NotFound { .. }) => {
            return failed(StatusCode::NOT_FOUND, ErrorCode::FlagNotFound, error.to_string());
        }
        Err(error) => return Err(error.into()),
    };
    let mut flags = evaluate(&state, &caller, found, context).await?;
    match flags.pop() {
        Some(BulkEvaluation::Success(success)) => Ok(Json(success).into_response()),
        Some(BulkEvaluation::Failure(failure)) => {
            Ok((StatusCode::BAD_REQUEST, Json(failure)).into_response())
        }
        None => failed(
            StatusCode::NOT_FOUND,
            ErrorCode::FlagNotFound,
            "there is no such flag".to_owned(),
        ),
    }
}

/// Rules are other people's work, and so is their number: they are evaluated where that may take its time.
async fn evaluate(
    state: &ApiState,
    caller: &Caller,
    found: FoundFlags,
    context: Map<String, Value>,
) -> Result<Vec<BulkEvaluation>, Problem> {
    let (cache, now) = (state.flags().clone(), caller.now());
    let work = move || found.evaluate(&cache, &context, now);
    let organization = caller.actor().organization_id;
    let evaluated = state
        .computations()
        .check(organization, "body.context", work)
        .await?;
    Ok(evaluated.into_iter().map(BulkEvaluation::from).collect())
}

/// Evaluate all feature flags
///
/// OFREP, for clients: asked once per user, and again with `If-None-Match` to see whether anything changed.
#[utoipa::path(post, path = "/api/ofrep/v1/evaluate/flags", operation_id = "evaluate_flags", tag = "Feature flags",
    security(("token" = ["read:feature_flags"])), params(IfNoneMatch), request_body = EvaluationRequest,
    responses(
        (status = 200, description = "What is served, by flag.", body = BulkEvaluationSuccess),
        (status = 400, description = "The request cannot be understood.", body = BulkEvaluationFailure),
    ))]
async fn evaluate_all(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadFeatureFlags>,
    held: IfNoneMatch,
    RawBody(body): RawBody,
) -> Result<Response, Problem> {
    let context = match read_context(&body) {
        Ok(context) => context,
        Err((error_code, error_details)) => {
            let failure = BulkEvaluationFailure {
                error_code,
                error_details,
            };
            return Ok((StatusCode::BAD_REQUEST, Json(failure)).into_response());
        }
    };
    let found = feature_flags::find_all(state.store(), state.flags(), caller.actor()).await?;
    let flags = evaluate(&state, &caller, found, context).await?;
    let body = BulkEvaluationSuccess { flags };
    Ok(Tagged::new(&held, body, |body| body).into_response())
}

impl From<Evaluated> for BulkEvaluation {
    fn from(Evaluated { key, outcome }: Evaluated) -> Self {
        match outcome {
            Ok(evaluation) => Self::Success(EvaluationSuccess {
                key,
                reason: evaluation.reason.name(),
                variant: evaluation.variant,
                value: evaluation.value,
                metadata: evaluation.metadata,
            }),
            Err(error) => Self::Failure(EvaluationFailure {
                key,
                error_code: match error {
                    EvaluationError::TargetingKeyMissing => ErrorCode::TargetingKeyMissing,
                    EvaluationError::NoVariant(_) => ErrorCode::General,
                },
                error_details: error.to_string(),
            }),
        }
    }
}

/// The evaluation context of a request; without one it is empty. What else is in the body is a later version's business.
fn read_context(body: &[u8]) -> Result<Map<String, Value>, (ErrorCode, String)> {
    let invalid = |details: String| Err((ErrorCode::InvalidContext, details));
    if body.is_empty() {
        return Ok(Map::new());
    }
    let Ok(Value::Object(mut request)) = json::parse(body) else {
        return Err((ErrorCode::ParseError, "the body is no JSON object".to_owned()));
    };
    let context = match request.remove("context") {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::Object(context)) => context,
        Some(_) => return invalid("the context is no object".to_owned()),
    };
    if body.len() > MAX_CONTEXT {
        return invalid(format!("the context is longer than {MAX_CONTEXT} bytes"));
    }
    if context.get(TARGETING_KEY).is_some_and(|key| !key.is_string()) {
        return invalid(format!("{TARGETING_KEY} is no string"));
    }
    Ok(context)
}

/// What generators of code need to know of the flags.
#[derive(Debug, Serialize, ToSchema)]
struct Manifest {
    /// In the order of their keys.
    flags: Vec<ManifestFlagBody>,
}

/// What generators of code need to know of a flag.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ManifestFlag)]
struct ManifestFlagBody {
    /// The flag's slug.
    key: String,
    /// Type of its values.
    #[serde(rename = "type")]
    #[schema(value_type = FlagTypeBody)]
    kind: FlagType,
    /// What to assume while it cannot be asked: the default variant's value; of a rollout, that of the largest share, or of
    /// the start.
    default_value: Value,
    /// Display name.
    name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
}

impl From<ManifestFlag> for ManifestFlagBody {
    fn from(flag: ManifestFlag) -> Self {
        Self {
            key: flag.key,
            kind: flag.kind,
            default_value: flag.default_value,
            name: flag.name,
            description: flag.description,
        }
    }
}

/// Get the manifest of feature flags
///
/// Key, type and default of every flag.
#[utoipa::path(get, path = "/api/openfeature/v0/manifest", operation_id = "get_feature_flag_manifest",
    tag = "Feature flags", security(("token" = ["read:feature_flags"])), params(IfNoneMatch),
    responses((status = 200, description = "The manifest.", body = Manifest)))]
async fn manifest(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadFeatureFlags>,
    held: IfNoneMatch,
) -> Result<Tagged<Manifest>, Problem> {
    let found = feature_flags::find_all(state.store(), state.flags(), caller.actor()).await?;
    let cache = state.flags().clone();
    let organization = caller.actor().organization_id;
    let work = move || found.manifest(&cache);
    let flags = state.computations().check(organization, "path", work).await?;
    let flags = flags.into_iter().map(ManifestFlagBody::from).collect();
    Ok(Tagged::new(&held, Manifest { flags }, |manifest| manifest))
}
