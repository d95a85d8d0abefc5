//! What several resources share.

use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// The schema of a field that is one of these words.
pub(super) fn word_schema(words: &'static [&'static str]) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words.iter().copied()))
        .build()
}
