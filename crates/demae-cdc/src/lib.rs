//! Change data capture: what was committed in a Postgres database, as events.
//!
//! [`Reader`] follows a logical replication slot and offers the inserts into one outbox table, and messages written with
//! `pg_logical_emit_message`, as events. [`Mapping`] says which column is what, [`attach`] prepares somebody else's
//! database, [`pgoutput`] reads the bytes of the output plugin. [`envelope`] is the form of an event between processes.
//!
//! This crate must not know HTTP or delivery.

pub mod attach;
mod catalog;
mod config;
mod connection;
pub mod envelope;
mod error;
mod ledger;
mod lookout;
pub mod mapping;
pub mod metric;
mod monitor;
pub mod pgoutput;
mod publication;
mod quoting;
mod reader;
mod remains;
mod row;
mod session;
mod slot;
pub mod statement;
mod stream;
mod table;
mod target;
mod visibility;

pub use config::{DEFAULT_NAME, MissingSlot, SourceConfig};
pub use error::{CdcError, Fault};
pub use mapping::{Mapping, Preset};
pub use reader::{Item, Position, Reader, Rejected};
pub use target::{Target, TargetError};
