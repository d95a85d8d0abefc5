//! `/api/health`, and where the OpenAPI document is.

use axum::{Extension, Json, extract::State, response::Response};
use demae_api::{ApiState, openapi::Document, problem::Problem};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Where the document is, as JSON.
pub(super) const DOCUMENT_PATH: &str = "/api/openapi.json";

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(health))
}

/// The routes of the document, which they find among the extensions of their requests.
pub(super) fn document_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
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
async fn openapi_json(Extension(document): Extension<&'static Document>) -> Response {
    document.as_json()
}

/// This document, as YAML
#[utoipa::path(get, path = "/api/openapi.yaml", operation_id = "get_openapi_yaml", tag = "Health",
    responses((status = 200, description = "The OpenAPI document.", body = serde_json::Value, content_type = "application/yaml")))]
async fn openapi_yaml(Extension(document): Extension<&'static Document>) -> Response {
    document.as_yaml()
}
