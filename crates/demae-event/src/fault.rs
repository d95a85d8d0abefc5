//! Why something is refused: a stable code, and what is wrong with an input, place by place.
//!
//! Whoever checks an input gathers every fault before answering, so that its author hears of all of them at once.
//!
//! # Places
//! Rules name a place by the fields of their own input, not by those of any surface: a surface writes the place in its own
//! form. The fields' names are in snake case, outermost first: `event_names[0]`, `targetings[2].rule`. A key that the author
//! of the input chose stands as a JSON string in brackets, [`keyed`]: `headers["X-Team"]`. A place within a JSON document
//! goes on as a JSON pointer: `schema/$defs/a`. The empty place is the input as a whole. [`steps`] takes a place apart.

use std::{borrow::Cow, fmt};

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

/// One step of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'l> {
    /// A field of the input.
    Field(&'l str),
    /// An item of a list: its number.
    Item(&'l str),
    /// A key that the input's author chose.
    Key(Cow<'l, str>),
    /// The way into a JSON document.
    Pointer(&'l str),
}

/// The place of a key below the field at `location`.
pub fn keyed(location: &str, key: &str) -> String {
    format!("{location}[{}]", Value::from(key))
}

/// The place of a field below `location`, which may be empty.
pub fn below(location: &str, field: &str) -> String {
    if location.is_empty() {
        field.to_owned()
    } else {
        format!("{location}.{field}")
    }
}

/// The steps of a place. What cannot be read as one ends them, as a field.
pub fn steps(location: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rest = location;
    while !rest.is_empty() {
        let (step, after) = first_step(rest).unwrap_or((Step::Field(rest), ""));
        steps.push(step);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    steps
}

fn first_step(rest: &str) -> Option<(Step<'_>, &str)> {
    if rest.starts_with('/') {
        return Some((Step::Pointer(rest), ""));
    }
    let Some(inner) = rest.strip_prefix('[') else {
        let end = rest.find(['.', '[', '/']).unwrap_or(rest.len());
        return (end > 0).then(|| (Step::Field(&rest[..end]), &rest[end..]));
    };
    if inner.starts_with('"') {
        let mut keys = serde_json::Deserializer::from_str(inner).into_iter::<String>();
        let key = keys.next()?.ok()?;
        let after = inner[keys.byte_offset()..].strip_prefix(']')?;
        return Some((Step::Key(Cow::Owned(key)), after));
    }
    let (number, after) = inner.split_once(']')?;
    Some((Step::Item(number), after))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_apart_into_the_steps_that_it_was_made_of() {
        let field = Step::Field;
        assert_eq!(steps(""), []);
        assert_eq!(
            steps("targetings[2].rule"),
            [field("targetings"), Step::Item("2"), field("rule")]
        );
        assert_eq!(
            steps("schema/$defs/a.b[0]"),
            [field("schema"), Step::Pointer("/$defs/a.b[0]")]
        );
        for key in ["X-Team", "a.b", "q\"]", "", "\u{1}é/"] {
            let place = below(&keyed("integrations", key), "external_id");
            let expected = [field("integrations"), Step::Key(key.into()), field("external_id")];
            assert_eq!(steps(&place), expected, "{place}");
        }
        // Not a place, and still no reason to fail.
        assert_eq!(steps("a[\"b"), [field("a"), field("[\"b")]);
        assert_eq!(steps("..").len(), 1);
    }
}
