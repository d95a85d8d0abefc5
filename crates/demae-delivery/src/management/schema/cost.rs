//! Counts the work of validating an example, by walking the schema over it without deciding anything.

use serde_json::{Map, Value};

use super::{
    Refusal,
    expansion::{LOOKS, resolve},
    keyword::{self, Inner, Key, Subject},
};

/// Work of validating an example: about one unit per schema and value that it is applied to, one per compared value, and
/// [`PATTERN_WORK`] per byte that a pattern reads.
pub const MAX_VALIDATION_WORK: u64 = 500_000;
/// Schemas applied within each other while an example is validated.
pub const MAX_VALIDATION_DEPTH: usize = 512;

/// Units per byte that a pattern reads: the engine may have to follow each state of the compiled pattern.
const PATTERN_WORK: u64 = 16;
/// Comparisons of an item with others, where items must differ.
const COMPARISONS: u64 = 16;
/// Bytes of text in a unit.
const TEXT_BYTES: u64 = 16;

/// The work of applying `schema` to `example`; refused if it is too much.
pub(super) fn walk(schema: &Value, example: &Value) -> Result<u64, Refusal> {
    let mut walk = Walk {
        root: schema,
        left: MAX_VALIDATION_WORK,
    };
    match walk.apply(schema, example, 0) {
        Ok(()) => Ok(MAX_VALIDATION_WORK - walk.left),
        Err(TooMuch::Work) => Err(Refusal::new("", "takes too much work to compare with the schema")),
        Err(TooMuch::Depth) => Err(Refusal::new("", "is too deep for a schema that refers to itself")),
    }
}

enum TooMuch {
    Work,
    Depth,
}

struct Walk<'s> {
    root: &'s Value,
    left: u64,
}

impl Walk<'_> {
    fn spend(&mut self, units: u64) -> Result<(), TooMuch> {
        self.left = self.left.checked_sub(units).ok_or(TooMuch::Work)?;
        Ok(())
    }

    fn apply(&mut self, schema: &Value, value: &Value, depth: usize) -> Result<(), TooMuch> {
        if depth >= MAX_VALIDATION_DEPTH {
            return Err(TooMuch::Depth);
        }
        self.spend(1)?;
        let Value::Object(schema) = schema else {
            return Ok(());
        };
        self.spend(schema.len() as u64)?;
        self.compare(schema, value)?;
        let target = schema.get("$ref").and_then(Value::as_str);
        if let Some((target, _)) = target.and_then(|reference| resolve(self.root, reference)) {
            self.apply(target, value, depth + 1)?;
        }
        let looks = if keyword::looks_again(schema) { LOOKS } else { 1 };
        for inner in keyword::applied(schema) {
            match inner.subject {
                Subject::Same => {
                    for _ in 0..looks {
                        self.apply(inner.schema, value, depth + 1)?;
                    }
                }
                Subject::Part => self.apply_to_parts(&inner, value, depth + 1)?,
            }
        }
        Ok(())
    }

    /// What keywords without schemas cost.
    fn compare(&mut self, schema: &Map<String, Value>, value: &Value) -> Result<(), TooMuch> {
        for keyword in ["enum", "const", "required", "dependentRequired"] {
            if let Some(listed) = schema.get(keyword) {
                self.spend(weight(listed))?;
            }
        }
        if schema.get("uniqueItems").is_some() && value.is_array() {
            self.spend(weight(value) * COMPARISONS)?;
        }
        match value {
            Value::String(text) if schema.contains_key("pattern") => {
                self.spend((1 + text.len() as u64) * PATTERN_WORK)
            }
            Value::String(text) => self.spend(text.len() as u64 / TEXT_BYTES),
            Value::Object(members) => {
                let patterns = schema.get("patternProperties").and_then(Value::as_object);
                let patterns = patterns.map_or(0, Map::len) as u64;
                let bytes: u64 = members.keys().map(|name| 1 + name.len() as u64).sum();
                // Twice: for the members of the pattern, and for `additionalProperties`.
                self.spend(members.len() as u64 + 2 * patterns * bytes * PATTERN_WORK)
            }
            _ => Ok(()),
        }
    }

    fn apply_to_parts(&mut self, inner: &Inner<'_>, value: &Value, depth: usize) -> Result<(), TooMuch> {
        match (value, inner.keyword, inner.key) {
            (Value::Object(members), "properties", Key::Name(name)) => {
                self.spend(1)?;
                members
                    .get(name)
                    .map_or(Ok(()), |member| self.apply(inner.schema, member, depth))
            }
            (Value::Object(members), "propertyNames", _) => members
                .keys()
                .try_for_each(|name| self.apply(inner.schema, &Value::String(name.clone()), depth)),
            (Value::Object(members), ..) => members
                .values()
                .try_for_each(|member| self.apply(inner.schema, member, depth)),
            (Value::Array(items), ..) => items
                .iter()
                .try_for_each(|item| self.apply(inner.schema, item, depth)),
            _ => self.spend(1),
        }
    }
}

/// Values in `value`, and its text.
fn weight(value: &Value) -> u64 {
    1 + match value {
        Value::String(text) => text.len() as u64 / TEXT_BYTES,
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| 1 + name.len() as u64 / TEXT_BYTES + weight(member))
            .sum(),
        _ => 0,
    }
}
