//! `/api/webhooks` (kaiten.md, section 3.3; seed 002).
//!
//! An answer has exactly the five fields of the seed, and beside them those optional settings that differ from their
//! defaults. The signing secret is in the answer to the creation and at `…/secret`, nowhere else.

mod actions;
mod body;
mod input;
mod revision;
mod secret;
mod trail;

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::PathOf,
    page::{PageBody, PageParameters, PageQuery},
    problem::Problem,
    query::Query,
    revision::{IfMatch, IfNoneMatch, Tagged},
    write::{Answer, Operation, Outcome},
};
use demae_delivery::management::{EndpointInput, EndpointPatch, endpoint::receiver_secret};
use demae_event::EndpointId;
use futures::FutureExt;
use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    body::{CreatedWebhookBody, WebhookBody},
    input::{CreateWebhookBody, PatchWebhookBody, ReplaceWebhookBody, Replacement},
    trail::Happened,
};
use crate::{
    auth::{Allowed, ReadWebhooks, WriteWebhooks},
    input::JsonBody,
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, patch, delete))
        .merge(secret::routes())
        .merge(actions::routes())
}

/// List webhooks
///
/// Oldest first.
#[utoipa::path(get, path = "/api/webhooks", operation_id = "list_webhooks", tag = "Webhooks",
    security(("token" = ["read:webhooks"])), params(PageParameters),
    responses((status = 200, description = "A page of webhooks.", body = PageBody<WebhookBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadWebhooks>,
    Query(PageQuery(page)): Query<PageQuery<EndpointId>>,
) -> Result<Json<PageBody<WebhookBody>>, Problem> {
    let listing = state.management().endpoints(caller.scope(), page).await?;
    Ok(Json(PageBody::from_listing(listing, WebhookBody::from)))
}

/// Create a webhook
///
/// From its commit on, every event that it subscribes to is delivered to it. The signing `secret` is in this answer.
#[utoipa::path(post, path = "/api/webhooks", operation_id = "create_webhook", tag = "Webhooks",
    security(("token" = ["write:webhooks"])), request_body = CreateWebhookBody,
    responses(
        (status = 201, description = "The webhook, with its signing secret.", body = CreatedWebhookBody,
            links(
                ("get_webhook" = (operation_id = "get_webhook", parameters(("id" = "$response.body#/id")))),
                ("delete_webhook" = (operation_id = "delete_webhook", parameters(("id" = "$response.body#/id")))),
            )),
        (status = 409, description = "The organization has as many webhooks as it may."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    operation: Operation,
    body: JsonBody<EndpointInput>,
) -> Outcome {
    let (input, management) = (body.value, state.management().clone());
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let scope = caller.scope();
                let endpoint = management
                    .create_endpoint(transaction, scope, input, caller.now())
                    .await?;
                trail::note(transaction, caller, Happened::Created, &endpoint).await?;
                let secret = receiver_secret(&endpoint)?;
                let body = CreatedWebhookBody::new(endpoint, &secret);
                Answer::with_secret(StatusCode::CREATED, &body, "secret")
            }
            .boxed()
        })
        .await
}

/// Get a webhook
#[utoipa::path(get, path = "/api/webhooks/{id}", operation_id = "get_webhook", tag = "Webhooks",
    security(("token" = ["read:webhooks"])), params(("id" = String, Path, description = "The webhook's id."), IfNoneMatch),
    responses((status = 200, description = "The webhook.", body = WebhookBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadWebhooks>,
    PathOf(id): PathOf<EndpointId>,
    held: IfNoneMatch,
) -> Result<Tagged<WebhookBody>, Problem> {
    let scope = caller.scope();
    let endpoint = state.management().endpoint(scope, id).await?;
    Ok(Tagged::new(&held, WebhookBody::from(endpoint), |shown| shown))
}

/// Replace a webhook
///
/// What is left out gets its default. The secret stays; rotate it to change it.
#[utoipa::path(put, path = "/api/webhooks/{id}", operation_id = "replace_webhook", tag = "Webhooks",
    security(("token" = ["write:webhooks"])), params(("id" = String, Path, description = "The webhook's id."), IfMatch),
    request_body = ReplaceWebhookBody,
    responses((status = 200, description = "The webhook as it is now.", body = WebhookBody)))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    PathOf(id): PathOf<EndpointId>,
    operation: Operation,
    body: JsonBody<Replacement>,
) -> Outcome {
    let (Replacement(input), management) = (body.value, state.management().clone());
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let (scope, now) = (caller.scope(), caller.now());
                revision::check(transaction, caller, &management, ("UpdateWebhook", id)).await?;
                let endpoint = management
                    .replace_endpoint(transaction, scope, id, input, now)
                    .await?;
                trail::note(transaction, caller, Happened::Updated, &endpoint).await?;
                Answer::json(StatusCode::OK, &WebhookBody::from(endpoint))
            }
            .boxed()
        })
        .await
}

/// Change a webhook
///
/// What is left out stays; null sets a setting back to its default.
#[utoipa::path(patch, path = "/api/webhooks/{id}", operation_id = "patch_webhook", tag = "Webhooks",
    security(("token" = ["write:webhooks"])), params(("id" = String, Path, description = "The webhook's id."), IfMatch),
    request_body = PatchWebhookBody,
    responses((status = 200, description = "The webhook as it is now.", body = WebhookBody)))]
async fn patch(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    PathOf(id): PathOf<EndpointId>,
    operation: Operation,
    body: JsonBody<EndpointPatch>,
) -> Outcome {
    let (change, management) = (body.value, state.management().clone());
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let (scope, now) = (caller.scope(), caller.now());
                revision::check(transaction, caller, &management, ("UpdateWebhook", id)).await?;
                let endpoint = management
                    .patch_endpoint(transaction, scope, id, change, now)
                    .await?;
                trail::note(transaction, caller, Happened::Updated, &endpoint).await?;
                Answer::json(StatusCode::OK, &WebhookBody::from(endpoint))
            }
            .boxed()
        })
        .await
}

/// Delete a webhook
///
/// What still waits for it is canceled; its history stays until its time is over.
#[utoipa::path(delete, path = "/api/webhooks/{id}", operation_id = "delete_webhook", tag = "Webhooks",
    security(("token" = ["write:webhooks"])), params(("id" = String, Path, description = "The webhook's id."), IfMatch),
    responses((status = 204, description = "Deleted.")))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    PathOf(id): PathOf<EndpointId>,
    operation: Operation,
) -> Outcome {
    let management = state.management().clone();
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let scope = caller.scope();
                revision::check(transaction, caller, &management, ("DeleteWebhook", id)).await?;
                management
                    .delete_endpoint(transaction, scope, id, caller.now())
                    .await?;
                trail::note_deleted(transaction, caller, id).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}
