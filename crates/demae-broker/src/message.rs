//! What travels.

use std::fmt;

use bytes::Bytes;

/// The longest identity in bytes: AMQP 0-9-1's short string.
const MAX_ID: usize = 255;

/// A message: who it is, and its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    id: String,
    body: Bytes,
}

/// The identity does not fit into the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message's identity has at most {MAX_ID} bytes, not {0}")]
pub struct MessageIdError(usize);

impl Message {
    /// A message whose `id` has at most 255 bytes. For events it is the event's UUID.
    pub fn new(id: impl Into<String>, body: impl Into<Bytes>) -> Result<Self, MessageIdError> {
        let id = id.into();
        if id.len() > MAX_ID {
            return Err(MessageIdError(id.len()));
        }
        Ok(Self {
            id,
            body: body.into(),
        })
    }

    /// As it came from a broker, which knows no longer identities.
    pub(crate) fn received(id: String, body: Bytes) -> Self {
        Self { id, body }
    }

    /// The identity its publisher gave; empty if it gave none (other publishers need not).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The content.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// Without the content: it is a customer's, and has no place in a log.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("bytes", &self.body.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_fits_into_the_protocol() {
        assert!(Message::new("x".repeat(255), "").is_ok());
        assert_eq!(Message::new("x".repeat(256), ""), Err(MessageIdError(256)));
    }

    #[test]
    fn a_log_shows_no_content() {
        let message = Message::new("17", "secret").unwrap();
        assert_eq!(format!("{message:?}"), r#"Message { id: "17", bytes: 6 }"#);
    }
}
