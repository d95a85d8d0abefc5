//! `/api/service-accounts/{slug}/tokens` (kaiten.md, sections 2.10 and 3.2).

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::{PathOf, Segment},
    json::fields::{Fields, Node, ReadBody},
    page::{PageBody, PageParameters, PageQuery},
    problem::Problem,
    query::Query,
    write::{Answer, Operation, Outcome},
};
use demae_control_plane::tokens::{self, CreateToken, PlainToken, Token};
use demae_event::Timestamp;
use futures::FutureExt;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::common::{UserBody, read_name, read_scopes, read_slug, show_scopes};
use crate::{
    auth::{Allowed, ReadTokens, WriteTokens},
    input::{JsonBody, Kaiten},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

/// A token, without its text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Token)]
pub(crate) struct TokenBody {
    /// Its identity.
    id: Uuid,
    /// Display name.
    #[schema(examples("deploy"))]
    name: String,
    /// Name in URLs.
    #[schema(examples("deploy"))]
    slug: String,
    /// What it may do; null means what its service account may do.
    #[schema(required = true)]
    scopes: Option<Vec<String>>,
    /// Whom it acts for.
    service_account_id: Uuid,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// By whom.
    created_by: UserBody,
    /// When its time is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, format = DateTime, required = false)]
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, format = DateTime, required = false)]
    revoked_at: Option<Timestamp>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    revoked_by: Option<UserBody>,
}

impl From<Token> for TokenBody {
    fn from(token: Token) -> Self {
        Self {
            id: token.id,
            name: token.name,
            slug: token.slug,
            scopes: token.scopes.as_ref().map(show_scopes),
            service_account_id: token.service_account_id,
            created_at: token.created_at,
            created_by: token.created_by.into(),
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            revoked_by: token.revoked_by.map(UserBody::from),
        }
    }
}

/// A new token with its text, which is never shown again.
#[derive(Serialize, ToSchema)]
#[schema(as = PlainToken)]
pub(crate) struct PlainTokenBody {
    /// The token.
    #[serde(flatten)]
    details: TokenBody,
    /// Its text; missing from the answer to a repetition.
    #[schema(required = false, examples("ksh_bEw9XnFzjYrkqEoXm8V0cA4dQ2sT6uHiLpRgNvMa"))]
    token: String,
}

impl From<PlainToken> for PlainTokenBody {
    fn from(plain: PlainToken) -> Self {
        Self {
            details: plain.details.into(),
            token: plain.token.as_str().to_owned(),
        }
    }
}

/// A new token.
#[derive(Debug, ToSchema)]
#[schema(as = CreateToken, rename_all = "camelCase", example = json!({"name": "deploy", "scopes": ["write:webhooks"]}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct CreateTokenBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// Name in URLs; derived from the name if left out.
    #[schema(min_length = 2, max_length = 100, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
    /// What it may do; null or left out: what its service account may do. Nobody gives what they do not have.
    #[schema(max_items = 64)]
    scopes: Option<Vec<String>>,
    /// When its time is over; never if left out. A token made with a token that expires does not outlive it: it ends at
    /// the same time if this is left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

impl ReadBody<Kaiten> for CreateToken {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.field("name").required(read_name);
        let slug = fields.field("slug").nullable(read_slug);
        let scopes = fields.field("scopes").nullable(read_scopes);
        let expires_at = fields.field("expiresAt").nullable(Node::timestamp);
        Some(Self {
            name: name?,
            slug: slug?,
            scopes: scopes?,
            expires_at: expires_at?,
        })
    }
}

/// List a service account's tokens
///
/// By slug, revoked ones included.
#[utoipa::path(get, path = "/api/service-accounts/{slug}/tokens", operation_id = "list_tokens",
    tag = "Service accounts", security(("token" = ["read:tokens"])),
    params(("slug" = String, Path, description = "The service account's slug."), PageParameters),
    responses((status = 200, description = "A page of tokens.", body = PageBody<TokenBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadTokens>,
    PathOf(Segment(slug)): PathOf<Segment>,
    Query(PageQuery(page)): Query<PageQuery<String>>,
) -> Result<Json<PageBody<TokenBody>>, Problem> {
    let listing = tokens::list(state.store(), caller.actor(), &slug, page).await?;
    Ok(Json(PageBody::from_listing(listing, TokenBody::from)))
}

/// Create a token
///
/// Its text is in this answer and never shown again.
#[utoipa::path(post, path = "/api/service-accounts/{slug}/tokens", operation_id = "create_token",
    tag = "Service accounts", security(("token" = ["write:tokens"])),
    params(("slug" = String, Path, description = "The service account's slug.")),
    request_body = CreateTokenBody,
    responses(
        (status = 201, description = "The token, with its text.", body = PlainTokenBody),
        (status = 409, description = "The slug is taken."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteTokens>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<CreateToken>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let token = tokens::create(&mut caller.change(transaction), &slug, input).await?;
                Answer::with_secret(StatusCode::CREATED, &PlainTokenBody::from(token), "token")
            }
            .boxed()
        })
        .await
}

/// Revoke a token
///
/// At once and for good; its row stays in the list.
#[utoipa::path(delete, path = "/api/service-accounts/{slug}/tokens/{token}", operation_id = "revoke_token",
    tag = "Service accounts", security(("token" = ["write:tokens"])),
    params(
        ("slug" = String, Path, description = "The service account's slug."),
        ("token" = String, Path, description = "The token's slug."),
    ),
    responses((status = 204, description = "Revoked.")))]
async fn revoke(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteTokens>,
    PathOf((Segment(slug), Segment(token))): PathOf<(Segment, Segment)>,
    operation: Operation,
) -> Outcome {
    let forget = state.clone();
    state
        .write_then(
            caller,
            &operation,
            move |transaction, caller| {
                async move {
                    tokens::revoke(&mut caller.change(transaction), &slug, &token).await?;
                    Ok(Answer::no_content())
                }
                .boxed()
            },
            move || forget.tokens().expire(),
        )
        .await
}
