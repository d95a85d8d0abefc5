//! The states of a license, and how it moves between them.
//!
//! ```text
//!  DRAFT ──publish──▶ PUBLISHED ──archive──▶ ARCHIVED
//!                         ▲──────unarchive──────┘
//! ```
//!
//! Each move is a `LICENSE_UPDATE`, because it changes what is shown. A move that does not begin where the license is, is a
//! 409 with the reason that the official SDK documents, and so is archiving the default.

use demae_store::entity::license::Model;

use super::{
    License, LifecycleState,
    row::{find_for_update, update},
    state::{check_default, stored},
};
use crate::{Change, DomainError, error::Operation};

/// Makes a draft available.
pub async fn publish(change: &mut Change<'_>, slug: &str) -> Result<License, DomainError> {
    let from = (LifecycleState::Draft, "NotADraft");
    step(
        change,
        Operation("PublishLicense"),
        slug,
        from,
        LifecycleState::Published,
    )
    .await
}

/// Withdraws a published license; instances that have it keep it.
pub async fn archive(change: &mut Change<'_>, slug: &str) -> Result<License, DomainError> {
    let from = (LifecycleState::Published, "NotPublished");
    step(
        change,
        Operation("ArchiveLicense"),
        slug,
        from,
        LifecycleState::Archived,
    )
    .await
}

/// Makes an archived license available again.
pub async fn unarchive(change: &mut Change<'_>, slug: &str) -> Result<License, DomainError> {
    let from = (LifecycleState::Archived, "NotArchived");
    step(
        change,
        Operation("UnarchiveLicense"),
        slug,
        from,
        LifecycleState::Published,
    )
    .await
}

async fn step(
    change: &mut Change<'_>,
    operation: Operation,
    slug: &str,
    (from, reason): (LifecycleState, &'static str),
    to: LifecycleState,
) -> Result<License, DomainError> {
    let row = find_for_update(change, operation, slug).await?;
    let state = stored(&row)?;
    if state != from {
        let detail = format!("the license is {}, not {}", state.as_str(), from.as_str());
        return Err(operation.conflict(reason, detail));
    }
    check_default(operation, row.is_default, to)?;
    let row = Model {
        lifecycle_state: to.as_str().to_owned(),
        ..row
    };
    update(change, row).await
}
