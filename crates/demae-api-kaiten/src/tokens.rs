//! `/api/service-accounts/{slug}/tokens` (kaiten.md, sections 2.10 and 3.2).

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::{PathOf, Segment},
    page::{PageBody, PageParameters, PageQuery},
    problem::Problem,
    query::Query,
    write::{Answer, Operation, Outcome},
};
use demae_control_plane::tokens::{self, CreateToken, PlainToken, Token};
use futures::FutureExt;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::{Allowed, ReadTokens, WriteTokens},
    input::{JsonBody, reads_as_declared},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

/// A new token with its text, which is never shown again.
#[derive(Serialize, ToSchema)]
#[schema(as = PlainToken)]
pub(crate) struct PlainTokenBody {
    /// The token.
    #[serde(flatten)]
    details: Token,
    /// Its text; missing from the answer to a repetition.
    #[schema(required = false, examples("ksh_bEw9XnFzjYrkqEoXm8V0cA4dQ2sT6uHiLpRgNvMa"))]
    token: String,
}

impl From<PlainToken> for PlainTokenBody {
    fn from(plain: PlainToken) -> Self {
        Self {
            details: plain.details,
            token: plain.token.as_str().to_owned(),
        }
    }
}

reads_as_declared!(CreateToken);

/// List a service account's tokens
///
/// By slug, revoked ones included.
#[utoipa::path(get, path = "/api/service-accounts/{slug}/tokens", operation_id = "list_tokens",
    tag = "Service accounts", security(("token" = ["read:tokens"])),
    params(("slug" = String, Path, description = "The service account's slug."), PageParameters),
    responses((status = 200, description = "A page of tokens.", body = PageBody<Token>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadTokens>,
    PathOf(Segment(slug)): PathOf<Segment>,
    Query(PageQuery(page)): Query<PageQuery<String>>,
) -> Result<Json<PageBody<Token>>, Problem> {
    let listing = tokens::list(state.store(), caller.actor(), &slug, page).await?;
    Ok(Json(PageBody::from_listing(listing, |token| token)))
}

/// Create a token
///
/// Its text is in this answer and never shown again.
#[utoipa::path(post, path = "/api/service-accounts/{slug}/tokens", operation_id = "create_token",
    tag = "Service accounts", security(("token" = ["write:tokens"])),
    params(("slug" = String, Path, description = "The service account's slug.")),
    request_body = CreateToken,
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
