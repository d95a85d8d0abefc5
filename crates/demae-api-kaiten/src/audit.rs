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
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::auth::{Allowed, ReadInstances, ReadOrganizations};

/// Longest name of an event or a resource, in characters.
const MAX_NAME: usize = 256;

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(of_instance))
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
    responses((status = 200, description = "A page of changes.", body = PageBody<AuditEntry>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadOrganizations>,
    Query(OfOrganization(query, page)): Query<OfOrganization>,
) -> Result<Json<PageBody<AuditEntry>>, Problem> {
    let listing = audit::list(state.store(), caller.actor(), query, page).await?;
    Ok(Json(PageBody::from_listing(listing, |entry| entry)))
}

/// List the changes of an instance
///
/// Newest first, under whatever slug it had.
#[utoipa::path(get, path = "/api/instances/{slug}/audit-trails", operation_id = "list_instance_audit_trails",
    tag = "Audit", security(("token" = ["read:instances"])),
    params(("slug" = String, Path, description = "The instance's slug."), PageParameters, AuditParameters),
    responses((status = 200, description = "A page of changes.", body = PageBody<AuditEntry>)))]
async fn of_instance(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadInstances>,
    PathOf(Segment(slug)): PathOf<Segment>,
    Query(OfInstance(query, page)): Query<OfInstance>,
) -> Result<Json<PageBody<AuditEntry>>, Problem> {
    let listing = audit::of_instance(state.store(), caller.actor(), &slug, query, page).await?;
    Ok(Json(PageBody::from_listing(listing, |entry| entry)))
}
