//! `/api/customers/{slug}/integrations/{name}` (kaiten.md, section 3.2).

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
    auth::{Allowed, ReadCustomers, WriteCustomers},
    input::JsonBody,
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(get, create, replace, delete))
}

/// Get how another system knows a customer
#[utoipa::path(get, path = "/api/customers/{slug}/integrations/{name}", operation_id = "get_customer_integration",
    tag = "Customers", security(("token" = ["read:customers"])),
    params(
        ("slug" = String, Path, description = "The customer's slug."),
        ("name" = String, Path, description = "The other system."),
        IfNoneMatch,
    ),
    responses((status = 200, description = "The integration.", body = Integration)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadCustomers>,
    PathOf((Segment(slug), Segment(name))): PathOf<(Segment, Segment)>,
    held: IfNoneMatch,
) -> Result<Tagged<Integration>, Problem> {
    operations::get(&state, &caller, &Owner::Customer(slug), &name, &held).await
}

/// Say how one more system knows a customer
///
/// Emits `CUSTOMER_UPDATE`. At most 50 systems can know it.
#[utoipa::path(post, path = "/api/customers/{slug}/integrations/{name}", operation_id = "create_customer_integration",
    tag = "Customers", security(("token" = ["write:customers"])),
    params(
        ("slug" = String, Path, description = "The customer's slug."),
        ("name" = String, Path, description = "The other system: at most 255 characters."),
    ),
    request_body = NewIntegration,
    responses(
        (status = 201, description = "The integration.", body = Integration,
            links(
                ("get_customer_integration" = (operation_id = "get_customer_integration",
                    parameters(("slug" = "$request.path.slug"), ("name" = "$request.path.name")))),
                ("delete_customer_integration" = (operation_id = "delete_customer_integration",
                    parameters(("slug" = "$request.path.slug"), ("name" = "$request.path.name")))),
            )),
        (status = 409, description = "There is one for this system, or there are 50."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteCustomers>,
    PathOf((Segment(slug), Segment(name))): PathOf<(Segment, Segment)>,
    operation: Operation,
    body: JsonBody<NewIntegration>,
) -> Outcome {
    operations::create(&state, caller, operation, (Owner::Customer(slug), name), body).await
}

/// Replace how another system knows a customer
///
/// What is left out is cleared. Emits `CUSTOMER_UPDATE`, whether or not anything changed.
#[utoipa::path(put, path = "/api/customers/{slug}/integrations/{name}", operation_id = "replace_customer_integration",
    tag = "Customers", security(("token" = ["write:customers"])),
    params(
        ("slug" = String, Path, description = "The customer's slug."),
        ("name" = String, Path, description = "The other system."),
        IfMatch,
    ),
    request_body = NewIntegration,
    responses((status = 200, description = "The integration as it is now.", body = Integration)))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteCustomers>,
    PathOf((Segment(slug), Segment(name))): PathOf<(Segment, Segment)>,
    operation: Operation,
    body: JsonBody<NewIntegration>,
) -> Outcome {
    operations::replace(&state, caller, operation, (Owner::Customer(slug), name), body).await
}

/// Forget how another system knows a customer
///
/// Emits `CUSTOMER_UPDATE`.
#[utoipa::path(delete, path = "/api/customers/{slug}/integrations/{name}", operation_id = "delete_customer_integration",
    tag = "Customers", security(("token" = ["write:customers"])),
    params(
        ("slug" = String, Path, description = "The customer's slug."),
        ("name" = String, Path, description = "The other system."),
        IfMatch,
    ),
    responses((status = 204, description = "Forgotten.")))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteCustomers>,
    PathOf((Segment(slug), Segment(name))): PathOf<(Segment, Segment)>,
    operation: Operation,
) -> Outcome {
    operations::delete(&state, caller, operation, (Owner::Customer(slug), name)).await
}
