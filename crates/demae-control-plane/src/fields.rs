//! The kinds of fields that resources share: how each is read, checked and described.

use demae_event::Faults;
use demae_fields::{
    Kind, Node, RefOrSchema,
    schema::{any_object, text},
};
use serde_json::{Map, Value};

use crate::{model::json, slug};

/// Longest display name, in characters.
pub const MAX_NAME: usize = 255;
/// Longest description, in characters (kaiten.md, sections 2.3 and 2.8).
pub const MAX_DESCRIPTION: usize = 500;
/// Longest JSON of an object whose content is the caller's own (metadata and the like), in bytes.
pub const MAX_OBJECT: usize = 16_384;

/// A display name.
pub const NAME: Text = Text(MAX_NAME);
/// An object whose content is the caller's own.
pub const OBJECT: Object = Object(MAX_OBJECT);

/// A short text of at most so many characters: not blank, on one line.
#[derive(Debug, Clone, Copy)]
pub struct Text(pub usize);

impl Kind<String> for Text {
    fn read(&self, node: Node<'_>) -> Option<String> {
        node.string_with(1..=self.0, |text| {
            if text.trim().is_empty() {
                Err("must not be blank".to_owned())
            } else if text.chars().any(char::is_control) {
                Err("must not contain control characters".to_owned())
            } else {
                Ok(())
            }
        })
    }

    fn schema(&self) -> RefOrSchema {
        text(Some(1), Some(self.0), Some(r"\S"))
    }

    fn check(&self, value: &String, at: &str, faults: &mut Faults) {
        check_text(faults, at, value, self.0);
    }
}

/// A text for people, which may be empty and of several lines: at most [`MAX_DESCRIPTION`] characters.
#[derive(Debug, Clone, Copy)]
pub struct Description;

impl Kind<String> for Description {
    fn read(&self, node: Node<'_>) -> Option<String> {
        node.string(0..=MAX_DESCRIPTION)
    }

    fn schema(&self) -> RefOrSchema {
        text(None, Some(MAX_DESCRIPTION), None)
    }

    fn check(&self, value: &String, at: &str, faults: &mut Faults) {
        check_description(faults, at, value);
    }
}

/// A text of at most so many characters, of which the rules say more.
#[derive(Debug, Clone, Copy)]
pub struct AnyText(pub usize);

impl Kind<String> for AnyText {
    fn read(&self, node: Node<'_>) -> Option<String> {
        node.string(0..=self.0)
    }

    fn schema(&self) -> RefOrSchema {
        text(None, Some(self.0), None)
    }
}

/// A name in URLs.
#[derive(Debug, Clone, Copy)]
pub struct Slug;

impl Kind<String> for Slug {
    fn read(&self, node: Node<'_>) -> Option<String> {
        node.string_with(0..=usize::MAX, |text| {
            slug::check(text).map_err(|error| error.to_string())
        })
    }

    fn schema(&self) -> RefOrSchema {
        text(
            Some(slug::MIN_LENGTH),
            Some(slug::MAX_LENGTH),
            Some(slug::PATTERN),
        )
    }

    fn check(&self, value: &String, at: &str, faults: &mut Faults) {
        faults.take(at, slug::check(value));
    }
}

/// The slug that something has: whether it is that one is a rule.
#[derive(Debug, Clone, Copy)]
pub struct OwnSlug;

impl Kind<String> for OwnSlug {
    fn read(&self, node: Node<'_>) -> Option<String> {
        node.string(0..=255)
    }

    fn schema(&self) -> RefOrSchema {
        text(None, None, None)
    }
}

/// An object whose content is the caller's own: at most so many bytes as JSON, and nothing that a database cannot store.
#[derive(Debug, Clone, Copy)]
pub struct Object(pub usize);

impl Kind<Map<String, Value>> for Object {
    fn read(&self, node: Node<'_>) -> Option<Map<String, Value>> {
        node.any_object()
    }

    fn schema(&self) -> RefOrSchema {
        any_object()
    }

    fn check(&self, value: &Map<String, Value>, at: &str, faults: &mut Faults) {
        check_object_of(faults, at, value, self.0);
    }
}

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
