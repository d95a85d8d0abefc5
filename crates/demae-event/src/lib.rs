//! Events, their catalogue and their identifiers.
//!
//! Everything here is pure: values, parsing and formatting. The only door to the outside is
//! [`clock::SystemClock`], the one place in the workspace that reads the wall clock.
//!
//! This crate must not know any I/O, any database and any transport.

pub mod catalogue;
pub mod clock;
pub mod envelope;
pub mod event;
pub mod fault;
pub mod id;
mod ksuid;
pub mod scope;
pub mod subscription;
pub mod timestamp;

pub use catalogue::EventDefinition;
pub use clock::{Clock, SystemClock};
pub use envelope::envelope;
pub use event::Event;
pub use fault::{Code, Fault, Faults};
pub use id::{ApplicationId, AttemptId, EndpointId, EventId, JobId, OrganizationId};
pub use scope::Scope;
pub use subscription::{Subscription, SubscriptionSet};
pub use timestamp::Timestamp;
