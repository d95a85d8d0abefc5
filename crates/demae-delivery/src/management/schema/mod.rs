//! Checks a JSON Schema that a user wrote, and an example against the schema, with bounded work.
//!
//! # Guarantees
//! [`check`] takes at most a few hundred milliseconds of one thread and a few megabytes, whatever the texts are. It reads
//! no file and no network.
//!
//! # Design
//! A schema of a few kilobytes can stand for more schemas than a computer can visit: 37 definitions that each refer twice
//! to the next one stand for 2^37 schemas. A thread that compiles or applies such a schema cannot be stopped. Therefore the
//! work is counted before the library does it, and refused beyond a budget:
//!
//! - [`size`] measures the text: bytes, values, depth, references.
//! - [`expansion`] walks the schema as the library compiles it, with every reference followed, and compiles the patterns
//!   with the linear `regex` engine under a size limit.
//! - [`cost`] walks the schema over the example as the library validates it, without deciding anything.
//!
//! Both walks take every branch, and stop when their budget is spent. So they cost at most their budget.
//!
//! # Limits
//! References are JSON pointers within the schema (`#/$defs/address`). Anchors are not followed, nested `$id` and dynamic
//! references are refused. `format` is not asserted.
//! The caller runs [`check`] outside transactions and runtime threads.

mod cost;
mod expansion;
mod keyword;
mod pattern;
mod refusal;
mod size;

use demae_event::Faults;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use self::{refusal::Refusal, size::Measured};
pub use cost::{MAX_VALIDATION_DEPTH, MAX_VALIDATION_WORK};
pub use expansion::{MAX_EXPANDED_DEPTH, MAX_EXPANDED_SCHEMAS};
pub use pattern::{MAX_PATTERN, MAX_PATTERN_SIZE, MAX_PATTERNS};
pub use size::{MAX_DEPTH, MAX_DOCUMENT, MAX_REFERENCES, MAX_VALUES};

/// Longest reason given for a fault, in characters: the library's errors repeat the text that they are about.
const MAX_REASON: usize = 300;
/// Work up to which the first difference between example and schema is described. The description of a failed `anyOf`
/// holds a description per branch.
const MAX_DESCRIBED_WORK: u64 = 20_000;
/// Stack for the deepest schema, in bytes.
const STACK: usize = 32 * 1024 * 1024;
/// Stack that is left at most when [`STACK`] is allocated, in bytes.
const RED_ZONE: usize = STACK / 2;

/// Notes what is wrong with a schema and an example, each an object of at most [`MAX_DOCUMENT`] bytes.
pub fn check(faults: &mut Faults, schema: Option<&Value>, example: Option<&Value>) {
    stacker::maybe_grow(RED_ZONE, STACK, || {
        let schema = schema.map(|schema| (schema, note(faults, "schema", size::measure(schema))));
        let example = example.filter(|example| note(faults, "example", size::measure(example)).is_some());
        if let Some((schema, Some(measured))) = schema {
            check_schema(faults, (schema, &measured), example);
        }
    });
}

fn check_schema(faults: &mut Faults, (schema, measured): (&Value, &Measured), example: Option<&Value>) {
    let Some(()) = note(faults, "schema", expansion::walk(schema, measured)) else {
        return;
    };
    let validator = match compile(schema) {
        Ok(validator) => validator,
        Err(reason) => return faults.push("schema", format!("is not a JSON Schema: {reason}")),
    };
    if let Some(example) = example
        && let Some(work) = note(faults, "example", cost::walk(schema, example))
        && !validator.is_valid(example)
    {
        let message = describe(&validator, example, work);
        faults.push("example", message);
    }
}

/// Nothing is fetched: this build of the library knows no network and no files.
fn compile(schema: &Value) -> Result<Validator, String> {
    let patterns = PatternOptions::regex()
        .size_limit(MAX_PATTERN_SIZE)
        .dfa_size_limit(pattern::MAX_DFA_SIZE);
    jsonschema::options()
        .with_pattern_options(patterns)
        .should_validate_formats(false)
        .build(schema)
        .map_err(|error| shorten(&error.to_string()))
}

fn describe(validator: &Validator, example: &Value, work: u64) -> String {
    let error = (work <= MAX_DESCRIBED_WORK)
        .then(|| validator.validate(example).err())
        .flatten();
    match error {
        Some(error) => format!("does not follow the schema: {}", shorten(&error.to_string())),
        None => "does not follow the schema".to_owned(),
    }
}

fn note<T>(faults: &mut Faults, document: &str, result: Result<T, Refusal>) -> Option<T> {
    result
        .map_err(|Refusal { pointer, reason }| {
            faults.push(format!("{document}{}", shorten(&pointer)), reason);
        })
        .ok()
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_REASON) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
