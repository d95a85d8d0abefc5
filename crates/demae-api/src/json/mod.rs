//! Reading JSON from outside.
//!
//! [`check`] is one pass over the text for what the parser would let through and the rest of the system would not;
//! [`parse`] adds the parser; [`fields`] takes a parsed body apart and gathers every fault on the way, instead of
//! stopping at the first as a derived deserializer would.

pub mod fields;
mod scan;

use serde_json::Value;

pub use scan::MAX_DEPTH;

use scan::check;

use crate::problem::{Problem, ProblemKind};

/// The body as UTF-8 text that has passed [`check`].
pub fn text(body: &[u8]) -> Result<&str, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| malformed("The body is not UTF-8."))?;
    check(text).map_err(|error| Problem::invalid_at("body", error.to_string()))?;
    Ok(text)
}

/// The parsed body.
pub fn parse(body: &[u8]) -> Result<Value, Problem> {
    let text = text(body)?;
    serde_json::from_str(text).map_err(|error| not_json(&error))
}

/// The problem of a text that is no JSON.
pub fn not_json(error: &serde_json::Error) -> Problem {
    malformed(format!(
        "The body is not JSON: line {}, column {}.",
        error.line(),
        error.column()
    ))
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::Malformed, "Request.Malformed", detail)
}
