//! What is declared of an event.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::Payload;

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
