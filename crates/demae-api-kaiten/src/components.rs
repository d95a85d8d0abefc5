//! `/api/components` (kaiten.md, sections 2.8 and 3.2).

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
use demae_control_plane::components::{self, Component, CreateComponent, MAX_VERSION, ReplaceComponent};
use demae_event::Timestamp;
use futures::FutureExt;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::common::{UserBody, read_description, read_name, read_slug, read_text};
use crate::{
    auth::{Allowed, ReadComponents, WriteComponents},
    input::{JsonBody, Kaiten},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, delete))
}

/// A part of the product, at a version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Component)]
pub(crate) struct ComponentBody {
    /// Its identity.
    id: Uuid,
    /// Display name.
    #[schema(examples("api"))]
    name: String,
    /// Its version; a name has each version once.
    #[schema(examples("4.1.0"))]
    version: String,
    /// Name in URLs; never changes.
    #[schema(examples("api-4-1-0"))]
    slug: String,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// The one that it takes the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    previous_component_id: Option<Uuid>,
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

impl From<Component> for ComponentBody {
    fn from(component: Component) -> Self {
        Self {
            id: component.id,
            name: component.name,
            version: component.version,
            slug: component.slug,
            description: component.description,
            previous_component_id: component.previous_component_id,
            created_at: component.created_at,
            created_by: component.created_by.into(),
            updated_at: component.updated_at,
            updated_by: component.updated_by.into(),
        }
    }
}

/// A new component.
#[derive(Debug, ToSchema)]
#[schema(as = CreateComponent, rename_all = "camelCase", example = json!({"name": "api", "version": "4.1.0"}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct CreateComponentBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// Its version; a name has each version once.
    #[schema(min_length = 1, max_length = 100, pattern = r"\S")]
    version: String,
    /// Name in URLs; derived from name and version if left out.
    #[schema(min_length = 2, max_length = 100, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
    /// What it is.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// The one that it takes the place of.
    previous_component_id: Option<Uuid>,
}

impl ReadBody<Kaiten> for CreateComponent {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.field("name").required(read_name);
        let version = fields
            .field("version")
            .required(|node| read_text(node, MAX_VERSION));
        let slug = fields.field("slug").nullable(read_slug);
        let description = fields.field("description").nullable(read_description);
        let previous_component_id = fields.field("previousComponentId").nullable(Node::uuid);
        Some(Self {
            name: name?,
            version: version?,
            slug: slug?,
            description: description?,
            previous_component_id: previous_component_id?,
        })
    }
}

/// What a component is replaced with: a description that is left out is cleared; slug and predecessor stay.
#[derive(Debug, ToSchema)]
#[schema(as = ReplaceComponent, rename_all = "camelCase", example = json!({"name": "api", "version": "4.1.1"}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct ReplaceComponentBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// Its version; a name has each version once.
    #[schema(min_length = 1, max_length = 100, pattern = r"\S")]
    version: String,
    /// May be given if it is the same; another one is refused.
    slug: Option<String>,
    /// What it is.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// May be given if it is the same; another one is refused.
    previous_component_id: Option<Uuid>,
}

impl ReadBody<Kaiten> for ReplaceComponent {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.field("name").required(read_name);
        let version = fields
            .field("version")
            .required(|node| read_text(node, MAX_VERSION));
        let slug = fields.field("slug").nullable(|node| node.string(0..=255));
        let description = fields.field("description").nullable(read_description);
        let previous_component_id = fields.field("previousComponentId").nullable(Node::uuid);
        Some(Self {
            name: name?,
            version: version?,
            slug: slug?,
            description: description?,
            previous_component_id: previous_component_id?,
        })
    }
}

/// List components
///
/// Oldest first.
#[utoipa::path(get, path = "/api/components", operation_id = "list_components", tag = "Releases",
    security(("token" = ["read:components"])), params(PageParameters),
    responses((status = 200, description = "A page of components.", body = PageBody<ComponentBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadComponents>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<ComponentBody>>, Problem> {
    let listing = components::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, ComponentBody::from)))
}

/// Create a component
#[utoipa::path(post, path = "/api/components", operation_id = "create_component", tag = "Releases",
    security(("token" = ["write:components"])), request_body = CreateComponentBody,
    responses(
        (status = 201, description = "The component.", body = ComponentBody,
            links(("get_component" = (operation_id = "get_component", parameters(("slug" = "$response.body#/slug")))))),
        (status = 404, description = "There is no such previous component."),
        (status = 409, description = "The slug is taken, or the component has this version already."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteComponents>,
    operation: Operation,
    body: JsonBody<CreateComponent>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, |transaction, caller| {
            async move {
                let component = components::create(&mut caller.change(transaction), input).await?;
                Answer::json(StatusCode::CREATED, &ComponentBody::from(component))
            }
            .boxed()
        })
        .await
}

/// Get a component
#[utoipa::path(get, path = "/api/components/{slug}", operation_id = "get_component", tag = "Releases",
    security(("token" = ["read:components"])),
    params(("slug" = String, Path, description = "The component's slug."), IfNoneMatch),
    responses((status = 200, description = "The component.", body = ComponentBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadComponents>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<ComponentBody>, Problem> {
    let component = components::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, component, ComponentBody::from))
}

/// Replace a component
///
/// Answers the component, as no other replacement does. Releases that contain it show it as it is from now on.
#[utoipa::path(put, path = "/api/components/{slug}", operation_id = "replace_component", tag = "Releases",
    security(("token" = ["write:components"])),
    params(("slug" = String, Path, description = "The component's slug."), IfMatch),
    request_body = ReplaceComponentBody,
    responses(
        (status = 200, description = "The component.", body = ComponentBody),
        (status = 409, description = "The component has this version already."),
    ))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteComponents>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<ReplaceComponent>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let component = components::replace(&mut caller.change(transaction), &slug, input).await?;
                Answer::json(StatusCode::OK, &ComponentBody::from(component))
            }
            .boxed()
        })
        .await
}

/// Delete a component
///
/// Components that name it as their predecessor have none afterwards.
#[utoipa::path(delete, path = "/api/components/{slug}", operation_id = "delete_component", tag = "Releases",
    security(("token" = ["write:components"])),
    params(("slug" = String, Path, description = "The component's slug."), IfMatch),
    responses(
        (status = 204, description = "Deleted."),
        (status = 409, description = "Releases contain it."),
    ))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteComponents>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                components::delete(&mut caller.change(transaction), &slug).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}
