//! Events, their catalogue and their identifiers.
//!
//! Everything here is pure: values, parsing and formatting. The only door to the outside is
//! [`clock::SystemClock`], the one place in the workspace that reads the wall clock.
//!
//! This crate must not know any I/O, any database and any transport.

pub mod clock;
pub mod event;
pub mod id;
mod ksuid;
pub mod timestamp;

pub use clock::{Clock, SystemClock};
pub use event::Event;
pub use id::{AttemptId, EndpointId, EventId, JobId, OrganizationId};
pub use timestamp::Timestamp;
