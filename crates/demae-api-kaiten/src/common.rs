//! Shapes that several resources share.

use demae_api::json::fields::Node;
use demae_control_plane::{Scope, ScopeSet, User, fields::MAX_DESCRIPTION, slug};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::schema::{Object, ObjectBuilder, Type},
};
use uuid::Uuid;

/// Longest display name, in characters.
pub(super) const MAX_NAME: usize = 255;

/// Who did something.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserBody {
    /// The service account's id.
    id: Uuid,
    /// Its name at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
}

impl From<User> for UserBody {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            name: user.name,
        }
    }
}

/// A display name.
pub(super) fn read_name(node: Node<'_>) -> Option<String> {
    read_text(node, MAX_NAME)
}

/// A short text: not blank, on one line.
pub(super) fn read_text(node: Node<'_>, longest: usize) -> Option<String> {
    node.string_with(1..=longest, |text| {
        if text.trim().is_empty() {
            Err("must not be blank".to_owned())
        } else if text.chars().any(char::is_control) {
            Err("must not contain control characters".to_owned())
        } else {
            Ok(())
        }
    })
}

/// A text for people, which may be empty and of several lines.
pub(super) fn read_description(node: Node<'_>) -> Option<String> {
    node.string(0..=MAX_DESCRIPTION)
}

/// One of the words of a field, and what it stands for.
pub(super) fn read_word<T>(
    node: Node<'_>,
    words: &[&str],
    find: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    node.one_of(words).and_then(|word| find(&word))
}

/// The schema of such a field.
pub(super) fn word_schema(words: &'static [&'static str]) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words.iter().copied()))
        .build()
}

/// A name in URLs.
pub(super) fn read_slug(node: Node<'_>) -> Option<String> {
    node.string_with(0..=usize::MAX, |text| {
        slug::check(text).map_err(|error| error.to_string())
    })
}

/// A list of scopes; what they are is the domain's to say.
pub(super) fn read_scopes(node: Node<'_>) -> Option<Vec<String>> {
    const MAX_SCOPES: usize = 64;
    node.array(0..=MAX_SCOPES, |node| {
        node.string_with(0..=usize::MAX, |text| match text.parse::<Scope>() {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        })
    })
}

/// Scopes as they are shown.
pub(super) fn show_scopes(scopes: &ScopeSet) -> Vec<String> {
    scopes.iter().map(|scope| scope.to_string()).collect()
}
