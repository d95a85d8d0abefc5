//! A webhook as it is shown.

use std::collections::BTreeMap;

use demae_delivery::{
    dialect::Dialect,
    management::{Endpoint, Loaded, validation::DEFAULT_TIMEOUT},
    own_headers::is_public,
};
use demae_event::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// A webhook: an endpoint that receives events.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhook)]
pub(crate) struct WebhookBody {
    /// Its identity.
    #[schema(examples("ep_2bZ8Q0iZkzJ2yq1cZ5mWc0J1x7T"))]
    id: String,
    /// Where its deliveries go.
    #[schema(examples("https://example.com/hooks/kaiten"))]
    url: String,
    /// What it subscribes to, as it was given: names (either form), types, wildcards.
    #[schema(examples(json!(["CUSTOMER_CREATION", "LICENSE_*"])))]
    event_names: Vec<String>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// Own headers sent with every delivery that were declared public.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    headers: BTreeMap<String, String>,
    /// The names of all other own headers. Their values are secret: Demae never shows them again, and removes them when
    /// the URL gets another origin.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    sensitive_headers: Vec<String>,
    /// Deliveries per second at most; absent for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rate_limit: Option<u32>,
    /// Seconds for a whole exchange; absent for the default of 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    timeout_seconds: Option<u32>,
    /// Seconds between attempts; absent for the server's own schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_schedule: Option<Vec<u32>>,
    /// `false` if nothing is delivered to it; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    enabled: Option<bool>,
    /// Why the server disabled it: `failing` or `gone`; absent if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    disabled_reason: Option<String>,
    /// Since when there has been nothing but failure; absent if there has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, format = DateTime, required = false)]
    failing_since: Option<Timestamp>,
    /// How it is spoken to; absent for `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    dialect: Option<String>,
    /// Its owner's own notes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    metadata: BTreeMap<String, String>,
    /// `true` if the server cannot read its secrets and own headers, so that its deliveries wait; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unreadable: Option<bool>,
}

impl From<Loaded> for WebhookBody {
    fn from(loaded: Loaded) -> Self {
        Self {
            unreadable: (!loaded.opened).then_some(true),
            ..loaded.endpoint.into()
        }
    }
}

impl From<Endpoint> for WebhookBody {
    fn from(endpoint: Endpoint) -> Self {
        let unless_empty = |text: String| (!text.is_empty()).then_some(text);
        let (headers, sensitive): (BTreeMap<_, _>, BTreeMap<_, _>) = endpoint
            .headers
            .into_iter()
            .partition(|(name, _)| is_public(&endpoint.public_headers, name));
        Self {
            id: endpoint.id.to_string(),
            url: endpoint.url,
            event_names: endpoint.event_names,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
            name: unless_empty(endpoint.name),
            description: unless_empty(endpoint.description),
            headers,
            sensitive_headers: sensitive.into_keys().collect(),
            rate_limit: endpoint.rate_limit,
            timeout_seconds: Some(endpoint.timeout_seconds).filter(|seconds| *seconds != DEFAULT_TIMEOUT),
            retry_schedule: endpoint.retry_schedule,
            enabled: (!endpoint.enabled).then_some(false),
            disabled_reason: endpoint.disabled_reason,
            failing_since: endpoint.failing_since,
            dialect: Some(endpoint.dialect).filter(|dialect| dialect != Dialect::Standard.as_str()),
            metadata: endpoint.metadata,
            unreadable: None,
        }
    }
}

/// A new webhook with its signing secret.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedWebhook)]
pub(crate) struct CreatedWebhookBody {
    /// The webhook.
    #[serde(flatten)]
    webhook: WebhookBody,
    /// What its receiver verifies signatures with; missing from the answer to a repetition.
    #[schema(required = false, examples("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"))]
    secret: String,
}

impl CreatedWebhookBody {
    pub(super) fn new(endpoint: Endpoint, secret: &str) -> Self {
        Self {
            webhook: endpoint.into(),
            secret: secret.to_owned(),
        }
    }
}
