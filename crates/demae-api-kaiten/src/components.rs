//! `/api/components` (kaiten.md, sections 2.8 and 3.2).

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
use demae_control_plane::components::{self, Component, CreateComponent, ReplaceComponent};
use futures::FutureExt;
use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    auth::{Allowed, ReadComponents, WriteComponents},
    input::{JsonBody, reads_as_declared},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, delete))
}

reads_as_declared!(CreateComponent, ReplaceComponent);

/// List components
///
/// Oldest first.
#[utoipa::path(get, path = "/api/components", operation_id = "list_components", tag = "Releases",
    security(("token" = ["read:components"])), params(PageParameters),
    responses((status = 200, description = "A page of components.", body = PageBody<Component>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadComponents>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<Component>>, Problem> {
    let listing = components::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, |component| component)))
}

/// Create a component
#[utoipa::path(post, path = "/api/components", operation_id = "create_component", tag = "Releases",
    security(("token" = ["write:components"])), request_body = CreateComponent,
    responses(
        (status = 201, description = "The component.", body = Component,
            links(("get_component" = (operation_id = "get_component", parameters(("slug" = "$response.body#/slug")))))),
        (status = 404, description = "There is no such previous component."),
        (status = 409, description = "The slug is taken, or the component has this version already."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteComponents>,
    operation: Operation,
    body: JsonBody<CreateComponent>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, |transaction, caller| {
            async move {
                let component = components::create(&mut caller.change(transaction), input).await?;
                Answer::json(StatusCode::CREATED, &component)
            }
            .boxed()
        })
        .await
}

/// Get a component
#[utoipa::path(get, path = "/api/components/{slug}", operation_id = "get_component", tag = "Releases",
    security(("token" = ["read:components"])),
    params(("slug" = String, Path, description = "The component's slug."), IfNoneMatch),
    responses((status = 200, description = "The component.", body = Component)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadComponents>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<Component>, Problem> {
    let component = components::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, component, |component| component))
}

/// Replace a component
///
/// Answers the component, as no other replacement does. Releases that contain it show it as it is from now on.
#[utoipa::path(put, path = "/api/components/{slug}", operation_id = "replace_component", tag = "Releases",
    security(("token" = ["write:components"])),
    params(("slug" = String, Path, description = "The component's slug."), IfMatch),
    request_body = ReplaceComponent,
    responses(
        (status = 200, description = "The component.", body = Component),
        (status = 409, description = "The component has this version already."),
    ))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteComponents>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<ReplaceComponent>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let component = components::replace(&mut caller.change(transaction), &slug, input).await?;
                Answer::json(StatusCode::OK, &component)
            }
            .boxed()
        })
        .await
}

/// Delete a component
///
/// Components that name it as their predecessor have none afterwards.
#[utoipa::path(delete, path = "/api/components/{slug}", operation_id = "delete_component", tag = "Releases",
    security(("token" = ["write:components"])),
    params(("slug" = String, Path, description = "The component's slug."), IfMatch),
    responses(
        (status = 204, description = "Deleted."),
        (status = 409, description = "Releases contain it."),
    ))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteComponents>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                components::delete(&mut caller.change(transaction), &slug).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}
