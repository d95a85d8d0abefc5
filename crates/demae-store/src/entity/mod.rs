//! SeaORM entities: one per table, columns as in the migrations.
//!
//! Times are microseconds ([`demae_event::Timestamp::as_micros`]); columns described as JSON hold JSON text.

pub mod api_token;
pub mod attempt;
pub mod counter;
pub mod customer;
pub mod delivery;
pub mod endpoint;
pub mod event_type;
pub mod idempotency_key;
pub mod job;
pub mod message;
pub mod organization;
pub mod service_account;
