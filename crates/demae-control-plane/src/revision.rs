//! Which state of a resource somebody saw, so that two editors cannot silently overwrite each other.
//!
//! A revision is a digest of the resource as it is shown, and nothing else: whoever has seen the same document has seen
//! the same revision, and no change of what is shown, by whatever way, leaves it as it was. On the wire it is an entity
//! tag (RFC 9110, section 8.8.3).

use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Bytes of the digest that are kept: enough that no two states of one resource ever meet.
const LENGTH: usize = 16;

/// The revision of a resource as it is shown: lowercase hexadecimal digits.
pub fn of(model: &impl Serialize) -> String {
    #[expect(
        clippy::expect_used,
        reason = "only maps with keys that are not text cannot be written as JSON"
    )]
    let document = serde_json::to_vec(model).expect("a model is JSON");
    let digest = Sha256::digest(document);
    digest[..LENGTH].iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// On which state a change insists (`If-Match`: RFC 9110, section 13.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Expected {
    /// Whatever is there.
    #[default]
    Anything,
    /// One of these revisions; none of them if the list is empty.
    OneOf(Vec<String>),
}

impl Expected {
    /// Whether a resource in this state may be changed.
    pub fn accepts(&self, model: &impl Serialize) -> bool {
        match self {
            Self::Anything => true,
            Self::OneOf(revisions) => revisions.contains(&of(model)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn follows_what_is_shown() {
        let (before, after) = (json!({"name": "a"}), json!({"name": "b"}));
        assert_eq!(of(&before), of(&before.clone()));
        assert_ne!(of(&before), of(&after));
        assert_eq!(of(&before).len(), 2 * LENGTH);
    }

    #[test]
    fn accepts_what_was_seen() {
        let seen = json!({"name": "a"});
        assert!(Expected::Anything.accepts(&seen));
        assert!(Expected::OneOf(vec!["other".to_owned(), of(&seen)]).accepts(&seen));
        assert!(!Expected::OneOf(vec![of(&json!({"name": "b"}))]).accepts(&seen));
        assert!(!Expected::OneOf(Vec::new()).accepts(&seen));
    }
}
