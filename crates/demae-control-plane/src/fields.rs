//! Checks of single fields.

use demae_event::Faults;
use serde_json::{Map, Value};

use crate::model::json;

/// Longest display name, in characters.
pub(crate) const MAX_NAME: usize = 255;
/// Longest description, in characters (kaiten.md, sections 2.3 and 2.8).
pub const MAX_DESCRIPTION: usize = 500;
/// Longest JSON of an object whose content is the caller's own (metadata and the like), in bytes.
pub const MAX_OBJECT: usize = 16_384;

/// A display name: not blank, without control characters, at most [`MAX_NAME`] characters.
pub(crate) fn check_name(faults: &mut Faults, location: &str, name: &str) {
    check_text(faults, location, name, MAX_NAME);
}

/// A short text: not blank, without control characters (Postgres cannot store NUL), at most `max` characters.
pub(crate) fn check_text(faults: &mut Faults, location: &str, text: &str, max: usize) {
    if text.trim().is_empty() {
        faults.push_value(location, "must not be blank", text);
    } else if text.chars().count() > max {
        faults.push(location, format!("must not be longer than {max} characters"));
    } else if text.chars().any(char::is_control) {
        faults.push(location, "must not contain control characters");
    }
}

/// The same for a text that may be left out.
pub(crate) fn check_optional(faults: &mut Faults, location: &str, text: Option<&str>, max: usize) {
    if let Some(text) = text {
        check_text(faults, location, text, max);
    }
}

/// A text for people: of several lines if need be, possibly empty, at most [`MAX_DESCRIPTION`] characters.
pub(crate) fn check_description(faults: &mut Faults, location: &str, text: &str) {
    if text.chars().count() > MAX_DESCRIPTION {
        faults.push(
            location,
            format!("must not be longer than {MAX_DESCRIPTION} characters"),
        );
    } else if text.contains('\0') {
        faults.push(location, "must not contain the character U+0000");
    }
}

/// An object whose content is the caller's own: at most [`MAX_OBJECT`] bytes, and nothing that a database cannot store.
pub(crate) fn check_object(faults: &mut Faults, location: &str, object: &Map<String, Value>) {
    check_object_of(faults, location, object, MAX_OBJECT);
}

/// The same for one of at most `longest` bytes.
pub(crate) fn check_object_of(
    faults: &mut Faults,
    location: &str,
    object: &Map<String, Value>,
    longest: usize,
) {
    if json(object).len() > longest {
        faults.push(
            location,
            format!("must not be longer than {longest} bytes as JSON"),
        );
    } else if object
        .iter()
        .any(|(key, value)| key.contains('\0') || has_nul(value))
    {
        faults.push(location, "must not contain the character U+0000");
    }
}

/// Whether a text in it has the character U+0000. Nesting is bounded by whoever read the JSON.
pub(crate) fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(object) => object
            .iter()
            .any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
