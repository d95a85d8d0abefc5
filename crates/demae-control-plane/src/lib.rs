//! Organizations, who may act in them, and Kaiten's domains: their rules, and the events that follow from a change.
//!
//! Every function that changes something takes the transaction of the change and returns with the event already in it:
//! "changed, but nobody heard" cannot be written. What is refused is a [`DomainError`] with a stable code.
//!
//! This crate must not know HTTP, nor how events are delivered.

pub mod actor;
pub mod customers;
pub mod error;
mod fields;
pub mod model;
pub mod organizations;
pub mod scope;
pub mod service_accounts;
pub mod slug;
pub mod token;
pub mod tokens;

pub use actor::Actor;
pub use error::DomainError;
pub use model::User;
pub use scope::{Access, Module, Scope, ScopeSet};
