//! Measures a document before anything is done with it.

use serde_json::Value;

use super::Refusal;

/// Longest JSON Schema or example, in bytes of JSON.
pub const MAX_DOCUMENT: usize = 64 * 1024;
/// Values in a schema or example: objects, arrays, texts, numbers, booleans and nulls.
pub const MAX_VALUES: usize = 10_000;
/// Objects and arrays in each other.
pub const MAX_DEPTH: usize = 64;
/// `$ref`s written in a schema.
pub const MAX_REFERENCES: usize = 1_000;

/// What a document holds.
#[derive(Debug, Default)]
pub(super) struct Measured {
    values: usize,
    /// `$ref`s.
    pub(super) references: usize,
}

/// Refuses a document that is too large, too deep, or has too many values or references.
pub(super) fn measure(document: &Value) -> Result<Measured, Refusal> {
    let refuse = |reason: String| Err(Refusal::new("", reason));
    let mut measured = Measured::default();
    // Before it is written as text, which goes as deep as the document does.
    if !count(document, 1, &mut measured) {
        return refuse(format!("must not be nested deeper than {MAX_DEPTH} levels"));
    }
    if measured.values > MAX_VALUES {
        return refuse(format!("must not hold more than {MAX_VALUES} values"));
    }
    if measured.references > MAX_REFERENCES {
        return refuse(format!("must not hold more than {MAX_REFERENCES} references"));
    }
    if document.to_string().len() > MAX_DOCUMENT {
        return refuse(format!("must not be longer than {MAX_DOCUMENT} bytes"));
    }
    Ok(measured)
}

/// Counts everything; `false` if the document is too deep.
fn count(value: &Value, depth: usize, measured: &mut Measured) -> bool {
    measured.values += 1;
    match value {
        Value::Object(_) | Value::Array(_) if depth > MAX_DEPTH => false,
        Value::Object(map) => map.iter().all(|(key, value)| {
            measured.references += usize::from(key == "$ref" && value.is_string());
            count(value, depth + 1, measured)
        }),
        Value::Array(items) => items.iter().all(|item| count(item, depth + 1, measured)),
        _ => true,
    }
}
