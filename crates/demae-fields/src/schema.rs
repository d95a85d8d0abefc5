//! Schemas of fields, made of `utoipa`'s types.

use std::{collections::BTreeMap, ops::RangeInclusive};

use demae_event::Timestamp;
use serde_json::{Map, Value};
pub use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::{
    KnownFormat, Ref, RefOr, Schema, SchemaFormat,
    schema::{ArrayBuilder, Object, OneOfBuilder, SchemaType, Type},
};
use uuid::Uuid;

/// A schema, or where one is.
pub type RefOrSchema = RefOr<Schema>;
/// Schemas by name.
pub type Components = Vec<(String, RefOrSchema)>;

/// A type of which the document has one description.
pub trait Shape {
    /// How a value is described in the place where it stands.
    fn shape() -> RefOrSchema;

    /// The components that this refers to, each once.
    fn components(into: &mut Components) {
        let _ = into;
    }
}

/// An object that is shown; `#[derive(Shown)]` implements it.
///
/// `Shown` goes by `serde`'s own attributes: `rename_all = "camelCase"`, `rename`, `flatten`, and `skip_serializing_if`,
/// which means that the field may be left out and is never null. Besides, on the struct: `#[shown(name = "X")]`, its name
/// in the document if it is not the struct's. On a field: `#[shown(example = …)]`, `#[shown(schema = …)]` where the schema
/// does not follow from the type, and `#[shown(described_as = Type)]`. Comments are the document's descriptions.
///
/// ```compile_fail
/// #[derive(serde::Serialize, demae_fields::Shown)]
/// #[serde(rename_all = "UPPERCASE")]
/// struct Dish {
///     name: String,
/// }
/// ```
pub trait Described {
    /// Adds the fields to a schema.
    fn properties(object: ObjectBuilder) -> ObjectBuilder;
}

