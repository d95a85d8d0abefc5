//! Organizations, who may act in them, and Kaiten's domains: their rules, and the events that follow from a change.
//!
//! Every function that changes something takes a [`Change`], which holds the transaction, and returns with the event already in it:
//! "changed, but nobody heard" cannot be written. What is refused is a [`DomainError`] with a stable code.
//!
//! This crate must not know HTTP, nor how events are delivered.

mod account;
pub mod actor;
pub mod amount;
pub mod applications;
pub mod audit;
pub mod change;
mod choice;
pub mod components;
pub mod customers;
pub mod deployment_zones;
pub mod entitlement_value;
pub mod entitlements;
pub mod error;
pub mod feature_flags;
pub mod fields;
pub mod instances;
pub mod integrations;
pub mod license_entitlements;
pub mod licenses;
pub mod model;
pub mod organizations;
pub mod releases;
mod resource;
pub mod revision;
pub mod scope;
pub mod service_accounts;
pub mod slug;
pub mod token;
pub mod tokens;
pub mod usage;

pub use actor::Actor;
pub use amount::Amount;
pub use change::Change;
pub use entitlement_value::{EntitlementType, EntitlementValue};
pub use error::DomainError;
pub use model::{Stamps, User};
pub use scope::{Access, Module, Scope, ScopeSet};
