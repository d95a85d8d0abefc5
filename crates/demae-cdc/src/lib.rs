//! Change data capture: what was committed in a Postgres database, as events.
//!
//! This crate must not know HTTP or delivery.
