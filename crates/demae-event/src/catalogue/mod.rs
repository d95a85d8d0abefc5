//! Every event that Demae itself emits, declared once.
//!
//! [`all`] holds the 27 of Kaiten (kaiten.md, section 1), in the order of its table: what its seven domains tell the
//! outside. [`operational`] holds what the engine tells an endpoint's owner about the endpoint itself; those are apart
//! because nobody who asked for "everything" meant them (see [`crate::subscription`]).
//!
//! An event has one identity and two names: the seed's (`CUSTOMER_CREATION`), which is what the outbox holds and what
//! is delivered unless asked otherwise, and the later one (`CUSTOMER_CREATED`), which the official SDK insists on. Its
//! type (`com.kaiten.customer.v1.created`) is the same under both.
//!
//! Each event's `data` has a JSON Schema (draft 2020-12) and an example; events of one payload share them. A schema
//! requires the union of what the seed shows and what the SDK requires (kaiten.md, section 8.6) and leaves the door
//! open for more. It refers to nothing outside itself and has no `$ref`, so that it can stand inside another document.
//!
//! An application's own event types are no part of this: they are data, in the store.

mod definitions;
mod payload;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, sync::LazyLock};

use serde::Serialize;
use serde_json::Value;

pub use payload::Payload;

/// Types that begin like this belong to the engine's own events; an application may not use them.
pub const OPERATIONAL_TYPE_PREFIX: &str = "com.demae.";

/// One event that Demae can emit.
#[derive(Debug, PartialEq, Eq)]
pub struct EventDefinition {
    /// The seed's name, `CUSTOMER_CREATION`: what the outbox holds.
    pub name: &'static str,
    /// The name of later contracts and of the official SDK, `CUSTOMER_CREATED`; for some the same as `name`.
    pub later_name: &'static str,
    /// `com.kaiten.customer.v1.created`.
    pub event_type: &'static str,
    /// What it is about.
    pub domain: Domain,
    /// When it is emitted, as a sentence.
    pub description: &'static str,
    /// What its `data` holds.
    pub payload: Payload,
}

impl EventDefinition {
    /// The JSON Schema of `data`.
    pub fn schema(&self) -> &'static Value {
        self.payload.schema()
    }

    /// A believable `data`, valid by [`EventDefinition::schema`].
    pub fn example(&self) -> &'static Value {
        self.payload.example()
    }

    /// Whether the engine emits it about an endpoint, rather than a domain about itself.
    pub fn is_operational(&self) -> bool {
        self.domain == Domain::Endpoint
    }
}

/// What an event is about: one of Kaiten's seven domains, or the engine's endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// Customers.
    Customer,
    /// Instances, and the usage they report.
    Instance,
    /// Licenses, and what they grant.
    License,
    /// Entitlements.
    Entitlement,
    /// Feature flags.
    FeatureFlag,
    /// Deployment zones, and the releases deployed to them.
    DeploymentZone,
    /// Releases.
    Release,
    /// Webhook endpoints: operational events.
    Endpoint,
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Customer => "Customer",
            Self::Instance => "Instance",
            Self::License => "License",
            Self::Entitlement => "Entitlement",
            Self::FeatureFlag => "Feature Flag",
            Self::DeploymentZone => "Deployment Zone",
            Self::Release => "Release",
            Self::Endpoint => "Endpoint",
        })
    }
}

/// The 27 events of Kaiten.
pub fn all() -> &'static [EventDefinition] {
    &definitions::KAITEN
}

/// The engine's own events about endpoints.
pub fn operational() -> &'static [EventDefinition] {
    &definitions::OPERATIONAL
}

/// `ENDPOINT_FAILING`: an endpoint has failed for some time and will be disabled if that goes on.
pub fn endpoint_failing() -> &'static EventDefinition {
    &definitions::OPERATIONAL[0]
}

/// `ENDPOINT_DISABLED`: an endpoint was disabled by the engine, not by its owner.
pub fn endpoint_disabled() -> &'static EventDefinition {
    &definitions::OPERATIONAL[1]
}

/// Whether only the engine may emit an event with this name or type. Every source from outside is checked against it.
pub fn is_reserved(name_or_type: &str) -> bool {
    name_or_type.starts_with(OPERATIONAL_TYPE_PREFIX)
        || find(name_or_type).is_some_and(EventDefinition::is_operational)
}

/// The event that has this as its name, its later name or its type.
pub fn find(name_or_type: &str) -> Option<&'static EventDefinition> {
    static INDEX: LazyLock<HashMap<&str, &EventDefinition>> = LazyLock::new(|| {
        all()
            .iter()
            .chain(operational())
            .flat_map(|event| [event.name, event.later_name, event.event_type].map(|key| (key, event)))
            .collect()
    });
    INDEX.get(name_or_type).copied()
}
