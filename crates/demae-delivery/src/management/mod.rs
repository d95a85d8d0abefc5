//! Looking after endpoints: what every surface offers, whatever its paths and shapes.
//!
//! [`Management`] checks what people ask for and writes it; a surface turns its own input into an [`EndpointInput`] (or
//! one of the other inputs), hands over the transaction, and turns the answer into its own shape. Faults carry the
//! places of these inputs (see [`demae_event::fault`]), refusals a stable [`Code`].
//!
//! | part | what |
//! |---|---|
//! | [`endpoint`], [`validation`] | create, list, replace, patch, delete; secrets and their rotation |
//! | [`history`] | attempts, one by one and in pages; a manual retry |
//! | [`recovery`] | sending again what failed or never arrived, as a job in bounded steps |
//! | [`events`], [`event_types`], [`schema`] | an application's own events, their types and schemas |
//! | [`example`] | a test delivery |
//! | [`health`] | what the recorder concludes about an endpoint, with the event that tells its owner |
//! | [`retention`] | forgetting what is old |
//!
//! It must not know HTTP servers and tokens: the [`Scope`](demae_event::Scope) is given, and who may ask is decided before.

pub mod endpoint;
pub mod error;
pub mod event_types;
pub mod events;
pub mod example;
pub mod health;
pub mod history;
mod load;
pub mod recovery;
pub mod retention;
pub mod schema;
pub mod validation;

use demae_store::Store;

pub use demae_event::Code;
pub use demae_store::repository::{
    Listing, Page,
    endpoints::{Endpoint, Loaded},
};
pub use endpoint::{EndpointInput, EndpointPatch};
pub use error::ManagementError;
pub use event_types::EventType;
pub use load::{EndpointChanges, load_changes, load_endpoints};
pub use retention::Retention;

/// What an operator decides about endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Refuse `http` URLs.
    pub https_only: bool,
    /// Endpoints that an organization may have.
    pub endpoints_per_organization: u32,
    /// Own event types that an organization may have.
    pub event_types_per_organization: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            https_only: false,
            endpoints_per_organization: 500,
            event_types_per_organization: 500,
        }
    }
}

/// The management service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Management {
    store: Store,
    rules: Rules,
}

impl Management {
    /// Over an open database.
    pub fn new(store: Store, rules: Rules) -> Self {
        Self { store, rules }
    }

    /// What the operator decided.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}
