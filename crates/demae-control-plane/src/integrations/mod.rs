//! Customers and instances as other systems know them (kaiten.md, sections 2.1 and 3.2).
//!
//! An integration is part of the customer or instance that it belongs to: it is shown with it, and changing one is an
//! update of it, with its event. Each can also be looked at, added, replaced and removed alone, known by its adapter. Whoever
//! insists on the state that they saw (`If-Match`) means that integration then, not all of its owner.

mod owner;

use std::collections::BTreeMap;

use demae_event::{Faults, Timestamp};
use demae_store::Store;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::owner::Owner;
use self::owner::Verb;
use crate::{
    Actor, Change, DomainError,
    fields::{check_name, check_object_of, check_optional},
    model::time,
};

const RESOURCE: &str = "integration";

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

/// How another system knows this customer or instance.
pub async fn get(
    store: &Store,
    actor: &Actor,
    owner: &Owner,
    adapter: &str,
) -> Result<Integration, DomainError> {
    let operation = owner.operation(Verb::Get);
    let mut integrations = owner.read(store, actor, operation).await?;
    integrations.remove(adapter).ok_or(operation.not_found(RESOURCE))
}

/// Says how one more system knows it.
pub async fn create(
    change: &mut Change<'_>,
    owner: &Owner,
    adapter: &str,
    new: NewIntegration,
) -> Result<Integration, DomainError> {
    let operation = owner.operation(Verb::Create);
    let mut faults = Faults::new();
    check_name(&mut faults, "path.name", adapter);
    check_one(&mut faults, "body", &new);
    operation.check(faults)?;
    let held = owner.hold(change, operation).await?;
    let mut integrations = held.integrations()?;
    if integrations.contains_key(adapter) {
        let detail = format!("there is an integration with {adapter:?} already");
        return Err(operation.conflict("AlreadyExists", detail));
    }
    if integrations.len() >= MAX_INTEGRATIONS {
        let detail = format!("there are {MAX_INTEGRATIONS} integrations already");
        return Err(operation.conflict("TooManyIntegrations", detail));
    }
    let moment = held.moment(change);
    let made = Integration::new(new, time(moment));
    integrations.insert(adapter.to_owned(), made.clone());
    held.write(change, moment, &integrations).await?;
    Ok(made)
}

/// Replaces how a system knows it: what is left out is cleared.
pub async fn replace(
    change: &mut Change<'_>,
    owner: &Owner,
    adapter: &str,
    new: NewIntegration,
) -> Result<Integration, DomainError> {
    let operation = owner.operation(Verb::Update);
    let mut faults = Faults::new();
    check_one(&mut faults, "body", &new);
    operation.check(faults)?;
    let held = owner.hold(change, operation).await?;
    let mut integrations = held.integrations()?;
    let before = integrations.get_mut(adapter);
    let before = before.ok_or(operation.not_found(RESOURCE))?;
    change.check_expected(operation, before)?;
    let moment = held.moment(change);
    *before = Integration::new(new, time(moment));
    let made = before.clone();
    held.write(change, moment, &integrations).await?;
    Ok(made)
}

/// Forgets how a system knows it; answers how it did.
pub async fn delete(
    change: &mut Change<'_>,
    owner: &Owner,
    adapter: &str,
) -> Result<Integration, DomainError> {
    let operation = owner.operation(Verb::Delete);
    let held = owner.hold(change, operation).await?;
    let mut integrations = held.integrations()?;
    let removed = integrations.remove(adapter);
    let removed = removed.ok_or(operation.not_found(RESOURCE))?;
    change.check_expected(operation, &removed)?;
    let moment = held.moment(change);
    held.write(change, moment, &integrations).await?;
    Ok(removed)
}

impl Integration {
    fn new(new: NewIntegration, now: Timestamp) -> Self {
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
            "body.integrations",
            format!("must not have more than {MAX_INTEGRATIONS} entries"),
        );
        return;
    }
    for (adapter, integration) in integrations {
        let at = format!("body.integrations.{adapter}");
        check_name(faults, &at, adapter);
        check_one(faults, &at, integration);
    }
}

fn check_one(faults: &mut Faults, at: &str, integration: &NewIntegration) {
    check_name(faults, &format!("{at}.external_id"), &integration.external_id);
    let texts = [
        ("web_url", &integration.web_url),
        ("last_error", &integration.last_error),
    ];
    for (key, text) in texts {
        check_optional(faults, &format!("{at}.{key}"), text.as_deref(), MAX_TEXT);
    }
    if let Some(metadata) = &integration.metadata {
        check_object_of(faults, &format!("{at}.metadata"), metadata, MAX_METADATA);
    }
}

/// What is kept of them.
pub(crate) fn made(new: BTreeMap<String, NewIntegration>, now: Timestamp) -> BTreeMap<String, Integration> {
    new.into_iter()
        .map(|(adapter, new)| (adapter, Integration::new(new, now)))
        .collect()
}
