//! `/api/entitlements` (kaiten.md, sections 2.5 and 3.2).

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
    Amount, EntitlementType,
    entitlements::{
        self, AggregationMethod, Entitlement, EntitlementInput, MAX_ICON, MAX_UNIT, MeterType, ResetAnchor,
        ResetPeriod,
    },
};
use demae_event::Timestamp;
use futures::FutureExt;
use http::StatusCode;
use utoipa::{ToSchema, openapi::schema::Object};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    common::{UserBody, read_description, read_name, read_slug, read_text, read_word, word_schema},
    entitlement_value::entitlement_type,
};
use crate::{
    auth::{Allowed, ReadEntitlements, WriteEntitlements},
    input::{JsonBody, Kaiten},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, delete))
}

/// An entitlement.
#[derive(Debug, ToSchema)]
#[schema(as = Entitlement, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the answer; the domain's own type is shown")]
struct EntitlementBody {
    /// Its identity.
    id: Uuid,
    /// Display name.
    #[schema(examples("Seats"))]
    name: String,
    /// Name in URLs; never changes.
    #[schema(examples("seats"))]
    slug: String,
    /// What it stands for.
    #[schema(required = true)]
    description: Option<String>,
    /// What kind of thing it is; without one it takes any value.
    #[schema(schema_with = entitlement_type, required = false)]
    r#type: String,
    /// How usage adds up; always there for NUMBER, and only there.
    #[schema(schema_with = aggregation_method, required = false)]
    aggregation_method: String,
    /// As the caller gave it.
    #[schema(schema_with = meter_type, required = false)]
    meter_type: String,
    /// How often usage begins anew; without one it never does.
    #[schema(schema_with = reset_period, required = false)]
    reset_period: String,
    /// Where periods begin; without one with the calendar's.
    #[schema(schema_with = reset_anchor, required = false)]
    reset_anchor: String,
    /// Percent of the granted amount; 0 is off.
    #[schema(minimum = 0, maximum = 100)]
    warning_threshold_percent: i32,
    /// Name of one unit.
    #[schema(nullable = false)]
    unit_singular: Option<String>,
    /// Name of several units.
    #[schema(nullable = false)]
    unit_plural: Option<String>,
    /// Name of one unit as it is sold.
    #[schema(nullable = false)]
    sale_unit_singular: Option<String>,
    /// Name of several units as they are sold.
    #[schema(nullable = false)]
    sale_unit_plural: Option<String>,
    /// How many units one sold unit is.
    #[schema(nullable = false)]
    sale_unit_factor: Option<f64>,
    /// Whether customers get to see it.
    user_facing: bool,
    /// Its place where customers see it.
    #[schema(minimum = 0)]
    display_order: i32,
    /// `provider:name`.
    #[schema(nullable = false)]
    icon: Option<String>,
    /// Always empty: there are no groups here.
    #[schema(max_items = 0, value_type = Vec<Object>)]
    entitlement_groups: (),
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

fn aggregation_method() -> Object {
    word_schema(AggregationMethod::WORDS)
}

fn meter_type() -> Object {
    word_schema(MeterType::WORDS)
}

fn reset_period() -> Object {
    word_schema(ResetPeriod::WORDS)
}

fn reset_anchor() -> Object {
    word_schema(ResetAnchor::WORDS)
}

/// What an entitlement is made of, or replaced with. In a replacement, `type`, `aggregationMethod`, `meterType`,
/// `resetPeriod` and `resetAnchor` stay if they are left out, and are refused if they differ from what is set; what else is
/// left out is cleared, but for the slug, which never changes.
#[derive(Debug, ToSchema)]
#[schema(as = EntitlementInput, rename_all = "camelCase",
    example = json!({"name": "Seats", "description": "People who may sign in.", "type": "NUMBER"}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct EntitlementInputBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// Name in URLs; derived from the name if left out. In a replacement: the same, if given.
    #[schema(min_length = 2, max_length = 100, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
    /// What it stands for.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// What kind of thing it is; without one it takes any value.
    #[schema(schema_with = entitlement_type, required = false)]
    r#type: String,
    /// How usage adds up; only for NUMBER, for which it is SUM if left out.
    #[schema(schema_with = aggregation_method, required = false)]
    aggregation_method: String,
    /// Only for NUMBER; the older way to say what reports are about. `RAW_EVENT` needs an aggregation method.
    #[schema(schema_with = meter_type, required = false)]
    meter_type: String,
    /// How often usage begins anew; only for NUMBER.
    #[schema(schema_with = reset_period, required = false)]
    reset_period: String,
    /// Where periods begin; only for NUMBER.
    #[schema(schema_with = reset_anchor, required = false)]
    reset_anchor: String,
    /// Percent of the granted amount; 0, which is the default, is off.
    #[schema(minimum = 0, maximum = 100)]
    warning_threshold_percent: Option<i32>,
    /// Name of one unit; only for NUMBER, and only with the plural.
    #[schema(min_length = 1, max_length = 100, pattern = r"\S")]
    unit_singular: Option<String>,
    /// Name of several units; only for NUMBER, and only with the singular.
    #[schema(min_length = 1, max_length = 100, pattern = r"\S")]
    unit_plural: Option<String>,
    /// Name of one unit as it is sold; only with the plural, the factor and both names of units.
    #[schema(min_length = 1, max_length = 100, pattern = r"\S")]
    sale_unit_singular: Option<String>,
    /// Name of several units as they are sold; only with the singular and the factor.
    #[schema(min_length = 1, max_length = 100, pattern = r"\S")]
    sale_unit_plural: Option<String>,
    /// How many units one sold unit is; only with the names of sold units.
    #[schema(exclusive_minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    sale_unit_factor: Option<f64>,
    /// Whether customers get to see it.
    user_facing: Option<bool>,
    /// Its place where customers see it.
    #[schema(minimum = 0, maximum = 2_147_483_647)]
    display_order: Option<i32>,
    /// `provider:name`.
    #[schema(max_length = 100, pattern = "^[!-9;-~]+:[!-~]+$")]
    icon: Option<String>,
    /// Must be empty: there are no groups here.
    #[schema(max_items = 0)]
    group_slugs: Option<Vec<String>>,
}

impl ReadBody<Kaiten> for EntitlementInput {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.field("name").required(read_name);
        let slug = fields.field("slug").nullable(read_slug);
        let description = fields.field("description").nullable(read_description);
        let fixed = read_fixed(fields);
        let warning = fields
            .field("warningThresholdPercent")
            .nullable(|node| read_i32(node, 100));
        let units = ["unitSingular", "unitPlural", "saleUnitSingular", "saleUnitPlural"]
            .map(|name| fields.field(name).nullable(|node| read_text(node, MAX_UNIT)));
        let factor = fields.field("saleUnitFactor").nullable(read_factor);
        let user_facing = fields.field("userFacing").nullable(Node::boolean);
        let display_order = fields
            .field("displayOrder")
            .nullable(|node| read_i32(node, i32::MAX));
        let icon = fields.field("icon").nullable(|node| read_text(node, MAX_ICON));
        // How many there are is the domain's to refuse.
        let groups = fields
            .field("groupSlugs")
            .nullable(|node| node.array(0..=1_000, |node| node.string(0..=255)));
        let [unit_singular, unit_plural, sale_unit_singular, sale_unit_plural] = units;
        Some(Self {
            name: name?,
            slug: slug?,
            description: description?,
            warning_threshold_percent: warning?.unwrap_or(0),
            unit_singular: unit_singular?,
            unit_plural: unit_plural?,
            sale_unit_singular: sale_unit_singular?,
            sale_unit_plural: sale_unit_plural?,
            sale_unit_factor: factor?,
            user_facing: user_facing?.unwrap_or(false),
            display_order: display_order?.unwrap_or(0),
            icon: icon?,
            names_groups: groups?.is_some_and(|slugs| !slugs.is_empty()),
            ..fixed?
        })
    }
}

