//! Checks of single fields.

use demae_event::Faults;

/// Longest display name, in characters.
pub(crate) const MAX_NAME: usize = 255;

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
