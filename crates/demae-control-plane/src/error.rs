//! Why something was refused.

use demae_event::{Code, Fault, Faults};
use demae_store::StoreError;

/// So many users of something that cannot be deleted are named; read one more to know whether there are others.
pub(crate) const MAX_USERS_NAMED: usize = 5;

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
    /// The resource is no longer as the caller saw it.
    #[error("the resource was changed since it was read")]
    Outdated {
        /// The reason's name.
        code: Code,
    },
    /// The input is well formed, and what it asks for cannot be done to this resource.
    #[error("{detail}")]
    Unsupported {
        /// The reason's name.
        code: Code,
        /// Why not.
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
            | Self::Outdated { code }
            | Self::Unsupported { code, .. }
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

    /// Something that the input refers to is not there, or is another organization's.
    pub(crate) fn missing(self, reason: &'static str, resource: &'static str) -> DomainError {
        DomainError::NotFound {
            code: self.code(reason),
            resource,
        }
    }

    pub(crate) fn conflict(self, reason: &'static str, detail: impl Into<String>) -> DomainError {
        DomainError::Conflict {
            code: self.code(reason),
            detail: detail.into(),
        }
    }

    /// The slug that the caller asked for is another one's.
    pub(crate) fn slug_taken(self, slug: &str) -> DomainError {
        self.conflict("SlugConflict", format!("the slug {slug:?} is taken"))
    }

    /// It cannot be deleted while these use it. `users` is what uses it in words, with the slugs of the first
    /// [`MAX_USERS_NAMED`] and one more if there are more.
    pub(crate) fn in_use(self, resource: &str, users: &[(&str, Vec<String>)]) -> DomainError {
        let words: Vec<String> = users
            .iter()
            .filter(|(_, slugs)| !slugs.is_empty())
            .map(|(kind, slugs)| {
                let named = &slugs[..slugs.len().min(MAX_USERS_NAMED)];
                let more = if slugs.len() > named.len() {
                    " and others"
                } else {
                    ""
                };
                format!("{kind} {}{more}", named.join(", "))
            })
            .collect();
        let detail = format!("the {resource} is in use by {}", words.join("; "));
        self.conflict("InUseConflict", detail)
    }

    pub(crate) fn outdated(self) -> DomainError {
        DomainError::Outdated {
            code: self.code("PreconditionFailed"),
        }
    }

    pub(crate) fn unsupported(self, reason: &'static str, detail: impl Into<String>) -> DomainError {
        DomainError::Unsupported {
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

    /// The input is wrong at this one place.
    pub(crate) fn invalid(self, location: &str, message: &str) -> DomainError {
        let mut faults = Faults::new();
        faults.push(location, message);
        DomainError::Invalid {
            code: self.code("Invalid"),
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
