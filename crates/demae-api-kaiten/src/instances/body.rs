//! An instance as it is shown and as it is given.

use std::collections::BTreeMap;

use demae_api::json::fields::{Fields, Node, ReadBody};
use demae_control_plane::{
    instances::{Instance, InstanceInput, MAX_STAGE, PatchInstance, Status},
    integrations::NewIntegration,
};
use demae_event::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    common::{UserBody, read_description, read_name, read_slug, read_text},
    input::Kaiten,
    integrations::{self, IntegrationBody, NewIntegrationBody},
};

/// An installation of the product, for one customer under one license.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Instance)]
pub(crate) struct InstanceBody {
    /// Its identity.
    id: Uuid,
    /// Display name.
    #[schema(examples("Production"))]
    name: String,
    /// Name in URLs.
    #[schema(examples("production"))]
    slug: String,
    /// What it is for; may be empty.
    description: String,
    /// Whose it is.
    customer_id: Uuid,
    /// The customer's slug.
    customer_slug: String,
    /// Under which license.
    license_id: Uuid,
    /// The license's slug.
    license_slug: String,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    deployment_zone_id: Option<Uuid>,
    /// The zone's slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    deployment_zone_slug: Option<String>,
    /// Since when the license holds.
    #[schema(value_type = String, format = DateTime)]
    start_license_date: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    end_license_date: Timestamp,
    /// Its owner's own notes.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// How it fares: `HEALTHY`, `DEGRADED`, `INCIDENT` or `MAINTENANCE`.
    #[schema(examples("HEALTHY"))]
    status: &'static str,
    /// Where it stands with its customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("TRIAL"))]
    lifecycle_stage: Option<String>,
    /// Where else it is known, by adapter.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    integrations: BTreeMap<String, IntegrationBody>,
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

impl From<Instance> for InstanceBody {
    fn from(instance: Instance) -> Self {
        Self {
            id: instance.id,
            name: instance.name,
            slug: instance.slug,
            description: instance.description,
            customer_id: instance.customer_id,
            customer_slug: instance.customer_slug,
            license_id: instance.license_id,
            license_slug: instance.license_slug,
            deployment_zone_id: instance.deployment_zone_id,
            deployment_zone_slug: instance.deployment_zone_slug,
            start_license_date: instance.start_license_date,
            end_license_date: instance.end_license_date,
            metadata: instance.metadata,
            status: instance.status.as_str(),
            lifecycle_stage: instance.lifecycle_stage,
            integrations: integrations::show(instance.integrations),
            created_at: instance.created_at,
            created_by: instance.created_by.into(),
            updated_at: instance.updated_at,
            updated_by: instance.updated_by.into(),
        }
    }
}

/// A new instance.
#[derive(Debug, ToSchema)]
#[schema(as = CreateInstance, rename_all = "camelCase", example = json!({
    "name": "Production",
    "customerId": "019c22c8-a220-7b35-87f8-c2d7ea3634cb",
    "licenseId": "019c22bf-7a60-7029-a276-e01262f8f2e0",
}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
pub(super) struct CreateInstanceBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// Name in URLs; derived from the name if left out.
    #[schema(min_length = 2, max_length = 100, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
    /// What it is for.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// Whose it is: the customer's id.
    customer_id: Uuid,
    /// Under which license: its id.
    license_id: Uuid,
    /// The license's slug, which follows from its id; another one is refused.
    #[schema(max_length = 255)]
    license_slug: Option<String>,
    /// Where it runs: the zone's id.
    deployment_zone_id: Option<Uuid>,
    /// Since when the license holds; now if left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    start_license_date: Option<Timestamp>,
    /// Until when, which is later; a year after the start if left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    end_license_date: Option<Timestamp>,
    /// Its owner's own notes; at most 16,384 bytes as JSON.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// Accepted from older clients and not kept.
    #[schema(value_type = Option<Object>)]
    platform: Option<Value>,
    /// Where else it is known, by adapter; at most 50.
    integrations: Option<BTreeMap<String, NewIntegrationBody>>,
}

/// A new instance as it is read.
pub(super) struct NewInstance {
    pub(super) input: InstanceInput,
    pub(super) integrations: BTreeMap<String, NewIntegration>,
}

