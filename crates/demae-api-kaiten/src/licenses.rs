//! `/api/licenses` (kaiten.md, sections 2.3 and 3.2).

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    caller::Caller,
    extract::{PathOf, Segment},
    json::fields::{Fields, Node, ReadBody},
    page::{PageBody, PageParameters, PageQuery},
    problem::Problem,
    query::Query,
    revision::{IfMatch, IfNoneMatch, Tagged},
    write::{Answer, Operation, Outcome},
};
use demae_control_plane::{
    Change, DomainError,
    licenses::{self, License, LicenseInput, LicenseType, LifecycleState, MAX_VERSION, MAX_VERSION_NAME},
};
use demae_event::Timestamp;
use futures::{FutureExt, future::BoxFuture};
use http::StatusCode;
use utoipa::{
    ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{Object, ObjectBuilder, OneOfBuilder, Type},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::common::{UserBody, read_description, read_name, read_slug, read_text, read_word, word_schema};
use crate::{
    auth::{Allowed, ReadLicenses, WriteLicenses},
    input::{JsonBody, Kaiten},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, delete))
        .routes(routes!(publish))
        .routes(routes!(archive))
        .routes(routes!(unarchive))
}

/// A license.
#[derive(Debug, ToSchema)]
#[schema(as = License, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the answer; the domain's own type is shown")]
struct LicenseBody {
    /// Its identity.
    id: Uuid,
    /// Display name.
    #[schema(examples("Enterprise"))]
    name: String,
    /// Name in URLs; never changes.
    #[schema(examples("enterprise"))]
    slug: String,
    /// What it offers; may be empty.
    description: String,
    /// What it is for.
    #[schema(schema_with = license_type)]
    r#type: String,
    /// The version's number, as text.
    #[schema(examples("3"))]
    version: String,
    /// The version's display name.
    #[schema(examples("Version - 3"))]
    version_name: String,
    /// Whether it is put forward; at most one of an organization is.
    is_default: bool,
    /// Whether it is published.
    is_active: bool,
    /// Whether it can be given to instances.
    #[schema(schema_with = lifecycle_state)]
    lifecycle_state: String,
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

fn license_type() -> Object {
    word_schema(LicenseType::WORDS)
}

fn lifecycle_state() -> Object {
    word_schema(LifecycleState::WORDS)
}

fn version() -> RefOr<Schema> {
    let number = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(MAX_VERSION));
    let digits = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[1-9][0-9]{0,8}$"));
    OneOfBuilder::new().item(digits).item(number).into()
}

/// What a license is made of, or replaced with. In a replacement, what is left out is cleared, but for slug, version and
/// state, which stay; they may be given if they are the same.
#[derive(Debug, ToSchema)]
#[schema(as = LicenseInput, rename_all = "camelCase", example = json!({
    "name": "Enterprise", "description": "Everything, with support.", "type": "PAID", "isDefault": false,
}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct LicenseInputBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// Name in URLs; derived from the name if left out.
    #[schema(min_length = 2, max_length = 100, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
    /// What it offers; empty if left out.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// What it is for.
    #[schema(schema_with = license_type)]
    r#type: String,
    /// The version, as a number or as its digits; one more than the highest of the licenses of this name if left out.
    #[schema(schema_with = version, required = false)]
    version: String,
    /// The version's display name; `Version - <version>` if left out.
    #[schema(min_length = 1, max_length = 100, pattern = r"\S")]
    version_name: Option<String>,
    /// Whether it is put forward, which takes that from the license that is now; false if left out.
    is_default: Option<bool>,
    /// The older form of `lifecycleState`: true publishes. False leaves a new license a draft and archives a published one.
    is_active: Option<bool>,
    /// DRAFT or PUBLISHED on creation; PUBLISHED if left out.
    #[schema(schema_with = lifecycle_state, required = false)]
    lifecycle_state: String,
    /// There are no license families here: 404 on creation, and refused in a replacement.
    #[schema(max_length = 255)]
    family_id: Option<String>,
    /// As `familyId`.
    #[schema(max_length = 255)]
    family_slug: Option<String>,
}

impl ReadBody<Kaiten> for LicenseInput {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.field("name").required(read_name);
        let slug = fields.field("slug").nullable(read_slug);
        let description = fields.field("description").nullable(read_description);
        let kind = fields
            .field("type")
            .required(|node| read_word(node, LicenseType::WORDS, LicenseType::find));
        let version = fields
            .field("version")
            .nullable(|node| node.integer_or_digits(1..=MAX_VERSION));
        let version_name = fields
            .field("versionName")
            .nullable(|node| read_text(node, MAX_VERSION_NAME));
        let is_default = fields.field("isDefault").nullable(Node::boolean);
        let is_active = fields.field("isActive").nullable(Node::boolean);
        let lifecycle_state = fields
            .field("lifecycleState")
            .nullable(|node| read_word(node, LifecycleState::WORDS, LifecycleState::find));
        let family_id = fields.field("familyId").nullable(|node| node.string(0..=255));
        let family_slug = fields.field("familySlug").nullable(|node| node.string(0..=255));
        Some(Self {
            name: name?,
            slug: slug?,
            description: description?.unwrap_or_default(),
            kind: kind?,
            version: version?,
            version_name: version_name?,
            is_default: is_default?.unwrap_or(false),
            is_active: is_active?,
            lifecycle_state: lifecycle_state?,
            names_family: family_id?.is_some() | family_slug?.is_some(),
        })
    }
}

