//! What a check found.

use serde::Serialize;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Health {
    Good,
    Warning,
    Fault,
}

/// One check's result.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) health: Health,
    pub(super) detail: String,
    /// What to do; empty if nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn good(check: &'static str, detail: impl Into<String>) -> Self {
        Self {
            check,
            health: Health::Good,
            detail: detail.into(),
            remedy: String::new(),
        }
    }

    pub(super) fn warning(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            check,
            health: Health::Warning,
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn fault(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            check,
            health: Health::Fault,
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }
}
