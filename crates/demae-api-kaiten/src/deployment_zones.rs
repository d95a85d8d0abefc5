//! `/api/deployment-zones` (kaiten.md, sections 2.8 and 3.2), and the history of each.

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::{PathOf, Segment},
    json::fields::{Fields, Node, ReadBody},
    page::{PageBody, PageParameters, PageQuery},
    problem::Problem,
    query::Query,
    revision::{IfMatch, IfNoneMatch, Tagged},
    write::{Answer, Operation, Outcome},
};
use demae_control_plane::deployment_zones::{
    self, CreateDeploymentZone, Deployment, DeploymentZone, MAX_TYPE, ReplaceDeploymentZone, Settings,
};
use demae_event::Timestamp;
use futures::FutureExt;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::common::{UserBody, read_description, read_name, read_slug, read_text};
use crate::{
    auth::{Allowed, ReadDeploymentZones, WriteDeploymentZones},
    input::{JsonBody, Kaiten},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, delete))
        .routes(routes!(list_deployments))
}

/// A place where instances run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeploymentZone)]
pub(crate) struct DeploymentZoneBody {
    /// Its identity.
    id: Uuid,
    /// Display name.
    #[schema(examples("EU West"))]
    name: String,
    /// Name in URLs; never changes.
    #[schema(examples("eu-west"))]
    slug: String,
    /// What kind of zone: production, staging or anything else.
    #[serde(rename = "type")]
    #[schema(examples("production"))]
    kind: String,
    /// What it is.
    description: String,
    /// The caller's own notes.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// The release that runs there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    release_id: Option<Uuid>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// By whom.
    created_by: UserBody,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// By whom.
    updated_by: UserBody,
}

impl From<DeploymentZone> for DeploymentZoneBody {
    fn from(zone: DeploymentZone) -> Self {
        Self {
            id: zone.id,
            name: zone.name,
            slug: zone.slug,
            kind: zone.kind,
            description: zone.description,
            metadata: zone.metadata,
            release_id: zone.release_id,
            created_at: zone.created_at,
            created_by: zone.created_by.into(),
            updated_at: zone.updated_at,
            updated_by: zone.updated_by.into(),
        }
    }
}

/// A release that came to a zone.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Deployment)]
pub(crate) struct DeploymentBody {
    /// Its identity.
    id: Uuid,
    /// Where.
    deployment_zone_id: Uuid,
    /// What.
    release_id: Uuid,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// By whom.
    created_by: UserBody,
}

impl From<Deployment> for DeploymentBody {
    fn from(deployment: Deployment) -> Self {
        Self {
            id: deployment.id,
            deployment_zone_id: deployment.deployment_zone_id,
            release_id: deployment.release_id,
            created_at: deployment.created_at,
            created_by: deployment.created_by.into(),
        }
    }
}

/// A new deployment zone.
#[derive(Debug, ToSchema)]
#[schema(as = CreateDeploymentZone, rename_all = "camelCase",
    example = json!({"name": "EU West", "type": "production", "description": ""}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct CreateDeploymentZoneBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// What kind of zone: production, staging or anything else.
    #[schema(min_length = 1, max_length = 100, pattern = r"\S")]
    r#type: String,
    /// Name in URLs; derived from the name if left out.
    #[schema(min_length = 2, max_length = 100, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
    /// What it is.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// The caller's own notes; at most 16,384 bytes as JSON.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// The release to deploy.
    release_id: Option<Uuid>,
}

impl ReadBody<Kaiten> for CreateDeploymentZone {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let settings = read_settings(fields);
        let slug = fields.field("slug").nullable(read_slug);
        Some(Self {
            settings: settings?,
            slug: slug?,
        })
    }
}