/// List licenses
///
/// Oldest first.
#[utoipa::path(get, path = "/api/licenses", operation_id = "list_licenses", tag = "Licenses",
    security(("token" = ["read:licenses"])), params(PageParameters),
    responses((status = 200, description = "A page of licenses.", body = PageBody<LicenseBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadLicenses>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<License>>, Problem> {
    let listing = licenses::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, |license| license)))
}

/// Create a license
///
/// Emits `LICENSE_CREATION`, and before it `LICENSE_UPDATE` of the previous default if this one is to be the default.
#[utoipa::path(post, path = "/api/licenses", operation_id = "create_license", tag = "Licenses",
    security(("token" = ["write:licenses"])), request_body = LicenseInputBody,
    responses(
        (status = 201, description = "The license.", body = LicenseBody,
            links(("get_license" = (operation_id = "get_license", parameters(("slug" = "$response.body#/slug")))))),
        (status = 404, description = "A license family was named, and there are none."),
        (status = 409, description = "The slug or the version of this name is taken, or a draft would be the default."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    operation: Operation,
    body: JsonBody<LicenseInput>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, |transaction, caller| {
            async move {
                let license = licenses::create(&mut caller.change(transaction), input).await?;
                Answer::json(StatusCode::CREATED, &license)
            }
            .boxed()
        })
        .await
}

/// Get a license
#[utoipa::path(get, path = "/api/licenses/{slug}", operation_id = "get_license", tag = "Licenses",
    security(("token" = ["read:licenses"])),
    params(("slug" = String, Path, description = "The license's slug."), IfNoneMatch),
    responses((status = 200, description = "The license.", body = LicenseBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<License>, Problem> {
    let license = licenses::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, license, |license| license))
}

/// Replace a license
///
/// Emits `LICENSE_UPDATE`, whether or not anything changed, and before it that of the previous default if this one becomes
/// the default.
#[utoipa::path(put, path = "/api/licenses/{slug}", operation_id = "replace_license", tag = "Licenses",
    security(("token" = ["write:licenses"])),
    params(("slug" = String, Path, description = "The license's slug."), IfMatch),
    request_body = LicenseInputBody,
    responses(
        (status = 204, description = "Replaced."),
        (status = 409, description = "The version of this name is taken, or the default would not be published."),
    ))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<LicenseInput>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                licenses::replace(&mut caller.change(transaction), &slug, input).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// Delete a license
///
/// Emits `LICENSE_DELETION`. Refused while an instance has it or it grants anything.
#[utoipa::path(delete, path = "/api/licenses/{slug}", operation_id = "delete_license", tag = "Licenses",
    security(("token" = ["write:licenses"])),
    params(("slug" = String, Path, description = "The license's slug."), IfMatch),
    responses(
        (status = 204, description = "Deleted."),
        (status = 409, description = "It is in use by what the detail names."),
    ))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                licenses::delete(&mut caller.change(transaction), &slug).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// Publish a draft
///
/// Emits `LICENSE_UPDATE`.
#[utoipa::path(post, path = "/api/licenses/{slug}/publish", operation_id = "publish_license", tag = "Licenses",
    security(("token" = ["write:licenses"])),
    params(("slug" = String, Path, description = "The license's slug."), IfMatch),
    responses(
        (status = 200, description = "The license.", body = LicenseBody),
        (status = 409, description = "It is no draft."),
    ))]
async fn publish(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    step(&state, caller, &operation, slug, |change, slug| {
        licenses::publish(change, slug).boxed()
    })
    .await
}

/// Archive a published license
///
/// Instances that have it keep it. Emits `LICENSE_UPDATE`.
#[utoipa::path(post, path = "/api/licenses/{slug}/archive", operation_id = "archive_license", tag = "Licenses",
    security(("token" = ["write:licenses"])),
    params(("slug" = String, Path, description = "The license's slug."), IfMatch),
    responses(
        (status = 200, description = "The license.", body = LicenseBody),
        (status = 409, description = "It is not published, or it is the default."),
    ))]
async fn archive(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    step(&state, caller, &operation, slug, |change, slug| {
        licenses::archive(change, slug).boxed()
    })
    .await
}

/// Publish an archived license again
///
/// Emits `LICENSE_UPDATE`.
#[utoipa::path(post, path = "/api/licenses/{slug}/unarchive", operation_id = "unarchive_license", tag = "Licenses",
    security(("token" = ["write:licenses"])),
    params(("slug" = String, Path, description = "The license's slug."), IfMatch),
    responses(
        (status = 200, description = "The license.", body = LicenseBody),
        (status = 409, description = "It is not archived."),
    ))]
async fn unarchive(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    step(&state, caller, &operation, slug, |change, slug| {
        licenses::unarchive(change, slug).boxed()
    })
    .await
}

/// Moves a license to another state and answers it.
async fn step<M>(state: &ApiState, caller: Caller, operation: &Operation, slug: String, make: M) -> Outcome
where
    M: for<'c> FnOnce(&'c mut Change<'_>, &'c str) -> BoxFuture<'c, Result<License, DomainError>>
        + Send
        + 'static,
{
    state
        .write(caller, operation, move |transaction, caller| {
            async move {
                let license = make(&mut caller.change(transaction), &slug).await?;
                Answer::json(StatusCode::OK, &license)
            }
            .boxed()
        })
        .await
}
