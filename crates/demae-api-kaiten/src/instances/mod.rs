//! `/api/instances` (kaiten.md, sections 2.2 and 3.2), with what each has used and its audit trail.

mod usage;

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::{PathOf, Segment},
    page::{PageBody, PageParameters, read_page},
    problem::Problem,
    query::{Query, QueryFields, ReadQuery},
    revision::{IfMatch, IfNoneMatch, Tagged},
    write::{Answer, Operation, Outcome},
};
use demae_control_plane::instances::{self, CreateInstance, Instance, InstanceInput, PatchInstance};
use futures::FutureExt;
use http::StatusCode;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    auth::{Allowed, ReadInstances, WriteInstances},
    input::{JsonBody, reads_as_declared},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, patch, delete))
        .merge(usage::routes())
}

/// What older clients ask of the list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameter; ListQuery reads it")]
struct ListParameters {
    /// Accepted from older clients: deletion is for good, so that there are no deleted instances to include.
    #[param(required = false, nullable = false)]
    include_deleted: Option<bool>,
}

struct ListQuery(demae_store::repository::Page<Uuid>);

impl ReadQuery for ListQuery {
    fn read(query: &mut QueryFields<'_>) -> Option<Self> {
        let include_deleted = query.parsed::<bool>("include_deleted", "true or false");
        let page = read_page(query);
        include_deleted?;
        Some(Self(page?))
    }
}

reads_as_declared!(CreateInstance, InstanceInput, PatchInstance);

/// List instances
///
/// Oldest first.
#[utoipa::path(get, path = "/api/instances", operation_id = "list_instances", tag = "Instances",
    security(("token" = ["read:instances"])), params(PageParameters, ListParameters),
    responses((status = 200, description = "A page of instances.", body = PageBody<Instance>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadInstances>,
    Query(ListQuery(page)): Query<ListQuery>,
) -> Result<Json<PageBody<Instance>>, Problem> {
    let listing = instances::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, |instance| instance)))
}

/// Create an instance
///
/// Emits `INSTANCE_CREATION`, and `INSTANCE_DEPLOYMENT` if it runs in a zone.
#[utoipa::path(post, path = "/api/instances", operation_id = "create_instance", tag = "Instances",
    security(("token" = ["write:instances"])), request_body = CreateInstance,
    responses(
        (status = 201, description = "The instance.", body = Instance,
            links(
                ("get_instance" = (operation_id = "get_instance", parameters(("slug" = "$response.body#/slug")))),
                ("patch_instance" = (operation_id = "patch_instance", parameters(("slug" = "$response.body#/slug")))),
                ("delete_instance" = (operation_id = "delete_instance", parameters(("slug" = "$response.body#/slug")))),
                ("create_instance_integration" = (operation_id = "create_instance_integration",
                    parameters(("slug" = "$response.body#/slug")))),
                ("list_instance_audit_trails" = (operation_id = "list_instance_audit_trails",
                    parameters(("slug" = "$response.body#/slug")))),
            )),
        (status = 404, description = "There is no such customer, license or zone."),
        (status = 409, description = "The slug is taken."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteInstances>,
    operation: Operation,
    body: JsonBody<CreateInstance>,
) -> Outcome {
    let CreateInstance { input, integrations } = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, |transaction, caller| {
            async move {
                let instance =
                    instances::create(&mut caller.change(transaction), input, integrations).await?;
                Answer::json(StatusCode::CREATED, &instance)
            }
            .boxed()
        })
        .await
}

/// Get an instance
#[utoipa::path(get, path = "/api/instances/{slug}", operation_id = "get_instance", tag = "Instances",
    security(("token" = ["read:instances"])),
    params(("slug" = String, Path, description = "The instance's slug."), IfNoneMatch),
    responses((status = 200, description = "The instance.", body = Instance)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadInstances>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<Instance>, Problem> {
    let instance = instances::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, instance, |instance| instance))
}

/// Replace an instance
///
/// Emits `INSTANCE_UPDATE`, whether or not anything changed; then `INSTANCE_DEPLOYMENT` if it got its first zone, or
/// `INSTANCE_MIGRATION` if it moved to another one.
#[utoipa::path(put, path = "/api/instances/{slug}", operation_id = "replace_instance", tag = "Instances",
    security(("token" = ["write:instances"])),
    params(("slug" = String, Path, description = "The instance's slug."), IfMatch),
    request_body = InstanceInput,
    responses(
        (status = 204, description = "Replaced."),
        (status = 409, description = "The new slug is taken."),
    ))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteInstances>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<InstanceInput>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                instances::replace(&mut caller.change(transaction), &slug, input).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// Change an instance's status or lifecycle stage
///
/// Emits no event; the change is in the audit trail.
#[utoipa::path(patch, path = "/api/instances/{slug}", operation_id = "patch_instance", tag = "Instances",
    security(("token" = ["write:instances"])),
    params(("slug" = String, Path, description = "The instance's slug."), IfMatch),
    request_body = PatchInstance, responses((status = 204, description = "Changed.")))]
async fn patch(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteInstances>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<PatchInstance>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                instances::patch(&mut caller.change(transaction), &slug, input).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// Delete an instance
///
/// For good, and with it what it used. Emits `INSTANCE_DELETION`.
#[utoipa::path(delete, path = "/api/instances/{slug}", operation_id = "delete_instance", tag = "Instances",
    security(("token" = ["write:instances"])),
    params(("slug" = String, Path, description = "The instance's slug."), IfMatch),
    responses((status = 204, description = "Deleted.")))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteInstances>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                instances::delete(&mut caller.change(transaction), &slug).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}
