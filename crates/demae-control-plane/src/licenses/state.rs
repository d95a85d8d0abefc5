//! What state a license can be in.

use demae_event::Faults;
use demae_store::{StoreError, entity::license::Model};

use super::{LicenseInput, LifecycleState};
use crate::{DomainError, error::Operation};

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
            Err(operation.immutable("LifecycleStateNotSettable", "lifecycle_state"))
        }
        (Some(state), Some(other)) if state != other => {
            let mut faults = Faults::new();
            faults.push("is_active", "says something else than lifecycleState");
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
