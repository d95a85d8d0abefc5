//! Queries that are not hot, by subject.
//!
//! What they promise:
//! - Every query for a tenant's rows names the organization, and the application where they belong to one; another
//!   tenant's row is simply not there.
//! - No query's cost grows with the age of an organization: each goes through an index and stops at a limit.
//! - Reads take any connection, so that they can run inside a transaction or beside one. Writes take a
//!   [`Transaction`](crate::Transaction), which their caller commits together with whatever else belongs to the change.
//!   Those that answer `bool` say whether there was a row to change (or room for a new one).
//!
//! They know no rules: who may do what, and what a good value is, is decided by their callers.

pub mod api_tokens;
pub mod applications;
pub mod audit;
mod columns;
pub mod components;
pub mod deliveries;
pub mod deployment_zones;
pub mod endpoints;
pub mod entitlements;
pub mod event_types;
pub mod expunge;
pub mod feature_flags;
pub mod history;
pub mod idempotency;
pub mod instances;
pub mod jobs;
pub mod license_entitlements;
pub mod licenses;
pub mod messages;
pub mod organizations;
mod page;
pub mod rejected;
pub mod releases;
pub mod resource;
pub mod retention;
mod scoped;
pub mod sealed;
pub mod service_accounts;
pub mod stats;
pub mod timers;
pub mod usages;

pub use page::{Listing, MAX_PAGE, PAGE_BYTES, Page};

use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, sea_query::OnConflict};

use crate::{StoreError, Transaction};

/// Inserts a row unless one of its unique values is taken, which does not spoil the transaction (an error would, on
/// Postgres).
async fn insert_unless_taken<A>(transaction: &mut Transaction, row: A) -> Result<bool, StoreError>
where
    A: ActiveModelTrait + Send,
    <A::Entity as EntityTrait>::Model: IntoActiveModel<A>,
{
    let written = A::Entity::insert(row)
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(transaction.connection())
        .await?;
    Ok(written == 1)
}

/// A value that was written as JSON by this crate.
fn from_json<T: serde::de::DeserializeOwned>(text: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable(what))
}

/// JSON text of a list or of a map with text keys.
#[expect(
    clippy::expect_used,
    reason = "only maps with keys that are not text cannot be written as JSON"
)]
fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("lists and maps of plain values are JSON")
}