/// What a deployment zone is replaced with: what is left out is cleared, but for slug and release, which stay.
#[derive(Debug, ToSchema)]
#[schema(as = ReplaceDeploymentZone, rename_all = "camelCase",
    example = json!({"name": "EU West", "type": "production", "description": ""}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct ReplaceDeploymentZoneBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// What kind of zone: production, staging or anything else.
    #[schema(min_length = 1, max_length = 100, pattern = r"\S")]
    r#type: String,
    /// May be given if it is the same; another one is refused.
    slug: Option<String>,
    /// What it is.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// The caller's own notes; at most 16,384 bytes as JSON.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// The release to deploy; without it, what runs there stays.
    release_id: Option<Uuid>,
}

impl ReadBody<Kaiten> for ReplaceDeploymentZone {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let settings = read_settings(fields);
        let slug = fields.field("slug").nullable(|node| node.string(0..=255));
        Some(Self {
            settings: settings?,
            slug: slug?,
        })
    }
}

fn read_settings(fields: &mut Fields<'_>) -> Option<Settings> {
    let name = fields.field("name").required(read_name);
    let kind = fields.field("type").required(|node| read_text(node, MAX_TYPE));
    let description = fields.field("description").nullable(read_description);
    let metadata = fields.field("metadata").nullable(Node::any_object);
    let release_id = fields.field("releaseId").nullable(Node::uuid);
    Some(Settings {
        name: name?,
        kind: kind?,
        description: description?.unwrap_or_default(),
        metadata: metadata?.unwrap_or_default(),
        release_id: release_id?,
    })
}

/// List deployment zones
///
/// Oldest first.
#[utoipa::path(get, path = "/api/deployment-zones", operation_id = "list_deployment_zones",
    tag = "Deployment zones", security(("token" = ["read:deployment_zones"])), params(PageParameters),
    responses((status = 200, description = "A page of zones.", body = PageBody<DeploymentZoneBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadDeploymentZones>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<DeploymentZoneBody>>, Problem> {
    let listing = deployment_zones::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, DeploymentZoneBody::from)))
}

/// Create a deployment zone
///
/// Emits `DEPLOYMENT_ZONE_CREATION`, and then `RELEASE_DEPLOYMENT` if it names a release.
#[utoipa::path(post, path = "/api/deployment-zones", operation_id = "create_deployment_zone",
    tag = "Deployment zones", security(("token" = ["write:deployment_zones"])),
    request_body = CreateDeploymentZoneBody,
    responses(
        (status = 201, description = "The zone.", body = DeploymentZoneBody,
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
                Answer::json(StatusCode::CREATED, &DeploymentZoneBody::from(zone))
            }
            .boxed()
        })
        .await
}

/// Get a deployment zone
#[utoipa::path(get, path = "/api/deployment-zones/{slug}", operation_id = "get_deployment_zone",
    tag = "Deployment zones", security(("token" = ["read:deployment_zones"])),
    params(("slug" = String, Path, description = "The zone's slug."), IfNoneMatch),
    responses((status = 200, description = "The zone.", body = DeploymentZoneBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadDeploymentZones>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<DeploymentZoneBody>, Problem> {
    let zone = deployment_zones::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, zone, DeploymentZoneBody::from))
}

/// Replace a deployment zone
///
/// Emits `DEPLOYMENT_ZONE_UPDATE`, whether or not anything changed, and before it `RELEASE_DEPLOYMENT` if it names another
/// release than the one that runs there.
#[utoipa::path(put, path = "/api/deployment-zones/{slug}", operation_id = "replace_deployment_zone",
    tag = "Deployment zones", security(("token" = ["write:deployment_zones"])),
    params(("slug" = String, Path, description = "The zone's slug."), IfMatch),
    request_body = ReplaceDeploymentZoneBody, responses((status = 204, description = "Replaced.")))]
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
    responses((status = 200, description = "A page of deployments.", body = PageBody<DeploymentBody>)))]
async fn list_deployments(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadDeploymentZones>,
    PathOf(Segment(slug)): PathOf<Segment>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<DeploymentBody>>, Problem> {
    let listing = deployment_zones::deployments(state.store(), caller.actor(), &slug, page).await?;
    Ok(Json(PageBody::from_listing(listing, DeploymentBody::from)))
}
