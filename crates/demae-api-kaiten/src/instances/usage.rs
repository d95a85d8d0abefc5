//! `/api/instances/{slug}/entitlements/…/usage` (kaiten.md, sections 2.6 and 3.2).
//!
//! These operations want the scopes of entitlements, not of instances: an application that reports what it uses needs
//! neither to see nor to change what else is known of its instance.

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::{PathOf, Segment},
    json::fields::{Fields, Node, ReadBody},
    problem::Problem,
    write::{Answer, Operation, Outcome},
};
use demae_control_plane::{
    Amount, EntitlementValue,
    usage::{self, Behavior, Report, Usage},
};
use demae_event::Timestamp;
use futures::FutureExt;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    auth::{Allowed, ReadEntitlements, WriteEntitlements},
    entitlement_value::{BooleanValueBody, EntitlementValueBody, ObjectValueBody, read_amount},
    input::{JsonBody, Kaiten},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, report))
}

/// What an instance has used of something that its license grants.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EntitlementUsage)]
struct UsageBody {
    /// The entitlement.
    entitlement_id: Uuid,
    /// Its slug.
    entitlement_slug: String,
    /// The license that grants it.
    license_id: Uuid,
    /// The license's slug.
    license_slug: String,
    /// What was used in this period; for what cannot be used up, what is granted.
    #[schema(value_type = UsageValue)]
    value: EntitlementValue,
    /// What is granted; the number -1 means without a limit.
    #[schema(value_type = EntitlementValueBody)]
    limit: EntitlementValue,
    /// Since when the value has been counted; null if it never begins again.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    current_period_start: Option<Timestamp>,
    /// When it begins at zero again.
    #[schema(required = true, value_type = Option<String>, format = DateTime)]
    current_period_end: Option<Timestamp>,
}

/// What was used, or what is granted of something that cannot be used up.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the value; the domain's own type is shown")]
enum UsageValue {
    /// Of entitlements of the type NUMBER.
    Number(UsedNumber),
    /// Of entitlements of the type BOOLEAN.
    Boolean(BooleanValueBody),
    /// Of entitlements of the type CONFIG.
    Object(ObjectValueBody),
}

/// How much was used.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the value; the domain's own type is shown")]
struct UsedNumber {
    /// Says that it is an amount.
    #[schema(pattern = "^number$")]
    r#type: String,
    /// How much.
    value: f64,
    /// How many reports it is made of.
    #[schema(minimum = 0)]
    event_count: i64,
}

impl From<Usage> for UsageBody {
    fn from(usage: Usage) -> Self {
        Self {
            entitlement_id: usage.entitlement_id,
            entitlement_slug: usage.entitlement_slug,
            license_id: usage.license_id,
            license_slug: usage.license_slug,
            value: usage.value,
            limit: usage.limit,
            current_period_start: usage.current_period_start,
            current_period_end: usage.current_period_end,
        }
    }
}

/// A report of usage.
#[derive(ToSchema)]
#[schema(as = ReportEntitlementUsage, example = json!({"value": {"type": "number", "value": 1}, "behavior": "append"}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
struct ReportBody {
    /// How much: an object, or the number itself as in older clients.
    value: ReportedValue,
    /// `append`, unless another is given, folds it into what was used by the entitlement's aggregation method; `set`
    /// replaces what was used.
    #[schema(pattern = "^(append|set)$")]
    behavior: Option<String>,
    /// The reporter's own notes; at most 16,384 bytes as JSON. They are not kept.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// A reported value.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the body; an amount is read")]
enum ReportedValue {
    /// With its type.
    Typed(ReportedNumber),
    /// Without it, bounded in the same way.
    Plain(f64),
}

/// A number with its type.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body; an amount is read")]
struct ReportedNumber {
    /// `number`.
    #[schema(pattern = "^number$")]
    r#type: String,
    /// How much, with at most nine decimal places.
    #[schema(minimum = -1_000_000_000_000_000_i64, maximum = 1_000_000_000_000_000_i64)]
    value: f64,
}

impl ReadBody<Kaiten> for Report {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let value = fields.field("value").required(read_value);
        let behavior = fields
            .field("behavior")
            .nullable(|node| node.one_of(&["append", "set"]));
        let metadata = fields.field("metadata").nullable(Node::any_object);
        Some(Self {
            value: value?,
            behavior: match behavior?.as_deref() {
                Some("set") => Behavior::Set,
                _ => Behavior::Append,
            },
            metadata: metadata?.unwrap_or_default(),
        })
    }
}

