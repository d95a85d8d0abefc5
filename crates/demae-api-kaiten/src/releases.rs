//! `/api/releases` (kaiten.md, sections 2.8 and 3.2).

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
use demae_control_plane::releases::{self, CreateRelease, Release};
use futures::FutureExt;
use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    auth::{Allowed, ReadReleases, WriteReleases},
    input::{JsonBody, reads_as_declared},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, delete))
}

reads_as_declared!(CreateRelease);

/// List releases
///
/// Oldest first, with their components.
#[utoipa::path(get, path = "/api/releases", operation_id = "list_releases", tag = "Releases",
    security(("token" = ["read:releases"])), params(PageParameters),
    responses((status = 200, description = "A page of releases.", body = PageBody<Release>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadReleases>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<Release>>, Problem> {
    let listing = releases::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, |release| release)))
}

/// Create a release
///
/// Emits `RELEASE_CREATION`.
#[utoipa::path(post, path = "/api/releases", operation_id = "create_release", tag = "Releases",
    security(("token" = ["write:releases"])), request_body = CreateRelease,
    responses(
        (status = 201, description = "The release.", body = Release,
            links(("get_release" = (operation_id = "get_release", parameters(("slug" = "$response.body#/slug")))))),
        (status = 404, description = "There is no such component."),
        (status = 409, description = "The slug or the version is taken."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteReleases>,
    operation: Operation,
    body: JsonBody<CreateRelease>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, |transaction, caller| {
            async move {
                let release = releases::create(&mut caller.change(transaction), input).await?;
                Answer::json(StatusCode::CREATED, &release)
            }
            .boxed()
        })
        .await
}

/// Get a release
#[utoipa::path(get, path = "/api/releases/{slug}", operation_id = "get_release", tag = "Releases",
    security(("token" = ["read:releases"])),
    params(("slug" = String, Path, description = "The release's slug."), IfNoneMatch),
    responses((status = 200, description = "The release.", body = Release)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadReleases>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<Release>, Problem> {
    let release = releases::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, release, |release| release))
}

/// Delete a release
///
/// Emits `RELEASE_DELETION`.
#[utoipa::path(delete, path = "/api/releases/{slug}", operation_id = "delete_release", tag = "Releases",
    security(("token" = ["write:releases"])),
    params(("slug" = String, Path, description = "The release's slug."), IfMatch),
    responses(
        (status = 204, description = "Deleted."),
        (status = 409, description = "It was deployed to a zone that still exists."),
    ))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteReleases>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                releases::delete(&mut caller.change(transaction), &slug).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}
