//! Making signatures.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::Signer as _;
use hmac::Mac as _;

use super::{HmacKey, SigningKey};

/// `v1,` and the base64 of 32 bytes; the usual entry.
const HMAC_ENTRY_LENGTH: usize = 3 + 44;

/// The value of the signature header: an entry per key, in the order of `keys`, which is the current key first.
///
/// `unix_seconds` is the time of this attempt, `message_id` the value of the id header. The id must hold no `.`, or
/// the parts of what is signed could be told apart in more than one way (specification, "Signature scheme"); engine
/// ids never do.
pub fn sign<'key>(
    keys: impl IntoIterator<Item = &'key SigningKey>,
    message_id: &str,
    unix_seconds: i64,
    body: &[u8],
) -> String {
    let keys = keys.into_iter();
    let mut header = String::with_capacity(keys.size_hint().0 * (HMAC_ENTRY_LENGTH + 1));
    let content = Content {
        message_id,
        timestamp: &unix_seconds.to_string(),
        body,
    };
    for key in keys {
        if !header.is_empty() {
            header.push(' ');
        }
        match key {
            SigningKey::Hmac(key) => {
                header.push_str("v1,");
                STANDARD.encode_string(content.hmac(key), &mut header);
            }
            SigningKey::Ed25519(key) => {
                header.push_str("v1a,");
                STANDARD.encode_string(key.sign(&content.joined()).to_bytes(), &mut header);
            }
        }
    }
    header
}

/// What a signature covers.
pub(super) struct Content<'a> {
    pub(super) message_id: &'a str,
    /// As it stands in the header: the verifier signs the text that was sent, not its own idea of the number.
    pub(super) timestamp: &'a str,
    pub(super) body: &'a [u8],
}

impl Content<'_> {
    /// The HMAC-SHA256 of the content, which is not joined for it: bodies are up to megabytes long.
    pub(super) fn hmac(&self, key: &HmacKey) -> [u8; 32] {
        let mut state = key.state();
        for part in self.parts() {
            state.update(part);
        }
        state.finalize().into_bytes().into()
    }

    /// The content in one piece, which Ed25519 needs because it reads it twice.
    pub(super) fn joined(&self) -> Vec<u8> {
        self.parts().concat()
    }

    fn parts(&self) -> [&[u8]; 5] {
        [
            self.message_id.as_bytes(),
            b".",
            self.timestamp.as_bytes(),
            b".",
            self.body,
        ]
    }
}
