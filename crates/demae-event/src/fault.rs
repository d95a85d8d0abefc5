//! Why something is refused: a stable code, and what is wrong with an input, place by place.
//!
//! Whoever checks an input gathers every fault before answering, so that its author hears of all of them at once. A
//! place is written the way problem documents do (kaiten.md, section 4): `body.eventNames[0]`, `query.limit`.

use std::fmt;

use serde_json::Value;

/// A stable name for a refusal, `CreateCustomer.SlugConflict`: callers branch on it (kaiten.md, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code {
    /// What was asked for.
    pub operation: &'static str,
    /// Why it was refused.
    pub reason: &'static str,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.operation, self.reason)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub location: String,
    /// What, for a person to read, so that "`location` `message`" is a sentence.
    pub message: String,
    /// The value that was given, unless it is a secret or large.
    pub value: Option<Value>,
}

/// Gathers faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// None so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something is wrong at `location`.
    pub fn push(&mut self, location: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault {
            location: location.into(),
            message: message.into(),
            value: None,
        });
    }

    /// The same, showing the value.
    pub fn push_value(
        &mut self,
        location: impl Into<String>,
        message: impl Into<String>,
        value: impl Into<Value>,
    ) {
        self.0.push(Fault {
            location: location.into(),
            message: message.into(),
            value: Some(value.into()),
        });
    }

    /// Notes the error of `result` at `location`; what is left is the value, if there is one.
    pub fn take<T, E: ToString>(&mut self, location: &str, result: Result<T, E>) -> Option<T> {
        result
            .map_err(|error| self.push(location, error.to_string()))
            .ok()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The faults, in the order in which they were found.
    pub fn into_vec(self) -> Vec<Fault> {
        self.0
    }
}
