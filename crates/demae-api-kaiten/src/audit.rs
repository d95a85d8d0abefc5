//! Who did what when: `/api/audit-trails`, and the same of one instance (kaiten.md, section 3.2).

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::{PathOf, Segment},
    page::{PageBody, PageParameters, read_page},
    problem::Problem,
    query::{Query, QueryFields, ReadQuery},
};
use demae_control_plane::audit::{self, AuditEntry, AuditQuery};
use demae_event::Timestamp;
use demae_store::repository::Page;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::common::UserBody;
use crate::auth::{Allowed, ReadInstances, ReadOrganizations};

/// Longest name of an event or a resource, in characters.
const MAX_NAME: usize = 256;

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(of_instance))
}

/// One change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditTrail)]
struct AuditBody {
    /// Its identity.
    id: Uuid,
    /// What happened; the name of its event, if it has one.
    #[schema(examples("INSTANCE_UPDATE"))]
    event_name: String,
    /// The type that goes with it.
    #[schema(examples("com.kaiten.instance.v1.updated"))]
    event_type: String,
    /// To what kind of resource.
    #[schema(examples("instance"))]
    resource: String,
    /// To which one.
    resource_id: Uuid,
    /// Its slug at that time.
    resource_slug: String,
    /// The instance that it is, or belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    instance_id: Option<Uuid>,
    /// The instance's slug at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    instance_slug: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Who did it.
    actor: UserBody,
    /// The resource as it was then; the last time, for one that was deleted.
    #[schema(value_type = Object)]
    payload: Value,
}

impl From<AuditEntry> for AuditBody {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            event_name: entry.event_name,
            event_type: entry.event_type,
            resource: entry.resource,
            resource_id: entry.resource_id,
            resource_slug: entry.resource_slug,
            instance_id: entry.instance_id,
            instance_slug: entry.instance_slug,
            timestamp: entry.timestamp,
            actor: entry.actor.into(),
            payload: entry.payload,
        }
    }
}

/// Which changes are wanted, whatever they are about.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters; they are read by hand")]
struct AuditParameters {
    /// With this event name (either form) or type.
    #[param(min_length = 1, max_length = 256, required = false, nullable = false)]
    event_name: Option<String>,
    /// At that time or later.
    #[param(value_type = String, format = DateTime, required = false, nullable = false)]
    after: Option<Timestamp>,
    /// At that time or earlier.
    #[param(value_type = String, format = DateTime, required = false, nullable = false)]
    before: Option<Timestamp>,
}

/// Which changes of an organization are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters; they are read by hand")]
struct ResourceParameters {
    /// About this kind of resource, such as `license`.
    #[param(min_length = 1, max_length = 256, required = false, nullable = false)]
    resource: Option<String>,
    /// Made by this service account: its id.
    #[param(required = false, nullable = false)]
    actor: Option<Uuid>,
}

fn read_query(query: &mut QueryFields<'_>) -> Option<AuditQuery> {
    let event_name = query.text("event_name", 1..=MAX_NAME);
    let after = query.timestamp("after");
    let before = query.timestamp("before");
    Some(AuditQuery {
        event_name: event_name?,
        after: after?,
        before: before?,
        ..AuditQuery::default()
    })
}

struct OfOrganization(AuditQuery, Page<Uuid>);

impl ReadQuery for OfOrganization {
    fn read(query: &mut QueryFields<'_>) -> Option<Self> {
        let rest = read_query(query);
        let resource = query.text("resource", 1..=MAX_NAME);
        let actor = query.parsed("actor", "a UUID");
        let page = read_page(query);
        let filter = AuditQuery {
            resource: resource?,
            actor: actor?,
            ..rest?
        };
        Some(Self(filter, page?))
    }
}

struct OfInstance(AuditQuery, Page<Uuid>);

impl ReadQuery for OfInstance {
    fn read(query: &mut QueryFields<'_>) -> Option<Self> {
        let filter = read_query(query);
        let page = read_page(query);
        Some(Self(filter?, page?))
    }
}

/// List every change
///
/// Newest first. A page with several filters may be short, or empty, and have a next one all the same.
#[utoipa::path(get, path = "/api/audit-trails", operation_id = "list_audit_trails", tag = "Audit",
    security(("token" = ["read:organizations"])), params(PageParameters, AuditParameters, ResourceParameters),
    responses((status = 200, description = "A page of changes.", body = PageBody<AuditBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadOrganizations>,
    Query(OfOrganization(query, page)): Query<OfOrganization>,
) -> Result<Json<PageBody<AuditBody>>, Problem> {
    let listing = audit::list(state.store(), caller.actor(), query, page).await?;
    Ok(Json(PageBody::from_listing(listing, AuditBody::from)))
}

/// List the changes of an instance
///
/// Newest first, under whatever slug it had.
#[utoipa::path(get, path = "/api/instances/{slug}/audit-trails", operation_id = "list_instance_audit_trails",
    tag = "Audit", security(("token" = ["read:instances"])),
    params(("slug" = String, Path, description = "The instance's slug."), PageParameters, AuditParameters),
    responses((status = 200, description = "A page of changes.", body = PageBody<AuditBody>)))]
async fn of_instance(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadInstances>,
    PathOf(Segment(slug)): PathOf<Segment>,
    Query(OfInstance(query, page)): Query<OfInstance>,
) -> Result<Json<PageBody<AuditBody>>, Problem> {
    let listing = audit::of_instance(state.store(), caller.actor(), &slug, query, page).await?;
    Ok(Json(PageBody::from_listing(listing, AuditBody::from)))
}