impl ReadBody<Kaiten> for NewInstance {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let input = read_input(fields);
        let integrations = integrations::read(fields);
        Some(Self {
            input: input?,
            integrations: integrations?,
        })
    }
}

/// What an instance is replaced with: what is left out is cleared, but for slug, zone and dates, which stay, as do
/// status, lifecycle stage and integrations.
#[derive(Debug, ToSchema)]
#[schema(as = ReplaceInstance, rename_all = "camelCase", example = json!({
    "name": "Production",
    "customerId": "019c22c8-a220-7b35-87f8-c2d7ea3634cb",
    "licenseId": "019c22bf-7a60-7029-a276-e01262f8f2e0",
}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
pub(super) struct ReplaceInstanceBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// A new name in URLs.
    #[schema(min_length = 2, max_length = 100, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
    /// What it is for.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// Whose it is: the customer's id.
    customer_id: Uuid,
    /// Under which license: its id.
    license_id: Uuid,
    /// The license's slug, which follows from its id; another one is refused.
    #[schema(max_length = 255)]
    license_slug: Option<String>,
    /// Where it runs from now on: the zone's id.
    deployment_zone_id: Option<Uuid>,
    /// Since when the license holds.
    #[schema(value_type = Option<String>, format = DateTime)]
    start_license_date: Option<Timestamp>,
    /// Until when, which is later.
    #[schema(value_type = Option<String>, format = DateTime)]
    end_license_date: Option<Timestamp>,
    /// Its owner's own notes; at most 16,384 bytes as JSON.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// Accepted from older clients and not kept.
    #[schema(value_type = Option<Object>)]
    platform: Option<Value>,
}

impl ReadBody<Kaiten> for InstanceInput {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        read_input(fields)
    }
}

fn read_input(fields: &mut Fields<'_>) -> Option<InstanceInput> {
    let name = fields.field("name").required(read_name);
    let slug = fields.field("slug").nullable(read_slug);
    let description = fields.field("description").nullable(read_description);
    let customer_id = fields.field("customerId").required(Node::uuid);
    let license_id = fields.field("licenseId").required(Node::uuid);
    let license_slug = fields.field("licenseSlug").nullable(|node| node.string(0..=255));
    let deployment_zone_id = fields.field("deploymentZoneId").nullable(Node::uuid);
    let start_license_date = fields.field("startLicenseDate").nullable(Node::timestamp);
    let end_license_date = fields.field("endLicenseDate").nullable(Node::timestamp);
    let metadata = fields.field("metadata").nullable(Node::any_object);
    fields.field("platform").nullable(Node::any_object)?;
    Some(InstanceInput {
        name: name?,
        slug: slug?,
        description: description?.unwrap_or_default(),
        customer_id: customer_id?,
        license_id: license_id?,
        license_slug: license_slug?,
        deployment_zone_id: deployment_zone_id?,
        start_license_date: start_license_date?,
        end_license_date: end_license_date?,
        metadata: metadata?.unwrap_or_default(),
    })
}

/// What changes; what is left out stays. One of the two at least.
#[derive(Debug, ToSchema)]
#[schema(as = PatchInstance, rename_all = "camelCase", example = json!({"status": "DEGRADED"}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
pub(super) struct PatchInstanceBody {
    /// How it fares: `HEALTHY`, `DEGRADED`, `INCIDENT` or `MAINTENANCE`.
    #[schema(pattern = "^(HEALTHY|DEGRADED|INCIDENT|MAINTENANCE)$")]
    status: Option<String>,
    /// Where it stands with its customer; any text, such as `TRIAL`, `ACTIVE`, `AT_RISK` or `CHURNED`.
    #[schema(min_length = 1, max_length = 100, pattern = r"\S")]
    lifecycle_stage: Option<String>,
}

impl ReadBody<Kaiten> for PatchInstance {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let status = fields
            .field("status")
            .nullable(|node| Status::find(&node.one_of(Status::WORDS)?));
        let lifecycle_stage = fields
            .field("lifecycleStage")
            .nullable(|node| read_text(node, MAX_STAGE));
        Some(Self {
            status: status?,
            lifecycle_stage: lifecycle_stage?,
        })
    }
}
