//! `{"type": …, "value": …}`: what is granted of an entitlement (kaiten.md, section 2.4).

use demae_api::json::fields::{Fields, Node};
use demae_control_plane::{Amount, EntitlementType, EntitlementValue};
use serde_json::{Number, Value};
use utoipa::{
    ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{Object, ObjectBuilder, OneOfBuilder, Type},
    },
};

use super::common::word_schema;

/// A value that is granted: what `type` says it is.
#[derive(Debug, ToSchema)]
#[schema(as = EntitlementValue)]
#[serde(untagged)]
#[expect(
    dead_code,
    reason = "describes the value; the domain's own type is read and shown"
)]
pub(crate) enum EntitlementValueBody {
    /// For entitlements of the type NUMBER.
    Number(NumberValueBody),
    /// For entitlements of the type BOOLEAN.
    Boolean(BooleanValueBody),
    /// For entitlements of the type CONFIG.
    Object(ObjectValueBody),
}

/// An amount.
#[derive(Debug, ToSchema)]
#[schema(as = NumberValue)]
#[expect(
    dead_code,
    reason = "describes the value; the domain's own type is read and shown"
)]
pub(crate) struct NumberValueBody {
    /// Says that it is an amount.
    #[schema(schema_with = number_word)]
    r#type: String,
    /// From 0, with up to nine decimal places, or -1 for no limit.
    #[schema(schema_with = granted_amount)]
    value: Number,
}

/// A switch.
#[derive(Debug, ToSchema)]
#[schema(as = BooleanValue)]
#[expect(
    dead_code,
    reason = "describes the value; the domain's own type is read and shown"
)]
pub(crate) struct BooleanValueBody {
    /// Says that it is a switch.
    #[schema(schema_with = boolean_word)]
    r#type: String,
    /// On or off.
    value: bool,
}

/// A configuration.
#[derive(Debug, ToSchema)]
#[schema(as = ObjectValue)]
#[expect(
    dead_code,
    reason = "describes the value; the domain's own type is read and shown"
)]
pub(crate) struct ObjectValueBody {
    /// Says that it is a configuration.
    #[schema(schema_with = object_word)]
    r#type: String,
    /// Whatever it may be; at most 16,384 bytes as JSON.
    #[schema(value_type = Object)]
    value: Value,
}

const NUMBER: &str = "number";
const BOOLEAN: &str = "boolean";
const OBJECT: &str = "object";

fn number_word() -> Object {
    word_schema(&[NUMBER])
}

fn boolean_word() -> Object {
    word_schema(&[BOOLEAN])
}

fn object_word() -> Object {
    word_schema(&[OBJECT])
}

fn granted_amount() -> RefOr<Schema> {
    let unlimited = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .enum_values(Some([-1]));
    let limited = ObjectBuilder::new()
        .schema_type(Type::Number)
        .minimum(Some(0))
        .maximum(Some(1_000_000_000_000_000_i64));
    OneOfBuilder::new().item(limited).item(unlimited).into()
}

/// A value of any type.
pub(super) fn read_value(node: Node<'_>) -> Option<EntitlementValue> {
    node.object(|fields: &mut Fields<'_>| {
        let kind = fields
            .field("type")
            .required(|node| node.one_of(&[NUMBER, BOOLEAN, OBJECT]));
        let value = fields.field("value");
        match kind?.as_str() {
            NUMBER => value.required(read_amount).map(EntitlementValue::number),
            BOOLEAN => value
                .required(Node::boolean)
                .map(|value| EntitlementValue::Boolean { value }),
            _ => value
                .required(Node::any_object)
                .map(|value| EntitlementValue::Object { value }),
        }
    })
}

/// A number of up to nine decimal places.
pub(super) fn read_amount(node: Node<'_>) -> Option<Amount> {
    node.number_with(|number| Amount::from_number(number).map_err(|error| error.to_string()))
}

/// What is answered for [`EntitlementType`].
pub(super) fn entitlement_type() -> Object {
    word_schema(EntitlementType::WORDS)
}
