//! Why something was refused.

use demae_event::{Code, Fault, Faults};
use demae_store::StoreError;

/// A refused operation. Nothing of it was done, and its transaction must be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// There is no such thing, or it is another organization's.
    #[error("there is no such {resource}")]
    NotFound {
        /// The reason's name.
        code: Code,
        /// What there is none of.
        resource: &'static str,
    },
    /// What is there stands in the way.
    #[error("{detail}")]
    Conflict {
        /// The reason's name.
        code: Code,
        /// What stands in the way.
        detail: String,
    },
    /// The input is wrong at these places.
    #[error("the input has {} fault(s)", faults.len())]
    Invalid {
        /// The reason's name.
        code: Code,
        /// All of them.
        faults: Vec<Fault>,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes the errors of one operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation(pub(super) &'static str);

impl Operation {
    fn code(self, reason: &'static str) -> Code {
        Code {
            operation: self.0,
            reason,
        }
    }

    pub(super) fn not_found(self, resource: &'static str) -> ManagementError {
        ManagementError::NotFound {
            code: self.code("NotFound"),
            resource,
        }
    }

    pub(super) fn conflict(self, reason: &'static str, detail: impl Into<String>) -> ManagementError {
        ManagementError::Conflict {
            code: self.code(reason),
            detail: detail.into(),
        }
    }

    pub(super) fn invalid(self, location: &str, message: impl Into<String>) -> ManagementError {
        let mut faults = Faults::new();
        faults.push(location, message);
        ManagementError::Invalid {
            code: self.code("Invalid"),
            faults: faults.into_vec(),
        }
    }

    /// Refuses if there are faults.
    pub(super) fn check(self, faults: Faults) -> Result<(), ManagementError> {
        if faults.is_empty() {
            Ok(())
        } else {
            Err(ManagementError::Invalid {
                code: self.code("Invalid"),
                faults: faults.into_vec(),
            })
        }
    }
}
