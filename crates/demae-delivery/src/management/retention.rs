//! Forgetting what is old.
//!
//! One call does a bounded amount of work, in transactions that are short, and is repeated from time to time: it goes
//! through the organizations from where it stands and removes chunk by chunk until its budget is spent.

use std::time::Duration;

use demae_event::{OrganizationId, Timestamp};
use demae_store::{
    Store, StoreError,
    repository::{Page, organizations, rejected, retention},
};

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

/// Deletes what is older than `retention` allows, in bounded chunks. Expired idempotency keys go as well.
pub async fn delete_expired(store: &Store, retention: &Retention, now: Timestamp) -> Result<(), StoreError> {
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
    for _ in 0..CHUNKS_PER_CALL {
        let mut transaction = store.begin().await?;
        let removed = retention::idempotency_keys(&mut transaction, now, CHUNK).await?;
        transaction.commit().await?;
        if removed < CHUNK {
            break;
        }
    }
    for _ in 0..CHUNKS_PER_CALL {
        let mut transaction = store.begin().await?;
        let before = now - retention.rejected;
        let removed = retention::rejected(&mut transaction, before, rejected::KEPT, CHUNK).await?;
        transaction.commit().await?;
        if removed < CHUNK {
            break;
        }
    }
    let mut transaction = store.begin().await?;
    retention::workers(&mut transaction, now - WORKERS).await?;
    transaction.commit().await
}

async fn of_organization(
    store: &Store,
    retention: &Retention,
    organization: OrganizationId,
    now: Timestamp,
) -> Result<(), StoreError> {
    for _ in 0..CHUNKS_PER_CALL {
        let mut transaction = store.begin().await?;
        let removed =
            retention::attempts(&mut transaction, organization, now - retention.attempts, CHUNK).await?;
        transaction.commit().await?;
        if removed < CHUNK {
            break;
        }
    }
    for _ in 0..CHUNKS_PER_CALL {
        let mut transaction = store.begin().await?;
        let before = now - retention.audit;
        let removed = retention::audit_entries(&mut transaction, organization, before, CHUNK).await?;
        transaction.commit().await?;
        if removed < CHUNK {
            break;
        }
    }
    let mut after = None;
    for _ in 0..CHUNKS_PER_CALL {
        let mut transaction = store.begin().await?;
        let before = now - retention.messages;
        let swept = retention::messages(&mut transaction, organization, before, after, CHUNK).await?;
        transaction.commit().await?;
        after = swept.next;
        if after.is_none() {
            break;
        }
    }
    let mut transaction = store.begin().await?;
    retention::jobs(&mut transaction, organization, now - retention.jobs, CHUNK).await?;
    retention::endpoints(&mut transaction, organization, now - retention.jobs, CHUNK).await?;
    transaction.commit().await
}
