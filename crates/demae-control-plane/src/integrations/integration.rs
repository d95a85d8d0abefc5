//! Integrations as they are shown, and what they are made of.

use std::collections::BTreeMap;

use demae_event::{Faults, Timestamp, fault::keyed};
use demae_fields::{Components, Input, Kind, Node, RefOrSchema, Shape, Shown, schema::map};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fields::{NAME, Object, Text};

/// Adapters that one resource can be integrated with.
pub const MAX_INTEGRATIONS: usize = 50;

/// Longest text inside an integration, in characters.
const MAX_TEXT: usize = 2_048;

/// Longest JSON of an integration's metadata, in bytes.
const MAX_METADATA: usize = 4_096;

/// Something as another system knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Shown)]
pub struct Integration {
    /// Its id there.
    pub external_id: String,
    /// When the two were last compared.
    pub synced_at: Timestamp,
    /// The adapter's own notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Its page there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_url: Option<String>,
    /// What went wrong when they were last compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What an integration is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Input)]
#[input(snake_case, example = json!({"external_id": "rec_1", "web_url": "https://crm.example/rec_1"}))]
pub struct NewIntegration {
    /// Its id there.
    #[input(kind = NAME)]
    pub external_id: String,
    /// The adapter's own notes; at most 4,096 bytes as JSON.
    #[input(kind = Object(MAX_METADATA))]
    pub metadata: Option<Map<String, Value>>,
    /// Its page there.
    #[input(kind = Text(MAX_TEXT))]
    pub web_url: Option<String>,
    /// What went wrong.
    #[input(kind = Text(MAX_TEXT))]
    pub last_error: Option<String>,
}

impl Integration {
    pub(super) fn new(new: NewIntegration, now: Timestamp) -> Self {
        Self {
            external_id: new.external_id,
            // As it is kept, in JSON: to the millisecond.
            synced_at: Timestamp::from_micros(now.as_micros().div_euclid(1_000) * 1_000),
            metadata: new.metadata,
            web_url: new.web_url,
            last_error: new.last_error,
        }
    }
}

/// What a resource is integrated with, by the names of adapters: at most [`MAX_INTEGRATIONS`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adapters;

impl Kind<BTreeMap<String, NewIntegration>> for Adapters {
    fn read(&self, node: Node<'_>) -> Option<BTreeMap<String, NewIntegration>> {
        node.map(MAX_INTEGRATIONS, NewIntegration::read)
    }

    fn schema(&self) -> RefOrSchema {
        map(NewIntegration::shape())
    }

    fn components(&self, into: &mut Components) {
        NewIntegration::components(into);
    }

    fn check(&self, value: &BTreeMap<String, NewIntegration>, at: &str, faults: &mut Faults) {
        if value.len() > MAX_INTEGRATIONS {
            faults.push(at, format!("must not have more than {MAX_INTEGRATIONS} entries"));
            return;
        }
        for (adapter, integration) in value {
            let at = keyed(at, adapter);
            NAME.check(adapter, &at, faults);
            integration.check_at(&at, faults);
        }
    }
}

/// What is kept of them.
pub(crate) fn made(new: BTreeMap<String, NewIntegration>, now: Timestamp) -> BTreeMap<String, Integration> {
    new.into_iter()
        .map(|(adapter, new)| (adapter, Integration::new(new, now)))
        .collect()
}
