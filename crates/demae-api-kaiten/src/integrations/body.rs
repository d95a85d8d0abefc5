//! Integrations as they are written and shown.

use std::collections::BTreeMap;

use demae_api::json::fields::{Fields, Node, Read, ReadBody};
use demae_control_plane::integrations::{Integration, MAX_INTEGRATIONS, MAX_TEXT, NewIntegration};
use demae_event::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    common::{read_name, read_text},
    input::Kaiten,
};

/// Something as another system knows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Integration)]
pub(crate) struct IntegrationBody {
    /// Its id there.
    external_id: String,
    /// When the two were last compared.
    #[schema(value_type = String, format = DateTime)]
    synced_at: Timestamp,
    /// The adapter's own notes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Object)]
    metadata: Option<Map<String, Value>>,
    /// Its page there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    web_url: Option<String>,
    /// What went wrong when they were last compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_error: Option<String>,
}

impl From<Integration> for IntegrationBody {
    fn from(integration: Integration) -> Self {
        Self {
            external_id: integration.external_id,
            synced_at: integration.synced_at,
            metadata: integration.metadata,
            web_url: integration.web_url,
            last_error: integration.last_error,
        }
    }
}

/// What an integration is made of.
#[derive(Debug, ToSchema)]
#[schema(as = NewIntegration, example = json!({"external_id": "rec_1", "web_url": "https://crm.example/rec_1"}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
pub(crate) struct NewIntegrationBody {
    /// Its id there.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    external_id: String,
    /// The adapter's own notes; at most 4,096 bytes as JSON.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// Its page there.
    #[schema(min_length = 1, max_length = 2048, pattern = r"\S")]
    web_url: Option<String>,
    /// What went wrong.
    #[schema(min_length = 1, max_length = 2048, pattern = r"\S")]
    last_error: Option<String>,
}

/// Integrations as they are shown.
pub(crate) fn show(integrations: BTreeMap<String, Integration>) -> BTreeMap<String, IntegrationBody> {
    integrations
        .into_iter()
        .map(|(adapter, integration)| (adapter, integration.into()))
        .collect()
}

/// The integrations of a new resource.
pub(crate) fn read(fields: &mut Fields<'_>) -> Read<BTreeMap<String, NewIntegration>> {
    let integrations = fields
        .field("integrations")
        .nullable(|node| node.map(MAX_INTEGRATIONS, NewIntegration::read));
    integrations.map(Option::unwrap_or_default)
}

impl ReadBody<Kaiten> for NewIntegration {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let external_id = fields.field("external_id").required(read_name);
        let metadata = fields.field("metadata").nullable(Node::any_object);
        let web_url = fields.field("web_url").nullable(|node| read_text(node, MAX_TEXT));
        let last_error = fields
            .field("last_error")
            .nullable(|node| read_text(node, MAX_TEXT));
        Some(Self {
            external_id: external_id?,
            metadata: metadata?,
            web_url: web_url?,
            last_error: last_error?,
        })
    }
}
