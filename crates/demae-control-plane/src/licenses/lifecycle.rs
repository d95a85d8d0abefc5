//! The states of a license, and how it moves between them.
//!
//! ```text
//!  DRAFT ──publish──▶ PUBLISHED ──archive──▶ ARCHIVED
//!                         ▲──────unarchive──────┘
//! ```
//!
//! Each move is a `LICENSE_UPDATE`, because it changes what is shown. A move that does not begin where the license is, is a
//! 409 with the reason that the official SDK documents, and so is archiving the default.

use demae_event::Faults;
use demae_store::{StoreError, entity::license::Model};

use super::{License, LicenseInput, LifecycleState, find_for_update, update};
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

/// The state in a row.
pub(super) fn stored(row: &Model) -> Result<LifecycleState, StoreError> {
    LifecycleState::find(&row.lifecycle_state).ok_or(StoreError::Unreadable("a license's state"))
}

/// The state that a new license begins in.
pub(super) fn initial(operation: Operation, input: &LicenseInput) -> Result<LifecycleState, DomainError> {
    let of_active = input.is_active.map(|active| {
        if active {
            LifecycleState::Published
        } else {
            LifecycleState::Draft
        }
    });
    match (input.lifecycle_state, of_active) {
        (Some(LifecycleState::Archived), _) => {
            Err(operation.immutable("LifecycleStateNotSettable", "body.lifecycleState"))
        }
        (Some(state), Some(other)) if state != other => {
            let mut faults = Faults::new();
            faults.push("body.isActive", "says something else than lifecycleState");
            operation.check(faults).map(|()| state)
        }
        (state, other) => Ok(state.or(other).unwrap_or(LifecycleState::Published)),
    }
}

/// The state after a replacement that may say `isActive`.
pub(super) fn moved(state: LifecycleState, is_active: Option<bool>) -> LifecycleState {
    match (is_active, state) {
        (Some(true), _) => LifecycleState::Published,
        (Some(false), LifecycleState::Published) => LifecycleState::Archived,
        (Some(false) | None, state) => state,
    }
}

/// Refuses a default that is not published.
pub(super) fn check_default(
    operation: Operation,
    is_default: bool,
    state: LifecycleState,
) -> Result<(), DomainError> {
    if is_default && state != LifecycleState::Published {
        let detail = format!(
            "the default must be published, and the license would be {}",
            state.as_str()
        );
        return Err(operation.conflict("DefaultMustBePublished", detail));
    }
    Ok(())
}
