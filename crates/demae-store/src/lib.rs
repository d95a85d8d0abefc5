//! The database.
//!
//! One schema on two databases: SQLite, the embedded default, and Postgres. [`Store`] opens them, migrates them and
//! hands out transactions; [`outbox`] writes events inside a caller's transaction; [`engine`] is the seam behind which
//! the hot path of delivery (outbox read, fan-out, claim, record) is written by hand per database; [`repository`] and
//! [`entity`] serve everything that is not hot.
//!
//! What always holds here:
//! - A write that other parts must hear of is one transaction with its outbox row ([`outbox::append`] takes the
//!   transaction).
//! - Every query for a tenant's rows names the organization.
//! - An answer that says "written" comes after a commit that survives power loss.
//!
//! This crate must not know HTTP, brokers, signatures or which domain an event came from.

mod backend;
pub mod connect;
pub mod engine;
pub mod entity;
pub mod error;
pub mod inspect;
pub mod leadership;
mod migration;
pub mod outbox;
pub mod repository;
mod signals;
pub mod silence;
mod sqlite_file;
pub mod transaction;
pub mod vault;

pub use backend::Backend;
pub use connect::{Store, StoreOptions};
pub use engine::Engine;
pub use error::{ENCODING, StoreError};
pub use transaction::Transaction;
pub use vault::Vault;
