//! What an endpoint asks for, and under which name it gets it.
//!
//! A [`Subscription`] is one of
//!
//! - a name: the seed's (`CUSTOMER_CREATION`), the later one (`CUSTOMER_CREATED`), or an application's own;
//! - a type: `com.kaiten.customer.v1.created`, or an application's own;
//! - a family of names: `CUSTOMER_*`, a `SCREAMING_SNAKE` prefix up to an underscore;
//! - everything: `*`.
//!
//! An endpoint has a [`SubscriptionSet`] of them, never an empty one. For an event it answers with the name under
//! which the event is delivered, or that it is not wanted. The rules:
//!
//! 1. The most telling subscription that matches decides: a name before a type, a type before a family, a family
//!    before everything.
//! 2. A later name, or a family that only later names belong to (`FEATURE_FLAG_*`), asks for the later name. All else
//!    asks for the event's own name, which for a catalogue event is the seed's; if both are asked for with equal
//!    weight, the seed's wins.
//! 3. Operational events (`ENDPOINT_FAILING` …) are wanted only by those who ask for them by name, by type or as
//!    `ENDPOINT_*`. An endpoint that takes everything should not be told about its neighbours.
//!
//! Names that are in no catalogue are well-formed subscriptions, too: an application may register its own types later.
//! [`Subscription::is_known`] tells them apart for those who want to refuse them.

mod set;

#[cfg(test)]
mod properties;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::catalogue;

pub use set::{MAX_SUBSCRIPTIONS, SubscriptionSet, SubscriptionSetError};

/// Longest name, type or family, in bytes; Svix's limit for event type names (svix.md, section 1.7).
pub const MAX_NAME_LENGTH: usize = 256;

/// One entry of an endpoint's `eventNames`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscription {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Everything,
    Family,
    Exact,
}

/// Why a text is no subscription, or no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseSubscriptionError {
    /// Nothing at all.
    #[error("must not be empty")]
    Empty,
    /// Longer than [`MAX_NAME_LENGTH`] bytes.
    #[error("must not be longer than {MAX_NAME_LENGTH} bytes, but is {0} long")]
    TooLong(usize),
    /// A character outside `A-Z a-z 0-9 _ . -`.
    #[error("must consist of letters, digits, '_', '.' and '-', but holds {0:?}")]
    InvalidCharacter(char),
    /// A star that is neither alone nor at the end of a family's prefix.
    #[error(
        "a '*' may only stand alone or after a prefix of capital letters that ends in '_', such as CUSTOMER_*"
    )]
    MisplacedStar,
}

impl Subscription {
    /// The text it was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether any event of the catalogue, operational ones included, could match it.
    pub fn is_known(&self) -> bool {
        match self.kind {
            Kind::Everything => true,
            Kind::Exact => catalogue::find(&self.text).is_some(),
            Kind::Family => catalogue::all()
                .iter()
                .chain(catalogue::operational())
                .any(|event| {
                    event.name.starts_with(self.prefix()) || event.later_name.starts_with(self.prefix())
                }),
        }
    }

    /// The text without a family's star.
    fn prefix(&self) -> &str {
        self.text.trim_end_matches('*')
    }
}

/// Whether `text` can be the name or the type of an event: 1 to [`MAX_NAME_LENGTH`] of `A-Z a-z 0-9 _ . -`.
pub fn check_name(text: &str) -> Result<(), ParseSubscriptionError> {
    if text.is_empty() {
        return Err(ParseSubscriptionError::Empty);
    }
    if text.len() > MAX_NAME_LENGTH {
        return Err(ParseSubscriptionError::TooLong(text.len()));
    }
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-');
    match text.chars().find(|character| !allowed(*character)) {
        Some(character) => Err(ParseSubscriptionError::InvalidCharacter(character)),
        None => Ok(()),
    }
}

fn classify(text: &str) -> Result<Kind, ParseSubscriptionError> {
    if text == "*" {
        return Ok(Kind::Everything);
    }
    if text.len() > MAX_NAME_LENGTH {
        return Err(ParseSubscriptionError::TooLong(text.len()));
    }
    match text.strip_suffix('*') {
        Some(prefix) if is_family_prefix(prefix) => Ok(Kind::Family),
        _ if text.contains('*') => Err(ParseSubscriptionError::MisplacedStar),
        _ => check_name(text).map(|()| Kind::Exact),
    }
}

fn is_family_prefix(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.ends_with('_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

impl FromStr for Subscription {
    type Err = ParseSubscriptionError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        classify(text).map(|kind| Self {
            text: text.to_owned(),
            kind,
        })
    }
}

impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Subscription {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Subscription {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        classify(&text)
            .map(|kind| Self { text, kind })
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_types_families_and_everything() {
        for text in [
            "*",
            "CUSTOMER_*",
            "A_*",
            "V2_ORDERS_*",
            "CUSTOMER_CREATION",
            "com.kaiten.customer.v1.created",
            "order.shipped-v2",
            "-",
            &"x".repeat(256),
        ] {
            assert_eq!(
                text.parse::<Subscription>().map(|read| read.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn says_what_is_wrong_with_anything_else() {
        use ParseSubscriptionError::{Empty, InvalidCharacter, MisplacedStar, TooLong};
        for (text, error) in [
            ("", Empty),
            (" ", InvalidCharacter(' ')),
            ("CUSTOMER CREATION", InvalidCharacter(' ')),
            ("a/b", InvalidCharacter('/')),
            ("größe", InvalidCharacter('ö')),
            ("**", MisplacedStar),
            ("_*", MisplacedStar),
            ("CUSTOMER*", MisplacedStar),
            ("CUST*_CREATION", MisplacedStar),
            ("*_CREATION", MisplacedStar),
            ("customer_*", MisplacedStar),
            ("com.kaiten.*", MisplacedStar),
            ("2FA_*", MisplacedStar),
            (&"x".repeat(257), TooLong(257)),
            (&format!("{}_*", "X".repeat(255)), TooLong(257)),
        ] {
            assert_eq!(text.parse::<Subscription>(), Err(error), "{text}");
        }
    }

    #[test]
    fn knows_what_the_catalogue_holds() {
        for (text, known) in [
            ("*", true),
            ("FEATUREFLAG_*", true),
            ("FEATURE_FLAG_*", true),
            ("ENDPOINT_*", true),
            ("ORDER_*", false),
            ("com.demae.endpoint.v1.failing", true),
            ("CUSTOMER_CREATE", false),
        ] {
            assert_eq!(text.parse::<Subscription>().unwrap().is_known(), known, "{text}");
        }
    }
}
