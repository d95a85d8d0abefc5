//! `/api/service-accounts` (kaiten.md, sections 2.10 and 3.2).

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::{PathOf, Segment},
    json::fields::{Fields, ReadBody},
    page::{PageBody, PageParameters, PageQuery},
    problem::Problem,
    query::Query,
    revision::{IfMatch, IfNoneMatch, Tagged},
    write::{Answer, Operation, Outcome},
};
use demae_control_plane::service_accounts::{self, CreateServiceAccount, ServiceAccount};
use demae_event::Timestamp;
use futures::FutureExt;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    common::{UserBody, read_name, read_scopes, read_slug, show_scopes},
    tokens::TokenBody,
};
use crate::{
    auth::{Allowed, ReadTokens, WriteTokens},
    input::{JsonBody, Kaiten},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, rename))
}

/// A machine user, in whose name tokens act.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ServiceAccount)]
pub(crate) struct ServiceAccountBody {
    /// Its identity.
    id: Uuid,
    /// Display name.
    #[schema(examples("CI"))]
    name: String,
    /// Name in URLs; never changes.
    #[schema(examples("ci"))]
    slug: String,
    /// Its id elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    external_id: Option<String>,
    /// What its tokens may do unless they were made for less.
    #[schema(examples(json!(["write:customers", "read:webhooks"])))]
    scopes: Vec<String>,
    /// Its first tokens, revoked ones included.
    tokens: Vec<TokenBody>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// By whom; absent for the one made on the first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    created_by: Option<UserBody>,
}

impl From<ServiceAccount> for ServiceAccountBody {
    fn from(account: ServiceAccount) -> Self {
        Self {
            id: account.id,
            name: account.name,
            slug: account.slug,
            external_id: account.external_id,
            scopes: show_scopes(&account.scopes),
            tokens: account.tokens.into_iter().map(TokenBody::from).collect(),
            created_at: account.created_at,
            created_by: account.created_by.map(UserBody::from),
        }
    }
}

/// A new service account.
#[derive(Debug, ToSchema)]
#[schema(as = CreateServiceAccount, rename_all = "camelCase", example = json!({"name": "CI", "scopes": ["write:webhooks"]}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct CreateServiceAccountBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// Name in URLs; derived from the name if left out.
    #[schema(min_length = 2, max_length = 100, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
    /// What its tokens may do at most; what the caller may do if left out. Nobody gives what they do not have.
    #[schema(max_items = 64)]
    scopes: Option<Vec<String>>,
}

impl ReadBody<Kaiten> for CreateServiceAccount {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.field("name").required(read_name);
        let slug = fields.field("slug").nullable(read_slug);
        let scopes = fields.field("scopes").nullable(read_scopes);
        Some(Self {
            name: name?,
            slug: slug?,
            scopes: scopes?,
        })
    }
}

/// A service account's new name.
#[derive(Debug, ToSchema)]
#[schema(as = ReplaceServiceAccount, example = json!({"name": "CI"}))]
struct ReplaceServiceAccountBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
}

impl ReadBody<Kaiten> for ReplaceServiceAccountBody {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            name: fields.field("name").required(read_name)?,
        })
    }
}

/// List service accounts
///
/// By slug, each with its first tokens.
#[utoipa::path(get, path = "/api/service-accounts", operation_id = "list_service_accounts", tag = "Service accounts",
    security(("token" = ["read:tokens"])), params(PageParameters),
    responses((status = 200, description = "A page of service accounts.", body = PageBody<ServiceAccountBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadTokens>,
    Query(PageQuery(page)): Query<PageQuery<String>>,
) -> Result<Json<PageBody<ServiceAccountBody>>, Problem> {
    let listing = service_accounts::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, ServiceAccountBody::from)))
}

/// Create a service account
#[utoipa::path(post, path = "/api/service-accounts", operation_id = "create_service_account", tag = "Service accounts",
    security(("token" = ["write:tokens"])), request_body = CreateServiceAccountBody,
    responses(
        (status = 201, description = "The service account.", body = ServiceAccountBody),
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
                Answer::json(StatusCode::CREATED, &ServiceAccountBody::from(account))
            }
            .boxed()
        })
        .await
}

/// Get a service account
#[utoipa::path(get, path = "/api/service-accounts/{slug}", operation_id = "get_service_account",
    tag = "Service accounts", security(("token" = ["read:tokens"])),
    params(("slug" = String, Path, description = "The service account's slug."), IfNoneMatch),
    responses((status = 200, description = "The service account.", body = ServiceAccountBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadTokens>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<ServiceAccountBody>, Problem> {
    let account = service_accounts::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, account, ServiceAccountBody::from))
}

/// Rename a service account
#[utoipa::path(put, path = "/api/service-accounts/{slug}", operation_id = "replace_service_account",
    tag = "Service accounts", security(("token" = ["write:tokens"])),
    params(("slug" = String, Path, description = "The service account's slug."), IfMatch),
    request_body = ReplaceServiceAccountBody, responses((status = 204, description = "Renamed.")))]
async fn rename(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteTokens>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<ReplaceServiceAccountBody>,
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
