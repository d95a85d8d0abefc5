//! `/api/entitlements` (kaiten.md, sections 2.5 and 3.2).

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::{PathOf, Segment},
    page::{PageBody, PageParameters, PageQuery},
    problem::Problem,
    query::Query,
    revision::{IfMatch, IfNoneMatch, Tagged},
    write::{Answer, Operation, Outcome},
};
use demae_control_plane::entitlements::{self, Entitlement, EntitlementInput};
use futures::FutureExt;
use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    auth::{Allowed, ReadEntitlements, WriteEntitlements},
    input::{JsonBody, reads_as_declared},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, delete))
}

reads_as_declared!(EntitlementInput);

/// List entitlements
///
/// Oldest first.
#[utoipa::path(get, path = "/api/entitlements", operation_id = "list_entitlements", tag = "Entitlements",
    security(("token" = ["read:entitlements"])), params(PageParameters),
    responses((status = 200, description = "A page of entitlements.", body = PageBody<Entitlement>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadEntitlements>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<Entitlement>>, Problem> {
    let listing = entitlements::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, |entitlement| entitlement)))
}

/// Create an entitlement
///
/// Emits `ENTITLEMENT_CREATION`.
#[utoipa::path(post, path = "/api/entitlements", operation_id = "create_entitlement", tag = "Entitlements",
    security(("token" = ["write:entitlements"])), request_body = EntitlementInput,
    responses(
        (status = 201, description = "The entitlement.", body = Entitlement,
            links(("get_entitlement" = (operation_id = "get_entitlement",
                parameters(("slug" = "$response.body#/slug")))))),
        (status = 409, description = "The slug is taken."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteEntitlements>,
    operation: Operation,
    body: JsonBody<EntitlementInput>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, |transaction, caller| {
            async move {
                let entitlement = entitlements::create(&mut caller.change(transaction), input).await?;
                Answer::json(StatusCode::CREATED, &entitlement)
            }
            .boxed()
        })
        .await
}

/// Get an entitlement
#[utoipa::path(get, path = "/api/entitlements/{slug}", operation_id = "get_entitlement", tag = "Entitlements",
    security(("token" = ["read:entitlements"])),
    params(("slug" = String, Path, description = "The entitlement's slug."), IfNoneMatch),
    responses((status = 200, description = "The entitlement.", body = Entitlement)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadEntitlements>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<Entitlement>, Problem> {
    let entitlement = entitlements::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, entitlement, |entitlement| entitlement))
}

/// Replace an entitlement
///
/// Emits `ENTITLEMENT_UPDATE`, whether or not anything changed.
#[utoipa::path(put, path = "/api/entitlements/{slug}", operation_id = "replace_entitlement", tag = "Entitlements",
    security(("token" = ["write:entitlements"])),
    params(("slug" = String, Path, description = "The entitlement's slug."), IfMatch),
    request_body = EntitlementInput,
    responses(
        (status = 204, description = "Replaced."),
        (status = 409, description = "Something that stays would be set, and the entitlement is in use."),
    ))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteEntitlements>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<EntitlementInput>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                entitlements::replace(&mut caller.change(transaction), &slug, input).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// Delete an entitlement
///
/// Emits `ENTITLEMENT_DELETION`. Refused while a license grants it or an instance has used it.
#[utoipa::path(delete, path = "/api/entitlements/{slug}", operation_id = "delete_entitlement", tag = "Entitlements",
    security(("token" = ["write:entitlements"])),
    params(("slug" = String, Path, description = "The entitlement's slug."), IfMatch),
    responses(
        (status = 204, description = "Deleted."),
        (status = 409, description = "It is in use by what the detail names."),
    ))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteEntitlements>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                entitlements::delete(&mut caller.change(transaction), &slug).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}
