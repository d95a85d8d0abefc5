//! `/api/licenses/{slug}/entitlements` (kaiten.md, sections 2.4 and 3.2).

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
    EntitlementValue, User,
    fields::Slug,
    license_entitlements::{self, GrantInput, LicenseEntitlement, MAX_OVERAGE_PERCENT, UNLIMITED_OVERAGE},
};
use demae_event::Timestamp;
use demae_fields::Kind as _;
use futures::FutureExt;
use http::StatusCode;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::entitlement_value::{EntitlementValueBody, entitlement_type, read_value};
use crate::{
    auth::{Allowed, ReadLicenses, WriteLicenses},
    input::{JsonBody, Kaiten},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, delete))
}

/// What a license grants of an entitlement.
#[derive(Debug, ToSchema)]
#[schema(as = LicenseEntitlement, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the answer; the domain's own type is shown")]
struct LicenseEntitlementBody {
    /// The license that grants.
    license_id: Uuid,
    /// Its slug.
    license_slug: String,
    /// The name of the entitlement that is granted.
    entitlement_name: String,
    /// Its slug.
    entitlement_slug: String,
    /// Its type, or that of the value if it has none.
    #[schema(schema_with = entitlement_type)]
    entitlement_type: String,
    /// What is granted.
    #[schema(value_type = EntitlementValueBody)]
    value: EntitlementValue,
    /// How far usage may pass the value: -1 without limit, which it is exactly if the value is unlimited; 0 not at all;
    /// otherwise percent. Null for what is no number.
    #[schema(required = true)]
    limit_cap_exceeded_overage_percent: Option<i32>,
    /// Always empty: there are no groups here.
    #[schema(max_items = 0, value_type = Vec<Object>)]
    entitlement_groups: (),
    /// When it was granted.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// By whom.
    created_by: User,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// By whom.
    updated_by: User,
}

/// A new grant.
#[derive(Debug, ToSchema)]
#[schema(as = CreateLicenseEntitlement, rename_all = "camelCase",
    example = json!({"entitlementSlug": "seats", "value": {"type": "number", "value": 100}}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct CreateGrantBody {
    /// Which entitlement.
    #[schema(min_length = 2, max_length = 100, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    entitlement_slug: String,
    /// How much of it; fits the entitlement's type.
    value: EntitlementValueBody,
    /// How far usage may pass the value; follows from the value if left out.
    #[schema(minimum = -1, maximum = 1_000_000)]
    limit_cap_exceeded_overage_percent: Option<i32>,
}

/// What a grant is replaced with.
#[derive(Debug, ToSchema)]
#[schema(as = ReplaceLicenseEntitlement, rename_all = "camelCase",
    example = json!({"value": {"type": "number", "value": 200}, "limitCapExceededOveragePercent": 10}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct ReplaceGrantBody {
    /// How much of it; fits the entitlement's type.
    value: EntitlementValueBody,
    /// How far usage may pass the value; follows from the value if left out.
    #[schema(minimum = -1, maximum = 1_000_000)]
    limit_cap_exceeded_overage_percent: Option<i32>,
}

/// A [`GrantInput`] and the entitlement that it names.
struct CreateGrant {
    entitlement_slug: String,
    grant: GrantInput,
}

impl ReadBody<Kaiten> for CreateGrant {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let entitlement_slug = fields.field("entitlementSlug").required(|node| Slug.read(node));
        let grant = GrantInput::read(fields);
        Some(Self {
            entitlement_slug: entitlement_slug?,
            grant: grant?,
        })
    }
}

impl ReadBody<Kaiten> for GrantInput {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let value = fields.field("value").required(read_value);
        let overage_percent = fields
            .field("limitCapExceededOveragePercent")
            .nullable(read_overage);
        Some(Self {
            value: value?,
            overage_percent: overage_percent?,
        })
    }
}

fn read_overage(node: Node<'_>) -> Option<i32> {
    node.integer(i64::from(UNLIMITED_OVERAGE)..=i64::from(MAX_OVERAGE_PERCENT))
        .and_then(|percent| i32::try_from(percent).ok())
}

