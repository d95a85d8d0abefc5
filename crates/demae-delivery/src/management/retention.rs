//! Forgetting what is old.
//!
//! One call does a bounded amount of work, in transactions that are short, and is repeated from time to time: it goes
//! through the organizations and removes chunk by chunk until its budget is spent. One process at a time does it.

use std::time::Duration;

use demae_event::{OrganizationId, Timestamp};
use demae_store::{
    Store, StoreError, Transaction,
    repository::{Page, organizations, rejected, retention},
};
use futures::{FutureExt as _, future::BoxFuture};

/// Rows removed per transaction.
const CHUNK: u64 = 500;
/// Chunks per organization, kind and call: at most 100,000 rows of each kind go at once. A backlog takes several calls.
const CHUNKS_PER_CALL: usize = 200;
/// Organizations read at once.
const ORGANIZATIONS: u32 = 200;
/// A worker that has been silent for so long is forgotten; its leases were recovered long before.
const WORKERS: Duration = Duration::from_hours(24);

/// How long what is finished is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The history.
    pub attempts: Duration,
    /// Payloads and finished deliveries. Without them an attempt shows what it was about, but not what was sent, and
    /// cannot be repeated.
    pub messages: Duration,
    /// Jobs, and endpoints that were deleted.
    pub jobs: Duration,
    /// What arrived from outside and could not become an event; at most [`rejected::KEPT`] of them.
    pub rejected: Duration,
    /// The audit trail.
    pub audit: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let month = Duration::from_hours(30 * 24);
        Self {
            attempts: month,
            messages: month,
            jobs: month,
            rejected: month,
            // A year, and time to look at it.
            audit: Duration::from_hours(400 * 24),
        }
    }
}

/// Deletes what is older than `retention` allows, in bounded chunks. Expired idempotency keys go as well. Ends at once
/// while another process does it.
pub async fn delete_expired(store: &Store, retention: &Retention, now: Timestamp) -> Result<(), StoreError> {
    match sweep(store, retention, now).await {
        Ok(()) | Err(Interruption::Elsewhere) => Ok(()),
        Err(Interruption::Store(error)) => Err(error),
    }
}

/// Why a sweep ends early.
enum Interruption {
    /// Another process deletes at this moment.
    Elsewhere,
    Store(StoreError),
}

impl From<StoreError> for Interruption {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

async fn sweep(store: &Store, retention: &Retention, now: Timestamp) -> Result<(), Interruption> {
    let mut page = Page::<OrganizationId>::first(ORGANIZATIONS);
    loop {
        let organizations = organizations::list(store.reader(), page).await?;
        for organization in organizations.items {
            of_organization(store, retention, OrganizationId(organization.id), now).await?;
        }
        match organizations.next {
            Some(after) => page.after = Some(after),
            None => break,
        }
    }
    in_chunks(store, |transaction| {
        retention::idempotency_keys(transaction, now, CHUNK).boxed()
    })
    .await?;
    let before = now - retention.rejected;
    in_chunks(store, |transaction| {
        retention::rejected(transaction, before, rejected::KEPT, CHUNK).boxed()
    })
    .await?;
    let mut transaction = begin(store).await?;
    retention::workers(&mut transaction, now - WORKERS).await?;
    Ok(transaction.commit().await?)
}

async fn of_organization(
    store: &Store,
    retention: &Retention,
    organization: OrganizationId,
    now: Timestamp,
) -> Result<(), Interruption> {
    let before = now - retention.attempts;
    in_chunks(store, |transaction| {
        retention::attempts(transaction, organization, before, CHUNK).boxed()
    })
    .await?;
    let before = now - retention.audit;
    in_chunks(store, |transaction| {
        retention::audit_entries(transaction, organization, before, CHUNK).boxed()
    })
    .await?;
    let before = now - retention.messages;
    let mut after = None;
    for _ in 0..CHUNKS_PER_CALL {
        let mut transaction = begin(store).await?;
        let swept = retention::messages(&mut transaction, organization, before, after, CHUNK).await?;
        transaction.commit().await?;
        after = swept.next;
        if after.is_none() {
            break;
        }
    }
    let before = now - retention.jobs;
    let mut transaction = begin(store).await?;
    retention::jobs(&mut transaction, organization, before, CHUNK).await?;
    retention::endpoints(&mut transaction, organization, before, CHUNK).await?;
    Ok(transaction.commit().await?)
}

/// Repeats `piece`, which answers how many rows of at most [`CHUNK`] it removed, until there are no more or this call has
/// done its share.
async fn in_chunks(
    store: &Store,
    piece: impl for<'t> Fn(&'t mut Transaction) -> BoxFuture<'t, Result<u64, StoreError>> + Send + Sync,
) -> Result<(), Interruption> {
    for _ in 0..CHUNKS_PER_CALL {
        let mut transaction = begin(store).await?;
        let removed = piece(&mut transaction).await?;
        transaction.commit().await?;
        if removed < CHUNK {
            break;
        }
    }
    Ok(())
}

async fn begin(store: &Store) -> Result<Transaction, Interruption> {
    retention::begin(store).await?.ok_or(Interruption::Elsewhere)
}
