//! SeaORM entities: one per table, columns as in the migrations.
//!
//! Times are microseconds ([`demae_event::Timestamp::as_micros`]); columns described as JSON hold JSON text.

#![expect(
    missing_docs,
    reason = "the columns are described where they are created, in the migrations"
)]

pub mod api_token;
pub mod application;
pub mod attempt;
pub mod audit_entry;
pub mod component;
pub mod counter;
pub mod customer;
pub mod delivery;
pub mod deployment;
pub mod deployment_zone;
pub mod endpoint;
pub mod entitlement;
pub mod entitlement_usage;
pub mod event_type;
pub mod feature_flag;
pub mod idempotency_key;
pub mod instance;
pub mod job;
pub mod license;
pub mod license_entitlement;
pub mod message;
pub mod organization;
pub mod rejected_event;
pub mod release;
pub mod release_component;
pub mod resource;
pub mod service_account;
pub mod timer;
