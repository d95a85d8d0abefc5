//! `/api/instances/{slug}/integrations/{name}` (kaiten.md, section 3.2).

use axum::extract::State;
use demae_api::{
    ApiState,
    extract::{PathOf, Segment},
    problem::Problem,
    revision::{IfMatch, IfNoneMatch, Tagged},
    write::{Operation, Outcome},
};
use demae_control_plane::integrations::{Integration, NewIntegration, Owner};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::operations;
use crate::{
    auth::{Allowed, ReadInstances, WriteInstances},
    input::JsonBody,
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(get, create, replace, delete))
}

/// Get how another system knows an instance
#[utoipa::path(get, path = "/api/instances/{slug}/integrations/{name}", operation_id = "get_instance_integration",
    tag = "Instances", security(("token" = ["read:instances"])),
    params(
        ("slug" = String, Path, description = "The instance's slug."),
        ("name" = String, Path, description = "The other system."),
        IfNoneMatch,
    ),
    responses((status = 200, description = "The integration.", body = Integration)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadInstances>,
    PathOf((Segment(slug), Segment(name))): PathOf<(Segment, Segment)>,
    held: IfNoneMatch,
) -> Result<Tagged<Integration>, Problem> {
    operations::get(&state, &caller, &Owner::Instance(slug), &name, &held).await
}

/// Say how one more system knows an instance
///
/// Emits `INSTANCE_UPDATE`. At most 50 systems can know it.
#[utoipa::path(post, path = "/api/instances/{slug}/integrations/{name}", operation_id = "create_instance_integration",
    tag = "Instances", security(("token" = ["write:instances"])),
    params(
        ("slug" = String, Path, description = "The instance's slug."),
        ("name" = String, Path, description = "The other system: at most 255 characters."),
    ),
    request_body = NewIntegration,
    responses(
        (status = 201, description = "The integration.", body = Integration,
            links(
                ("get_instance_integration" = (operation_id = "get_instance_integration",
                    parameters(("slug" = "$request.path.slug"), ("name" = "$request.path.name")))),
                ("delete_instance_integration" = (operation_id = "delete_instance_integration",
                    parameters(("slug" = "$request.path.slug"), ("name" = "$request.path.name")))),
            )),
        (status = 409, description = "There is one for this system, or there are 50."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteInstances>,
    PathOf((Segment(slug), Segment(name))): PathOf<(Segment, Segment)>,
    operation: Operation,
    body: JsonBody<NewIntegration>,
) -> Outcome {
    operations::create(&state, caller, operation, (Owner::Instance(slug), name), body).await
}

/// Replace how another system knows an instance
///
/// What is left out is cleared. Emits `INSTANCE_UPDATE`, whether or not anything changed.
#[utoipa::path(put, path = "/api/instances/{slug}/integrations/{name}", operation_id = "replace_instance_integration",
    tag = "Instances", security(("token" = ["write:instances"])),
    params(
        ("slug" = String, Path, description = "The instance's slug."),
        ("name" = String, Path, description = "The other system."),
        IfMatch,
    ),
    request_body = NewIntegration,
    responses((status = 200, description = "The integration as it is now.", body = Integration)))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteInstances>,
    PathOf((Segment(slug), Segment(name))): PathOf<(Segment, Segment)>,
    operation: Operation,
    body: JsonBody<NewIntegration>,
) -> Outcome {
    operations::replace(&state, caller, operation, (Owner::Instance(slug), name), body).await
}

/// Forget how another system knows an instance
///
/// Emits `INSTANCE_UPDATE`.
#[utoipa::path(delete, path = "/api/instances/{slug}/integrations/{name}", operation_id = "delete_instance_integration",
    tag = "Instances", security(("token" = ["write:instances"])),
    params(
        ("slug" = String, Path, description = "The instance's slug."),
        ("name" = String, Path, description = "The other system."),
        IfMatch,
    ),
    responses((status = 204, description = "Forgotten.")))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteInstances>,
    PathOf((Segment(slug), Segment(name))): PathOf<(Segment, Segment)>,
    operation: Operation,
) -> Outcome {
    operations::delete(&state, caller, operation, (Owner::Instance(slug), name)).await
}
