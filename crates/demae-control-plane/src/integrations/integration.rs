//! Integrations as they are shown, and what they are made of.

use std::collections::BTreeMap;

use demae_event::{
    Faults, Timestamp,
    fault::{below, keyed},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fields::{check_name, check_object_of, check_optional};

/// Adapters that one resource can be integrated with.
pub const MAX_INTEGRATIONS: usize = 50;

/// Longest text inside an integration, in characters.
pub const MAX_TEXT: usize = 2_048;

/// Longest JSON of an integration's metadata, in bytes.
const MAX_METADATA: usize = 4_096;

/// Something as another system knows it. Its keys are in snake case (kaiten.md, section 2.0).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewIntegration {
    /// Its id there.
    pub external_id: String,
    /// The adapter's own notes.
    pub metadata: Option<Map<String, Value>>,
    /// Its page there.
    pub web_url: Option<String>,
    /// What went wrong.
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

/// Checks what was given for each adapter.
pub(crate) fn check(faults: &mut Faults, integrations: &BTreeMap<String, NewIntegration>) {
    if integrations.len() > MAX_INTEGRATIONS {
        faults.push(
            "integrations",
            format!("must not have more than {MAX_INTEGRATIONS} entries"),
        );
        return;
    }
    for (adapter, integration) in integrations {
        let at = keyed("integrations", adapter);
        check_name(faults, &at, adapter);
        check_one(faults, &at, integration);
    }
}

pub(super) fn check_one(faults: &mut Faults, at: &str, integration: &NewIntegration) {
    check_name(faults, &below(at, "external_id"), &integration.external_id);
    let texts = [
        ("web_url", &integration.web_url),
        ("last_error", &integration.last_error),
    ];
    for (key, text) in texts {
        check_optional(faults, &below(at, key), text.as_deref(), MAX_TEXT);
    }
    if let Some(metadata) = &integration.metadata {
        check_object_of(faults, &below(at, "metadata"), metadata, MAX_METADATA);
    }
}

/// What is kept of them.
pub(crate) fn made(new: BTreeMap<String, NewIntegration>, now: Timestamp) -> BTreeMap<String, Integration> {
    new.into_iter()
        .map(|(adapter, new)| (adapter, Integration::new(new, now)))
        .collect()
}
