//! Tells where a schema has schemas, in every draft.

use serde_json::{Map, Value};

/// What a schema within a schema is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// The value that the schema around it is applied to.
    Same,
    /// Members, items or names of that value.
    Part,
}

/// What the value of a keyword holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A schema; or schemas, in an array.
    Schemas,
    /// Schemas by name. Of `dependencies`, some are lists of names, which are not schemas.
    Named,
}

/// Keywords whose schemas are applied when the schema is.
const APPLICATORS: [(&str, Subject, Shape); 20] = [
    ("allOf", Subject::Same, Shape::Schemas),
    ("anyOf", Subject::Same, Shape::Schemas),
    ("oneOf", Subject::Same, Shape::Schemas),
    ("not", Subject::Same, Shape::Schemas),
    ("if", Subject::Same, Shape::Schemas),
    ("then", Subject::Same, Shape::Schemas),
    ("else", Subject::Same, Shape::Schemas),
    ("dependentSchemas", Subject::Same, Shape::Named),
    ("dependencies", Subject::Same, Shape::Named),
    ("properties", Subject::Part, Shape::Named),
    ("patternProperties", Subject::Part, Shape::Named),
    ("additionalProperties", Subject::Part, Shape::Schemas),
    ("propertyNames", Subject::Part, Shape::Schemas),
    ("unevaluatedProperties", Subject::Part, Shape::Schemas),
    ("items", Subject::Part, Shape::Schemas),
    ("prefixItems", Subject::Part, Shape::Schemas),
    ("additionalItems", Subject::Part, Shape::Schemas),
    ("contains", Subject::Part, Shape::Schemas),
    ("unevaluatedItems", Subject::Part, Shape::Schemas),
    ("contentSchema", Subject::Part, Shape::Schemas),
];

/// Keywords whose schemas are applied when something refers to them.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// A schema within a schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inner<'s> {
    /// The keyword that has it.
    pub(super) keyword: &'static str,
    /// Its name or number there, if it is one of many.
    pub(super) key: Key<'s>,
    /// What it is applied to.
    pub(super) subject: Subject,
    /// The schema.
    pub(super) schema: &'s Value,
}

/// Which one of a keyword's schemas.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key<'s> {
    Only,
    Item(usize),
    Name(&'s str),
}

/// The schemas that are applied when `schema` is.
pub(super) fn applied(schema: &Map<String, Value>) -> impl Iterator<Item = Inner<'_>> {
    APPLICATORS.iter().flat_map(move |(keyword, subject, shape)| {
        let value = schema.get(*keyword);
        value
            .into_iter()
            .flat_map(move |value| inner(keyword, *subject, *shape, value))
    })
}

/// The schemas that are only referred to.
pub(super) fn defined(schema: &Map<String, Value>) -> impl Iterator<Item = Inner<'_>> {
    DEFINITIONS.iter().flat_map(move |keyword| {
        let value = schema.get(*keyword);
        value
            .into_iter()
            .flat_map(move |value| inner(keyword, Subject::Part, Shape::Named, value))
    })
}

/// Whether the library goes over the schemas for the same value again, to learn which members they have seen.
pub(super) fn looks_again(schema: &Map<String, Value>) -> bool {
    schema.contains_key("unevaluatedProperties") || schema.contains_key("unevaluatedItems")
}

fn inner<'s>(
    keyword: &'static str,
    subject: Subject,
    shape: Shape,
    value: &'s Value,
) -> Box<dyn Iterator<Item = Inner<'s>> + 's> {
    let made = move |key, schema| Inner {
        keyword,
        key,
        subject,
        schema,
    };
    match (shape, value) {
        (Shape::Schemas, Value::Array(items)) => Box::new(
            items
                .iter()
                .enumerate()
                .map(move |(index, schema)| made(Key::Item(index), schema)),
        ),
        (Shape::Schemas, schema) => Box::new(std::iter::once(made(Key::Only, schema))),
        (Shape::Named, Value::Object(map)) => Box::new(
            map.iter()
                .filter(|(_, schema)| !schema.is_array())
                .map(move |(name, schema)| made(Key::Name(name), schema)),
        ),
        (Shape::Named, _) => Box::new(std::iter::empty()),
    }
}