fn read_value(node: Node<'_>) -> Option<Amount> {
    if !node.is_object() {
        return read_amount(node);
    }
    node.object(|fields| {
        let kind = fields.field("type").required(|node| node.one_of(&["number"]));
        let value = fields.field("value").required(read_amount);
        kind?;
        value
    })
}

/// List what an instance has used
///
/// Everything that its license grants, by slug, with what was used of it.
#[utoipa::path(get, path = "/api/instances/{slug}/entitlements/usage", operation_id = "list_entitlement_usage",
    tag = "Instances", security(("token" = ["read:entitlements"])),
    params(("slug" = String, Path, description = "The instance's slug.")),
    responses((status = 200, description = "All of it.", body = Vec<UsageBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadEntitlements>,
    PathOf(Segment(slug)): PathOf<Segment>,
) -> Result<Json<Vec<UsageBody>>, Problem> {
    let usages = usage::list(state.store(), caller.actor(), caller.now(), &slug).await?;
    Ok(Json(usages.into_iter().map(UsageBody::from).collect()))
}

/// Get what an instance has used of an entitlement
#[utoipa::path(get, path = "/api/instances/{slug}/entitlements/{entitlement}/usage",
    operation_id = "get_entitlement_usage", tag = "Instances", security(("token" = ["read:entitlements"])),
    params(
        ("slug" = String, Path, description = "The instance's slug."),
        ("entitlement" = String, Path, description = "The entitlement's slug."),
    ),
    responses((status = 200, description = "What was used.", body = UsageBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadEntitlements>,
    PathOf((Segment(slug), Segment(entitlement))): PathOf<(Segment, Segment)>,
) -> Result<Json<UsageBody>, Problem> {
    let place = (slug.as_str(), entitlement.as_str());
    let usage = usage::get(state.store(), caller.actor(), caller.now(), place).await?;
    Ok(Json(usage.into()))
}

/// Report usage
///
/// Of something that is used up. Emits `INSTANCE_ENTITLEMENT_USAGE_REACHED` when it takes what was used from below the
/// granted value to it or past it. What would take it past what may be used is refused and leaves no trace.
#[utoipa::path(post, path = "/api/instances/{slug}/entitlements/{entitlement}/usage",
    operation_id = "report_entitlement_usage", tag = "Instances", security(("token" = ["write:entitlements"])),
    params(
        ("slug" = String, Path, description = "The instance's slug."),
        ("entitlement" = String, Path, description = "The entitlement's slug."),
    ),
    request_body = ReportBody,
    responses(
        (status = 200, description = "What was used with it.", body = UsageBody),
        (status = 400, description = "The entitlement is no number, or the body is no JSON."),
        (status = 409, description = "More than may be used would be used."),
    ))]
async fn report(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteEntitlements>,
    PathOf((Segment(slug), Segment(entitlement))): PathOf<(Segment, Segment)>,
    operation: Operation,
    body: JsonBody<Report>,
) -> Outcome {
    let input = body.value;
    let operation = operation.of_body(body.digest);
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let place = (slug.as_str(), entitlement.as_str());
                let usage = usage::report(&mut caller.change(transaction), place, input).await?;
                Answer::json(StatusCode::OK, &UsageBody::from(usage))
            }
            .boxed()
        })
        .await
}
