//! `/api/deployment-zones` (kaiten.md, sections 2.8 and 3.2), and the history of each.

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
use demae_control_plane::deployment_zones::{
    self, CreateDeploymentZone, Deployment, DeploymentZone, ReplaceDeploymentZone,
};
use futures::FutureExt;
use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    auth::{Allowed, ReadDeploymentZones, WriteDeploymentZones},
    input::{JsonBody, reads_as_declared},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, delete))
        .routes(routes!(list_deployments))
}

reads_as_declared!(CreateDeploymentZone, ReplaceDeploymentZone);

/// List deployment zones
///
/// Oldest first.
#[utoipa::path(get, path = "/api/deployment-zones", operation_id = "list_deployment_zones",
    tag = "Deployment zones", security(("token" = ["read:deployment_zones"])), params(PageParameters),
    responses((status = 200, description = "A page of zones.", body = PageBody<DeploymentZone>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadDeploymentZones>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<DeploymentZone>>, Problem> {
    let listing = deployment_zones::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, |zone| zone)))
}

/// Create a deployment zone
///
/// Emits `DEPLOYMENT_ZONE_CREATION`, and then `RELEASE_DEPLOYMENT` if it names a release.
#[utoipa::path(post, path = "/api/deployment-zones", operation_id = "create_deployment_zone",
    tag = "Deployment zones", security(("token" = ["write:deployment_zones"])),
    request_body = CreateDeploymentZone,
    responses(
        (status = 201, description = "The zone.", body = DeploymentZone,
            links(
                ("get_deployment_zone" = (operation_id = "get_deployment_zone",
                    parameters(("slug" = "$response.body#/slug")))),
                ("list_deployments" = (operation_id = "list_deployments",
                    parameters(("slug" = "$response.body#/slug")))),
            )),
        (status = 404, description = "There is no such release."),
        (status = 409, description = "The slug is taken."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteDeploymentZones>,
    operation: Operation,
    body: JsonBody<CreateDeploymentZone>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, |transaction, caller| {
            async move {
                let zone = deployment_zones::create(&mut caller.change(transaction), input).await?;
                Answer::json(StatusCode::CREATED, &zone)
            }
            .boxed()
        })
        .await
}

/// Get a deployment zone
#[utoipa::path(get, path = "/api/deployment-zones/{slug}", operation_id = "get_deployment_zone",
    tag = "Deployment zones", security(("token" = ["read:deployment_zones"])),
    params(("slug" = String, Path, description = "The zone's slug."), IfNoneMatch),
    responses((status = 200, description = "The zone.", body = DeploymentZone)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadDeploymentZones>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<DeploymentZone>, Problem> {
    let zone = deployment_zones::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, zone, |zone| zone))
}

/// Replace a deployment zone
///
/// Emits `DEPLOYMENT_ZONE_UPDATE`, whether or not anything changed, and before it `RELEASE_DEPLOYMENT` if it names another
/// release than the one that runs there.
#[utoipa::path(put, path = "/api/deployment-zones/{slug}", operation_id = "replace_deployment_zone",
    tag = "Deployment zones", security(("token" = ["write:deployment_zones"])),
    params(("slug" = String, Path, description = "The zone's slug."), IfMatch),
    request_body = ReplaceDeploymentZone, responses((status = 204, description = "Replaced.")))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteDeploymentZones>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<ReplaceDeploymentZone>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                deployment_zones::replace(&mut caller.change(transaction), &slug, input).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// Delete a deployment zone
///
/// Its deployments go with it, and its instances are in no zone afterwards. Emits `DEPLOYMENT_ZONE_DELETION` and nothing
/// else.
#[utoipa::path(delete, path = "/api/deployment-zones/{slug}", operation_id = "delete_deployment_zone",
    tag = "Deployment zones", security(("token" = ["write:deployment_zones"])),
    params(("slug" = String, Path, description = "The zone's slug."), IfMatch),
    responses((status = 204, description = "Deleted.")))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteDeploymentZones>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                deployment_zones::delete(&mut caller.change(transaction), &slug).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// List what was deployed to a zone
///
/// Newest first. Demae's own: Kaiten tells of deployments by their event only.
#[utoipa::path(get, path = "/api/deployment-zones/{slug}/deployments", operation_id = "list_deployments",
    tag = "Deployment zones", security(("token" = ["read:deployment_zones"])),
    params(("slug" = String, Path, description = "The zone's slug."), PageParameters),
    responses((status = 200, description = "A page of deployments.", body = PageBody<Deployment>)))]
async fn list_deployments(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadDeploymentZones>,
    PathOf(Segment(slug)): PathOf<Segment>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<Deployment>>, Problem> {
    let listing = deployment_zones::deployments(state.store(), caller.actor(), &slug, page).await?;
    Ok(Json(PageBody::from_listing(listing, |deployment| deployment)))
}