/// The fields that stay once they are set.
fn read_fixed(fields: &mut Fields<'_>) -> Option<EntitlementInput> {
    let kind = fields
        .field("type")
        .nullable(|node| read_word(node, EntitlementType::WORDS, EntitlementType::find));
    let aggregation_method = fields
        .field("aggregationMethod")
        .nullable(|node| read_word(node, AggregationMethod::WORDS, AggregationMethod::find));
    let meter_type = fields
        .field("meterType")
        .nullable(|node| read_word(node, MeterType::WORDS, MeterType::find));
    let reset_period = fields
        .field("resetPeriod")
        .nullable(|node| read_word(node, ResetPeriod::WORDS, ResetPeriod::find));
    let reset_anchor = fields
        .field("resetAnchor")
        .nullable(|node| read_word(node, ResetAnchor::WORDS, ResetAnchor::find));
    Some(EntitlementInput {
        kind: kind?,
        aggregation_method: aggregation_method?,
        meter_type: meter_type?,
        reset_period: reset_period?,
        reset_anchor: reset_anchor?,
        ..EntitlementInput::default()
    })
}

fn read_i32(node: Node<'_>, max: i32) -> Option<i32> {
    node.integer(0..=i64::from(max))
        .and_then(|value| i32::try_from(value).ok())
}

