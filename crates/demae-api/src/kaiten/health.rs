//! `/api/health`, and the OpenAPI document itself.

use std::sync::LazyLock;

use axum::{Json, extract::State, response::IntoResponse};
use bytes::Bytes;
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{ApiState, openapi::openapi, problem::Problem};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(openapi_json))
        .routes(routes!(openapi_yaml))
}

/// Whether the service works.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`; a service that does not work answers 503.
    #[schema(examples("ok"))]
    status: &'static str,
}

/// Whether the service and its database work
///
/// Needs no token and tells nothing else.
#[utoipa::path(get, path = "/api/health", operation_id = "get_health", tag = "Health",
    responses((status = 200, description = "It works.", body = Health)))]
async fn health(State(state): State<ApiState>) -> Result<Json<Health>, Problem> {
    state
        .store()
        .ping()
        .await
        .map_err(|error| Problem::unavailable(&error))?;
    Ok(Json(Health { status: "ok" }))
}

/// This document, as JSON
#[utoipa::path(get, path = "/api/openapi.json", operation_id = "get_openapi_json", tag = "Health",
    responses((status = 200, description = "The OpenAPI document.", body = serde_json::Value)))]
async fn openapi_json() -> impl IntoResponse {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| openapi().to_string().into());
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        TEXT.clone(),
    )
}

/// This document, as YAML
#[utoipa::path(get, path = "/api/openapi.yaml", operation_id = "get_openapi_yaml", tag = "Health",
    responses((status = 200, description = "The OpenAPI document.", body = serde_json::Value, content_type = "application/yaml")))]
async fn openapi_yaml() -> impl IntoResponse {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| yaml().into());
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"))],
        TEXT.clone(),
    )
}

#[expect(clippy::expect_used, reason = "every JSON value can be written as YAML")]
fn yaml() -> String {
    serde_yaml_ng::to_string(openapi()).expect("JSON values are YAML values")
}
