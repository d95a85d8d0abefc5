//! `/api/feature-flags` (kaiten.md, sections 2.7 and 3.2).

mod bodies;
mod reading;

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
use demae_control_plane::feature_flags::{self, FlagInput};
use futures::FutureExt;
use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) use self::bodies::FlagTypeBody;
use self::bodies::{CreateFeatureFlagBody, FeatureFlagBody, ReplaceFeatureFlagBody};
use crate::{
    auth::{Allowed, ReadFeatureFlags, WriteFeatureFlags},
    input::JsonBody,
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, delete))
}

/// List feature flags
///
/// Oldest first.
#[utoipa::path(get, path = "/api/feature-flags", operation_id = "list_feature_flags", tag = "Feature flags",
    security(("token" = ["read:feature_flags"])), params(PageParameters),
    responses((status = 200, description = "A page of feature flags.", body = PageBody<FeatureFlagBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadFeatureFlags>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<FeatureFlagBody>>, Problem> {
    let listing = feature_flags::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, FeatureFlagBody::from)))
}

/// Create a feature flag
///
/// Emits `FEATUREFLAG_CREATION`. An organization has at most 1,000 flags.
#[utoipa::path(post, path = "/api/feature-flags", operation_id = "create_feature_flag", tag = "Feature flags",
    security(("token" = ["write:feature_flags"])), request_body = CreateFeatureFlagBody,
    responses(
        (status = 201, description = "The feature flag.", body = FeatureFlagBody,
            links(
                ("get_feature_flag" = (operation_id = "get_feature_flag",
                    parameters(("slug" = "$response.body#/slug")))),
                ("evaluate_flag" = (operation_id = "evaluate_flag",
                    parameters(("key" = "$response.body#/slug")))),
            )),
        (status = 409, description = "The slug is taken, or there are 1,000 flags already."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteFeatureFlags>,
    operation: Operation,
    body: JsonBody<FlagInput>,
) -> Outcome {
    let (input, operation) = (body.value, operation.of_body(body.digest));
    let check = move || feature_flags::check_new(input);
    let organization = caller.actor().organization_id;
    let checked = state
        .computations()
        .check(organization, "body.targetings", check)
        .await?;
    state
        .write(caller, &operation, |transaction, caller| {
            async move {
                let flag = feature_flags::create(&mut caller.change(transaction), checked).await?;
                Answer::json(StatusCode::CREATED, &FeatureFlagBody::from(flag))
            }
            .boxed()
        })
        .await
}

/// Get a feature flag
#[utoipa::path(get, path = "/api/feature-flags/{slug}", operation_id = "get_feature_flag", tag = "Feature flags",
    security(("token" = ["read:feature_flags"])),
    params(("slug" = String, Path, description = "The flag's slug."), IfNoneMatch),
    responses((status = 200, description = "The feature flag.", body = FeatureFlagBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadFeatureFlags>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<FeatureFlagBody>, Problem> {
    let flag = feature_flags::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, flag, FeatureFlagBody::from))
}

/// Replace a feature flag
///
/// Emits `FEATUREFLAG_UPDATE`, whether or not anything changed. Slug and type stay.
#[utoipa::path(put, path = "/api/feature-flags/{slug}", operation_id = "replace_feature_flag", tag = "Feature flags",
    security(("token" = ["write:feature_flags"])),
    params(("slug" = String, Path, description = "The flag's slug."), IfMatch),
    request_body = ReplaceFeatureFlagBody, responses((status = 204, description = "Replaced.")))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteFeatureFlags>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<reading::Replacement>,
) -> Outcome {
    let (input, operation) = (body.value.0, operation.of_body(body.digest));
    let check = move || feature_flags::check_replacement(input);
    let organization = caller.actor().organization_id;
    let checked = state
        .computations()
        .check(organization, "body.targetings", check)
        .await?;
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                feature_flags::replace(&mut caller.change(transaction), &slug, checked).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// Delete a feature flag
///
/// Emits `FEATUREFLAG_DELETION`.
#[utoipa::path(delete, path = "/api/feature-flags/{slug}", operation_id = "delete_feature_flag", tag = "Feature flags",
    security(("token" = ["write:feature_flags"])),
    params(("slug" = String, Path, description = "The flag's slug."), IfMatch),
    responses((status = 204, description = "Deleted.")))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteFeatureFlags>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                feature_flags::delete(&mut caller.change(transaction), &slug).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}
