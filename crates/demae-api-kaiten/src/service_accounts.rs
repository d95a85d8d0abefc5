//! `/api/service-accounts` (kaiten.md, sections 2.10 and 3.2).

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
use demae_control_plane::service_accounts::{
    self, CreateServiceAccount, ReplaceServiceAccount, ServiceAccount,
};
use futures::FutureExt;
use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::{Allowed, ReadTokens, WriteTokens},
    input::{JsonBody, reads_as_declared},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, rename))
}

reads_as_declared!(CreateServiceAccount, ReplaceServiceAccount);

/// List service accounts
///
/// By slug, each with its first tokens.
#[utoipa::path(get, path = "/api/service-accounts", operation_id = "list_service_accounts", tag = "Service accounts",
    security(("token" = ["read:tokens"])), params(PageParameters),
    responses((status = 200, description = "A page of service accounts.", body = PageBody<ServiceAccount>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadTokens>,
    Query(PageQuery(page)): Query<PageQuery<String>>,
) -> Result<Json<PageBody<ServiceAccount>>, Problem> {
    let listing = service_accounts::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, |account| account)))
}

/// Create a service account
#[utoipa::path(post, path = "/api/service-accounts", operation_id = "create_service_account", tag = "Service accounts",
    security(("token" = ["write:tokens"])), request_body = CreateServiceAccount,
    responses(
        (status = 201, description = "The service account.", body = ServiceAccount),
        (status = 409, description = "The slug is taken."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteTokens>,
    operation: Operation,
    body: JsonBody<CreateServiceAccount>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, |transaction, caller| {
            async move {
                let account = service_accounts::create(&mut caller.change(transaction), input).await?;
                Answer::json(StatusCode::CREATED, &account)
            }
            .boxed()
        })
        .await
}

/// Get a service account
#[utoipa::path(get, path = "/api/service-accounts/{slug}", operation_id = "get_service_account",
    tag = "Service accounts", security(("token" = ["read:tokens"])),
    params(("slug" = String, Path, description = "The service account's slug."), IfNoneMatch),
    responses((status = 200, description = "The service account.", body = ServiceAccount)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadTokens>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<ServiceAccount>, Problem> {
    let account = service_accounts::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, account, |account| account))
}

/// Rename a service account
#[utoipa::path(put, path = "/api/service-accounts/{slug}", operation_id = "replace_service_account",
    tag = "Service accounts", security(("token" = ["write:tokens"])),
    params(("slug" = String, Path, description = "The service account's slug."), IfMatch),
    request_body = ReplaceServiceAccount, responses((status = 204, description = "Renamed.")))]
async fn rename(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteTokens>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<ReplaceServiceAccount>,
) -> Outcome {
    let name = body.value.name;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                service_accounts::rename(&mut caller.change(transaction), &slug, &name).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}