fn read_factor(node: Node<'_>) -> Option<Amount> {
    node.number_with(|number| match Amount::from_number(number) {
        Ok(factor) if factor > Amount::ZERO => Ok(factor),
        Ok(_) => Err("must be more than 0".to_owned()),
        Err(error) => Err(error.to_string()),
    })
}

/// List entitlements
///
/// Oldest first.
#[utoipa::path(get, path = "/api/entitlements", operation_id = "list_entitlements", tag = "Entitlements",
    security(("token" = ["read:entitlements"])), params(PageParameters),
    responses((status = 200, description = "A page of entitlements.", body = PageBody<EntitlementBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadEntitlements>,
    Query(PageQuery(page)): Query<PageQuery<Uuid>>,
) -> Result<Json<PageBody<Entitlement>>, Problem> {
    let listing = entitlements::list(state.store(), caller.actor(), page).await?;
    Ok(Json(PageBody::from_listing(listing, |entitlement| entitlement)))
}

/// Create an entitlement
///
/// Emits `ENTITLEMENT_CREATION`.
#[utoipa::path(post, path = "/api/entitlements", operation_id = "create_entitlement", tag = "Entitlements",
    security(("token" = ["write:entitlements"])), request_body = EntitlementInputBody,
    responses(
        (status = 201, description = "The entitlement.", body = EntitlementBody,
            links(("get_entitlement" = (operation_id = "get_entitlement",
                parameters(("slug" = "$response.body#/slug")))))),
        (status = 409, description = "The slug is taken."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteEntitlements>,
    operation: Operation,
    body: JsonBody<EntitlementInput>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, |transaction, caller| {
            async move {
                let entitlement = entitlements::create(&mut caller.change(transaction), input).await?;
                Answer::json(StatusCode::CREATED, &entitlement)
            }
            .boxed()
        })
        .await
}

/// Get an entitlement
#[utoipa::path(get, path = "/api/entitlements/{slug}", operation_id = "get_entitlement", tag = "Entitlements",
    security(("token" = ["read:entitlements"])),
    params(("slug" = String, Path, description = "The entitlement's slug."), IfNoneMatch),
    responses((status = 200, description = "The entitlement.", body = EntitlementBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadEntitlements>,
    PathOf(Segment(slug)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<Entitlement>, Problem> {
    let entitlement = entitlements::get(state.store(), caller.actor(), &slug).await?;
    Ok(Tagged::new(&held, entitlement, |entitlement| entitlement))
}

/// Replace an entitlement
///
/// Emits `ENTITLEMENT_UPDATE`, whether or not anything changed.
#[utoipa::path(put, path = "/api/entitlements/{slug}", operation_id = "replace_entitlement", tag = "Entitlements",
    security(("token" = ["write:entitlements"])),
    params(("slug" = String, Path, description = "The entitlement's slug."), IfMatch),
    request_body = EntitlementInputBody,
    responses(
        (status = 204, description = "Replaced."),
        (status = 409, description = "Something that stays would be set, and the entitlement is in use."),
    ))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteEntitlements>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<EntitlementInput>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                entitlements::replace(&mut caller.change(transaction), &slug, input).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// Delete an entitlement
///
/// Emits `ENTITLEMENT_DELETION`. Refused while a license grants it or an instance has used it.
#[utoipa::path(delete, path = "/api/entitlements/{slug}", operation_id = "delete_entitlement", tag = "Entitlements",
    security(("token" = ["write:entitlements"])),
    params(("slug" = String, Path, description = "The entitlement's slug."), IfMatch),
    responses(
        (status = 204, description = "Deleted."),
        (status = 409, description = "It is in use by what the detail names."),
    ))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteEntitlements>,
    PathOf(Segment(slug)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                entitlements::delete(&mut caller.change(transaction), &slug).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}
