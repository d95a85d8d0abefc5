//! `/api/releases` (kaiten.md, sections 2.8 and 3.2).

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
use demae_control_plane::{
    components::MAX_VERSION,
    releases::{self, CreateRelease, MAX_COMPONENTS, Release},
};
use demae_event::Timestamp;
use futures::FutureExt;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    common::{UserBody, read_description, read_slug, read_text},
    components::ComponentBody,
};
use crate::{
    auth::{Allowed, ReadReleases, WriteReleases},
    input::{JsonBody, Kaiten},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, delete))
}

/// A version of the product. It never changes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Release)]
pub(crate) struct ReleaseBody {
    /// Its identity.
    id: Uuid,
    /// Its version, unique in its organization.
    #[schema(examples("2026.2.0"))]
    version: String,
    /// Name in URLs.
    #[schema(examples("2026-2-0"))]
    slug: String,
    /// What is new in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// What it consists of, in the order in which it was said, each as it is now.
    components: Vec<ComponentBody>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// By whom.
    created_by: UserBody,
}

impl From<Release> for ReleaseBody {
    fn from(release: Release) -> Self {
        let components = release.components.into_iter();
        Self {
            id: release.id,
            version: release.version,
            slug: release.slug,
            description: release.description,
            components: components.map(ComponentBody::from).collect(),
            created_at: release.created_at,
            created_by: release.created_by.into(),
        }
    }
}

/// A new release.
#[derive(Debug, ToSchema)]
#[schema(as = CreateRelease, rename_all = "camelCase", example = json!({"version": "2026.2.0"}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct CreateReleaseBody {
    /// Its version, unique in its organization.
    #[schema(min_length = 1, max_length = 100, pattern = r"\S")]
    version: String,
    /// Name in URLs; derived from the version if left out.
    #[schema(min_length = 2, max_length = 100, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
    /// What is new in it.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// What it consists of; each once.
    #[schema(max_items = 100)]
    component_ids: Option<Vec<Uuid>>,
}

impl ReadBody<Kaiten> for CreateRelease {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let version = fields
            .field("version")
            .required(|node| read_text(node, MAX_VERSION));
        let slug = fields.field("slug").nullable(read_slug);
        let description = fields.field("description").nullable(read_description);
        let component_ids = fields
            .field("componentIds")
            .nullable(|node| node.array(0..=MAX_COMPONENTS, Node::uuid));
        Some(Self {
            version: version?,
            slug: slug?,
            description: description?,
            component_ids: component_ids?.unwrap_or_default(),
        })
    }
}

/// List releases
///
/// Oldest first, with their components.
#[utoipa::path(get, path = "/api/releases", operation_id = "list_releases", tag = "Releases",
    security(("token" = ["read:releases"])), params(PageParameters),
    responses((status = 200, description = "A page of releases.", body = PageBody<ReleaseBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadReleases>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<ReleaseBody>>, Problem> {
    let listing = releases::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, ReleaseBody::from)))
}

/// Create a release
///
/// Emits `RELEASE_CREATION`.
#[utoipa::path(post, path = "/api/releases", operation_id = "create_release", tag = "Releases",
    security(("token" = ["write:releases"])), request_body = CreateReleaseBody,
    responses(
        (status = 201, description = "The release.", body = ReleaseBody,
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
                Answer::json(StatusCode::CREATED, &ReleaseBody::from(release))
            }
            .boxed()
        })
        .await
}

/// Get a release
#[utoipa::path(get, path = "/api/releases/{slug}", operation_id = "get_release", tag = "Releases",
    security(("token" = ["read:releases"])),
    params(("slug" = String, Path, description = "The release's slug."), IfNoneMatch),
    responses((status = 200, description = "The release.", body = ReleaseBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadReleases>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<ReleaseBody>, Problem> {
    let release = releases::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, release, ReleaseBody::from))
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