/// List what a license grants
///
/// In the order in which it was granted.
#[utoipa::path(get, path = "/api/licenses/{slug}/entitlements", operation_id = "list_license_entitlements",
    tag = "Licenses", security(("token" = ["read:licenses"])),
    params(("slug" = String, Path, description = "The license's slug."), PageParameters),
    responses((status = 200, description = "A page of grants.", body = PageBody<LicenseEntitlementBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<LicenseEntitlement>>, Problem> {
    let listing = license_entitlements::list(state.store(), caller.actor(), &slug, page).await?;
    Ok(Json(PageBody::from_listing(listing, |grant| grant)))
}

/// Grant an entitlement
///
/// Emits `LICENSE_ENTITLEMENT_ASSIGNMENT`.
#[utoipa::path(post, path = "/api/licenses/{slug}/entitlements", operation_id = "create_license_entitlement",
    tag = "Licenses", security(("token" = ["write:licenses"])),
    params(("slug" = String, Path, description = "The license's slug.")), request_body = CreateGrantBody,
    responses(
        (status = 201, description = "The grant.", body = LicenseEntitlementBody,
            links(("get_license_entitlement" = (operation_id = "get_license_entitlement", parameters(
                ("slug" = "$response.body#/licenseSlug"),
                ("entitlementSlug" = "$response.body#/entitlementSlug")))))),
        (status = 409, description = "The license grants it already."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<CreateGrant>,
) -> Outcome {
    let CreateGrant {
        entitlement_slug,
        grant,
    } = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let mut change = caller.change(transaction);
                let grant =
                    license_entitlements::assign(&mut change, &slug, &entitlement_slug, grant).await?;
                Answer::json(StatusCode::CREATED, &grant)
            }
            .boxed()
        })
        .await
}

/// Get what a license grants of an entitlement
#[utoipa::path(get, path = "/api/licenses/{slug}/entitlements/{entitlementSlug}",
    operation_id = "get_license_entitlement", tag = "Licenses", security(("token" = ["read:licenses"])),
    params(
        ("slug" = String, Path, description = "The license's slug."),
        ("entitlementSlug" = String, Path, description = "The entitlement's slug."),
        IfNoneMatch,
    ),
    responses((status = 200, description = "The grant.", body = LicenseEntitlementBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadLicenses>,
    PathOf((Segment(slug), Segment(entitlement))): PathOf<(Segment, Segment)>,
    held: IfNoneMatch,
) -> Result<Tagged<LicenseEntitlement>, Problem> {
    let grant = license_entitlements::get(state.store(), caller.actor(), &slug, &entitlement).await?;
    Ok(Tagged::new(&held, grant, |grant| grant))
}

/// Replace what a license grants of an entitlement
///
/// Emits `LICENSE_ENTITLEMENT_UPDATE`, whether or not anything changed.
#[utoipa::path(put, path = "/api/licenses/{slug}/entitlements/{entitlementSlug}",
    operation_id = "replace_license_entitlement", tag = "Licenses", security(("token" = ["write:licenses"])),
    params(
        ("slug" = String, Path, description = "The license's slug."),
        ("entitlementSlug" = String, Path, description = "The entitlement's slug."),
        IfMatch,
    ),
    request_body = ReplaceGrantBody, responses((status = 204, description = "Replaced.")))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    PathOf((Segment(slug), Segment(entitlement))): PathOf<(Segment, Segment)>,
    operation: Operation,
    body: JsonBody<GrantInput>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let mut change = caller.change(transaction);
                license_entitlements::replace(&mut change, &slug, &entitlement, input).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// Grant an entitlement no longer
///
/// Emits `LICENSE_ENTITLEMENT_UNASSIGNMENT`.
#[utoipa::path(delete, path = "/api/licenses/{slug}/entitlements/{entitlementSlug}",
    operation_id = "delete_license_entitlement", tag = "Licenses", security(("token" = ["write:licenses"])),
    params(
        ("slug" = String, Path, description = "The license's slug."),
        ("entitlementSlug" = String, Path, description = "The entitlement's slug."),
        IfMatch,
    ),
    responses((status = 204, description = "Granted no longer.")))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteLicenses>,
    PathOf((Segment(slug), Segment(entitlement))): PathOf<(Segment, Segment)>,
    operation: Operation,
) -> Outcome {
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let mut change = caller.change(transaction);
                license_entitlements::unassign(&mut change, &slug, &entitlement).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}
