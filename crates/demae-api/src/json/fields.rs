//! Taking a body apart, gathering every fault: [`demae_fields`], as a surface reads bodies.

use serde_json::Value;

pub use demae_fields::{Field, Fields, Node, Read, Unknown, text_fault};

use crate::problem::Problem;

/// An input that the surface `S` reads from a request's body. `S` is a type of the surface's crate: the input itself is a
/// domain's, and each surface reads it in a form of its own.
pub trait ReadBody<S>: Sized {
    /// What becomes of keys that the reader does not ask for.
    const UNKNOWN: Unknown = Unknown::Refuse;

    /// Reads every field; `None` if a fault was noted.
    fn read(fields: &mut Fields<'_>) -> Option<Self>;
}

/// Reads an object.
pub fn read<S, T: ReadBody<S>>(body: &Value) -> Result<T, Problem> {
    demae_fields::read(body, "body", T::UNKNOWN, T::read).map_err(Problem::invalid)
}

/// The same with a reader at hand; keys that it does not ask for are refused.
pub fn read_with<T>(body: &Value, read: impl FnOnce(&mut Fields<'_>) -> Option<T>) -> Result<T, Problem> {
    demae_fields::read(body, "body", Unknown::Refuse, read).map_err(Problem::invalid)
}