fn plain(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

fn formatted(kind: Type, format: KnownFormat) -> ObjectBuilder {
    plain(kind).format(Some(SchemaFormat::KnownFormat(format)))
}

macro_rules! shapes {
    ($($type:ty => $schema:expr;)+) => {
        $(impl Shape for $type {
            fn shape() -> RefOrSchema {
                $schema.into()
            }
        })+
    };
}

shapes! {
    String => plain(Type::String);
    bool => plain(Type::Boolean);
    i32 => formatted(Type::Integer, KnownFormat::Int32);
    i64 => formatted(Type::Integer, KnownFormat::Int64);
    u32 => formatted(Type::Integer, KnownFormat::Int32).minimum(Some(0));
    f64 => formatted(Type::Number, KnownFormat::Double);
    Uuid => formatted(Type::String, KnownFormat::Uuid);
    Timestamp => formatted(Type::String, KnownFormat::DateTime);
    Map<String, Value> => plain(Type::Object);
    Value => ObjectBuilder::new().schema_type(SchemaType::AnyValue);
}

impl<T: Shape> Shape for Option<T> {
    fn shape() -> RefOrSchema {
        or_null(T::shape())
    }

    fn components(into: &mut Components) {
        T::components(into);
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn shape() -> RefOrSchema {
        array(T::shape())
    }

    fn components(into: &mut Components) {
        T::components(into);
    }
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    fn shape() -> RefOrSchema {
        map(T::shape())
    }

    fn components(into: &mut Components) {
        T::components(into);
    }
}

/// An object, to which properties are added.
pub fn object(description: &str) -> ObjectBuilder {
    plain(Type::Object).description(described_by(description))
}

/// Adds a property.
pub fn property(
    object: ObjectBuilder,
    name: &str,
    required: bool,
    schema: RefOrSchema,
    description: &str,
) -> ObjectBuilder {
    let object = object.property(name, described(schema, description));
    if required { object.required(name) } else { object }
}

/// The same object, with another description of a property that it has.
pub fn redescribed(object: ObjectBuilder, name: &str, description: &str) -> ObjectBuilder {
    let mut object = object.build();
    if let Some(schema) = object.properties.get_mut(name) {
        *schema = described(schema.clone(), description);
    }
    object.into()
}

/// A component of the document.
pub fn reference(name: &str) -> RefOrSchema {
    RefOr::Ref(Ref::from_schema_name(name))
}

/// A list of such values.
pub fn array(items: RefOrSchema) -> RefOrSchema {
    ArrayBuilder::new().items(items).into()
}

/// Such values by keys that somebody chose.
pub fn map(values: RefOrSchema) -> RefOrSchema {
    plain(Type::Object)
        .additional_properties(Some(values))
        .property_names(Some(plain(Type::String).build()))
        .into()
}

/// A text with bounds and a pattern, where it has them.
pub fn text(least: Option<usize>, most: Option<usize>, pattern: Option<&str>) -> RefOrSchema {
    plain(Type::String)
        .min_length(least)
        .max_length(most)
        .pattern(pattern)
        .into()
}

/// One of these words.
pub fn words(words: &[&str]) -> RefOrSchema {
    plain(Type::String)
        .enum_values(Some(words.iter().copied()))
        .into()
}

/// An object of which nothing is said.
pub fn any_object() -> RefOrSchema {
    plain(Type::Object).into()
}

/// A number within bounds.
pub fn bounded(schema: RefOrSchema, least: i64, most: i64) -> RefOrSchema {
    changed(schema, |object| {
        object.minimum = Some(utoipa::Number::from(least));
        object.maximum = Some(utoipa::Number::from(most));
    })
}

/// A list of so many items; where there may be none, the least number is not worth saying.
pub fn sized(schema: RefOrSchema, length: RangeInclusive<usize>) -> RefOrSchema {
    match schema {
        RefOr::T(Schema::Array(mut array)) => {
            array.min_items = Some(*length.start()).filter(|least| *least > 0);
            array.max_items = Some(*length.end());
            RefOr::T(Schema::Array(array))
        }
        other => other,
    }
}

/// With an example of the value.
pub fn example(schema: RefOrSchema, example: impl Into<Value>) -> RefOrSchema {
    changed(schema, |object| object.examples = vec![example.into()])
}

fn changed(schema: RefOrSchema, change: impl FnOnce(&mut Object)) -> RefOrSchema {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            change(&mut object);
            RefOr::T(Schema::Object(object))
        }
        other => other,
    }
}

/// The same, or null. A list of words, and a choice between schemas, stay as they are: leaving such a field out is how
/// none of them is said.
pub fn or_null(schema: RefOrSchema) -> RefOrSchema {
    let with_null = |schema_type: &mut SchemaType| {
        if let SchemaType::Type(kind) = schema_type {
            *schema_type = SchemaType::Array(vec![kind.clone(), Type::Null]);
        }
    };
    match schema {
        RefOr::T(Schema::Object(mut object)) if object.enum_values.is_none() => {
            with_null(&mut object.schema_type);
            RefOr::T(Schema::Object(object))
        }
        RefOr::T(Schema::Array(mut array)) => {
            with_null(&mut array.schema_type);
            RefOr::T(Schema::Array(array))
        }
        RefOr::Ref(reference) => OneOfBuilder::new().item(plain(Type::Null)).item(reference).into(),
        other @ RefOr::T(_) => other,
    }
}

/// With a description. A list of words, and a choice between schemas, speak for themselves.
fn described(schema: RefOrSchema, description: &str) -> RefOrSchema {
    match schema {
        RefOr::Ref(mut reference) => {
            description.clone_into(&mut reference.description);
            RefOr::Ref(reference)
        }
        RefOr::T(Schema::Object(mut object)) if object.enum_values.is_none() => {
            object.description = described_by(description);
            RefOr::T(Schema::Object(object))
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.description = described_by(description);
            RefOr::T(Schema::Array(array))
        }
        other @ RefOr::T(_) => other,
    }
}

fn described_by(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
