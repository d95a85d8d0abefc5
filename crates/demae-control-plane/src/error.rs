//! Why something was refused.

use demae_event::{Code, Fault, Faults};
use demae_store::StoreError;

/// A refused operation. Nothing of it was done, and its transaction must be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
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
    /// The caller may not give away what it does not have.
    #[error("{detail}")]
    Forbidden {
        /// The reason's name.
        code: Code,
        /// What is missing.
        detail: String,
    },
    /// The input is wrong at these places; a change of something immutable is one of them.
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

impl DomainError {
    /// The reason's name; none if the database failed.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::NotFound { code, .. }
            | Self::Conflict { code, .. }
            | Self::Forbidden { code, .. }
            | Self::Invalid { code, .. } => Some(*code),
            Self::Store(_) => None,
        }
    }
}

/// Makes the errors of one operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation(pub(crate) &'static str);

impl Operation {
    pub(crate) fn code(self, reason: &'static str) -> Code {
        Code {
            operation: self.0,
            reason,
        }
    }

    pub(crate) fn not_found(self, resource: &'static str) -> DomainError {
        DomainError::NotFound {
            code: self.code("NotFound"),
            resource,
        }
    }

    pub(crate) fn conflict(self, reason: &'static str, detail: impl Into<String>) -> DomainError {
        DomainError::Conflict {
            code: self.code(reason),
            detail: detail.into(),
        }
    }

    pub(crate) fn forbidden(self, reason: &'static str, detail: impl Into<String>) -> DomainError {
        DomainError::Forbidden {
            code: self.code(reason),
            detail: detail.into(),
        }
    }

    pub(crate) fn immutable(self, reason: &'static str, location: &str) -> DomainError {
        let mut faults = Faults::new();
        faults.push(location, "cannot be changed");
        DomainError::Invalid {
            code: self.code(reason),
            faults: faults.into_vec(),
        }
    }

    /// Refuses if there are faults.
    pub(crate) fn check(self, faults: Faults) -> Result<(), DomainError> {
        if faults.is_empty() {
            Ok(())
        } else {
            Err(DomainError::Invalid {
                code: self.code("Invalid"),
                faults: faults.into_vec(),
            })
        }
    }
}
