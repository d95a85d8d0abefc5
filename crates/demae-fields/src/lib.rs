//! Declares the fields of a resource once.
//!
//! A field of an input used to be stated in its reader, in its check, in the struct that described it in the document,
//! and in the domain's own struct. [`Input`] derives the first three from the fourth; [`Shown`] describes what `serde`
//! writes. What is a rule (one field against another, uniqueness, states) is no field and stays written out.
//!
//! Guarantees:
//! - Reading gathers every fault at its place, up to [`MAX_FAULTS`] of them, instead of stopping at the first.
//! - The reader, the check and the schema of a field are those of its one [`Kind`].
//! - Places in faults of readers have the names of the body; those of checks are the neutral ones of the domain
//!   ([`demae_event::fault`]).
//!
//! # Why no other crate
//!
//! `serde` stops at the first fault. `garde` and `validator` check what was read already: a wrong type or a missing field
//! hides every other fault. `deserr` does gather faults at their places while it reads. It knows no bounds, writes no
//! schema, and does not tell null from a field that was left out, so that each field would still be stated twice.
//! `utoipa` writes schemas and reads nothing; its types are what the schemas here are made of.
//!
//! The crate knows no HTTP, no SQL, and no resource.

// The generated code names this crate.
#[cfg(test)]
extern crate self as demae_fields;

mod kind;
mod read;
pub mod schema;

pub use demae_event::{Faults, fault::below};
pub use demae_fields_derive::{Input, Shown};
pub use kind::{Entries, FromNode, Kind, List, Natural, Whole};
pub use read::{Field, Fields, MAX_FAULTS, Node, Read, Unknown, read, text_fault};
pub use schema::{Components, Described, RefOrSchema, Shape};
pub use serde_json::json;
pub use utoipa;

use schema::ObjectBuilder;

/// What a caller sends: an object whose fields are declared.
///
/// `#[derive(Input)]` takes these attributes, all of them optional:
///
/// | on the struct | says |
/// |---|---|
/// | `name = "CreateX"` | its name in the document, if it is not the struct's |
/// | `snake_case` | names in the body are as in the struct, not in camel case |
/// | `example = json!(…)` | an example for the document |
///
/// | on a field | says |
/// |---|---|
/// | `kind = …` | the [`Kind`] that reads it, an expression; [`Natural`] if left out |
/// | `rename = "type"` | its name in the body |
/// | `default` | left out or null, it is the type's default |
/// | `not_null` | an `Option` that may be left out, but is not null |
/// | `flatten` | the fields of another input, in this place |
/// | `described(x = "…")` | of a flattened input: what is said of its field `x` here instead |
///
/// An `Option` may be left out or null, which mean the same. An `Option<Option<T>>` tells them apart: `None` where it was
/// left out, `Some(None)` where it is null. Comments are the document's descriptions.
///
/// ```
/// use demae_fields::{Input, Unknown, Whole, json};
///
/// /// A dish that is ordered.
/// #[derive(Input)]
/// struct Order {
///     /// How many.
///     #[input(kind = Whole(1..=9))]
///     how_many: i32,
///     /// Whether it is hot.
///     spicy: Option<bool>,
/// }
///
/// let faults = demae_fields::read(&json!({"spicy": 1, "sauce": "soy"}), "body", Unknown::Refuse, Order::read);
/// let places: Vec<String> = faults.err().unwrap_or_default().into_iter().map(|fault| fault.location).collect();
/// assert_eq!(places, ["body.howMany", "body.spicy", "body.sauce"]);
/// let order = demae_fields::read(&json!({"howMany": 2}), "body", Unknown::Refuse, Order::read);
/// assert!(order.is_ok_and(|order| order.how_many == 2 && order.spicy.is_none()));
/// ```
///
/// A declaration that says nothing sensible does not compile:
///
/// ```compile_fail
/// #[derive(demae_fields::Input)]
/// struct Order {
///     #[input(not_null)]
///     spicy: bool,
/// }
/// ```
///
/// ```compile_fail
/// #[derive(demae_fields::Input)]
/// struct Order {
///     #[input(default, not_null)]
///     spicy: Option<bool>,
/// }
/// ```
///
/// ```compile_fail
/// #[derive(demae_fields::Input)]
/// struct Order {
///     #[input(limit = 3)]
///     spicy: bool,
/// }
/// ```
pub trait Input: Sized {
    /// Reads every field; `None` if a fault was noted.
    fn read(fields: &mut Fields<'_>) -> Option<Self>;

    /// Notes what is wrong with the fields, each by itself, below the place `at`, which may be empty.
    fn check_at(&self, at: &str, faults: &mut Faults);

    /// Adds the fields to a schema.
    fn properties(object: ObjectBuilder) -> ObjectBuilder;

    /// The components that the fields refer to.
    fn nested(into: &mut Components);

    /// What is wrong with the fields, each by itself.
    fn check(&self) -> Faults {
        let mut faults = Faults::new();
        self.check_at("", &mut faults);
        faults
    }
}

#[cfg(test)]
mod tests;
