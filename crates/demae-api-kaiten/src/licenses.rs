//! `/api/licenses` (kaiten.md, sections 2.3 and 3.2).

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    caller::Caller,
    extract::{PathOf, Segment},
    page::{PageBody, PageParameters, PageQuery},
    problem::Problem,
    query::Query,
    revision::{IfMatch, IfNoneMatch, Tagged},
    write::{Answer, Operation, Outcome},
};
use demae_control_plane::{
    Change, DomainError,
    licenses::{self, License, LicenseInput},
};
use futures::{FutureExt, future::BoxFuture};
use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    auth::{Allowed, ReadLicenses, WriteLicenses},
    input::{JsonBody, reads_as_declared},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, delete))
        .routes(routes!(publish))
        .routes(routes!(archive))
        .routes(routes!(unarchive))
}

reads_as_declared!(LicenseInput);

/// List licenses
///
/// Oldest first.
#[utoipa::path(get, path = "/api/licenses", operation_id = "list_licenses", tag = "Licenses",
    security(("token" = ["read:licenses"])), params(PageParameters),
    responses((status = 200, description = "A page of licenses.", body = PageBody<License>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadLicenses>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<License>>, Problem> {
    let listing = licenses::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, |license| license)))
}

/// Create a license
///
/// Emits `LICENSE_CREATION`, and before it `LICENSE_UPDATE` of the previous default if this one is to be the default.
#[utoipa::path(post, path = "/api/licenses", operation_id = "create_license", tag = "Licenses",
    security(("token" = ["write:licenses"])), request_body = LicenseInput,
    responses(
        (status = 201, description = "The license.", body = License,
            links(("get_license" = (operation_id = "get_license", parameters(("slug" = "$response.body#/slug")))))),
        (status = 404, description = "A license family was named, and there are none."),
        (status = 409, description = "The slug or the version of this name is taken, or a draft would be the default."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    operation: Operation,
    body: JsonBody<LicenseInput>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, |transaction, caller| {
            async move {
                let license = licenses::create(&mut caller.change(transaction), input).await?;
                Answer::json(StatusCode::CREATED, &license)
            }
            .boxed()
        })
        .await
}

/// Get a license
#[utoipa::path(get, path = "/api/licenses/{slug}", operation_id = "get_license", tag = "Licenses",
    security(("token" = ["read:licenses"])),
    params(("slug" = String, Path, description = "The license's slug."), IfNoneMatch),
    responses((status = 200, description = "The license.", body = License)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<License>, Problem> {
    let license = licenses::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, license, |license| license))
}

/// Replace a license
///
/// Emits `LICENSE_UPDATE`, whether or not anything changed, and before it that of the previous default if this one becomes
/// the default.
#[utoipa::path(put, path = "/api/licenses/{slug}", operation_id = "replace_license", tag = "Licenses",
    security(("token" = ["write:licenses"])),
    params(("slug" = String, Path, description = "The license's slug."), IfMatch),
    request_body = LicenseInput,
    responses(
        (status = 204, description = "Replaced."),
        (status = 409, description = "The version of this name is taken, or the default would not be published."),
    ))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<LicenseInput>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                licenses::replace(&mut caller.change(transaction), &slug, input).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// Delete a license
///
/// Emits `LICENSE_DELETION`. Refused while an instance has it or it grants anything.
#[utoipa::path(delete, path = "/api/licenses/{slug}", operation_id = "delete_license", tag = "Licenses",
    security(("token" = ["write:licenses"])),
    params(("slug" = String, Path, description = "The license's slug."), IfMatch),
    responses(
        (status = 204, description = "Deleted."),
        (status = 409, description = "It is in use by what the detail names."),
    ))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                licenses::delete(&mut caller.change(transaction), &slug).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// Publish a draft
///
/// Emits `LICENSE_UPDATE`.
#[utoipa::path(post, path = "/api/licenses/{slug}/publish", operation_id = "publish_license", tag = "Licenses",
    security(("token" = ["write:licenses"])),
    params(("slug" = String, Path, description = "The license's slug."), IfMatch),
    responses(
        (status = 200, description = "The license.", body = License),
        (status = 409, description = "It is no draft."),
    ))]
async fn publish(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    step(&state, caller, &operation, slug, |change, slug| {
        licenses::publish(change, slug).boxed()
    })
    .await
}

/// Archive a published license
///
/// Instances that have it keep it. Emits `LICENSE_UPDATE`.
#[utoipa::path(post, path = "/api/licenses/{slug}/archive", operation_id = "archive_license", tag = "Licenses",
    security(("token" = ["write:licenses"])),
    params(("slug" = String, Path, description = "The license's slug."), IfMatch),
    responses(
        (status = 200, description = "The license.", body = License),
        (status = 409, description = "It is not published, or it is the default."),
    ))]
async fn archive(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    step(&state, caller, &operation, slug, |change, slug| {
        licenses::archive(change, slug).boxed()
    })
    .await
}

/// Publish an archived license again
///
/// Emits `LICENSE_UPDATE`.
#[utoipa::path(post, path = "/api/licenses/{slug}/unarchive", operation_id = "unarchive_license", tag = "Licenses",
    security(("token" = ["write:licenses"])),
    params(("slug" = String, Path, description = "The license's slug."), IfMatch),
    responses(
        (status = 200, description = "The license.", body = License),
        (status = 409, description = "It is not archived."),
    ))]
async fn unarchive(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    step(&state, caller, &operation, slug, |change, slug| {
        licenses::unarchive(change, slug).boxed()
    })
    .await
}

/// Moves a license to another state and answers it.
async fn step<M>(state: &ApiState, caller: Caller, operation: &Operation, slug: String, make: M) -> Outcome
where
    M: for<'c> FnOnce(&'c mut Change<'_>, &'c str) -> BoxFuture<'c, Result<License, DomainError>>
        + Send
        + 'static,
{
    state
        .write(caller, operation, move |transaction, caller| {
            async move {
                let license = make(&mut caller.change(transaction), &slug).await?;
                Answer::json(StatusCode::OK, &license)
            }
            .boxed()
        })
        .await
}
