//! Why a schema or an example is refused.

/// Why a schema or an example is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// JSON pointer into the document.
    pub(super) pointer: String,
    /// A sentence whose subject is the place.
    pub(super) reason: String,
}

impl Refusal {
    pub(super) fn new(pointer: &str, reason: impl Into<String>) -> Self {
        Self {
            pointer: pointer.to_owned(),
            reason: reason.into(),
        }
    }
}
