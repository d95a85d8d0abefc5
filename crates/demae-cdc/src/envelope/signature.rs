//! Shows that a relay of Demae wrote an envelope.
//!
//! # Design
//! The signature is the last member of the document, `demaesignature`: an attribute of CloudEvents that other readers pass
//! over. It is the HMAC-SHA256 of all bytes before it. So it travels wherever the document does.
//!
//! # Limits
//! Whoever reads a signed document can publish it again. That is a repetition, which its event's ID tells.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

const MEMBER: &[u8] = b",\"demaesignature\":\"";
const END: &[u8] = b"\"}";
/// Characters of 32 bytes in base64.
const TEXT: usize = 43;

/// The shortest key, in bytes.
pub const MIN_KEY: usize = 32;

/// What relays and workers share.
#[derive(Clone)]
pub struct EnvelopeKey(Hmac<Sha256>);

/// Without the key.
impl fmt::Debug for EnvelopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvelopeKey")
    }
}

/// The key is shorter than [`MIN_KEY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has less than {MIN_KEY} characters")]
pub struct ShortKey;

impl EnvelopeKey {
    /// From a text of at least [`MIN_KEY`] bytes.
    pub fn new(text: &str) -> Result<Self, ShortKey> {
        if text.len() < MIN_KEY {
            return Err(ShortKey);
        }
        // Every length is allowed.
        Hmac::new_from_slice(text.as_bytes())
            .map(Self)
            .map_err(|_| ShortKey)
    }

    /// The document that [`encode`](super::encode) wrote, signed.
    pub fn sign(&self, document: &Bytes) -> Bytes {
        let open = document.strip_suffix(b"}").unwrap_or(document);
        let signature = self.of(open).finalize().into_bytes();
        let text = URL_SAFE_NO_PAD.encode(signature);
        [open, MEMBER, text.as_bytes(), END].concat().into()
    }

    /// Whether these bytes are a document that [`Self::sign`] made with the same key.
    pub fn has_signed(&self, bytes: &[u8]) -> bool {
        let found = bytes.strip_suffix(END).and_then(|rest| {
            let (rest, text) = rest.split_at_checked(rest.len().checked_sub(TEXT)?)?;
            Some((rest.strip_suffix(MEMBER)?, URL_SAFE_NO_PAD.decode(text).ok()?))
        });
        // Takes the same time whatever the signature is.
        found.is_some_and(|(open, signature)| self.of(open).verify_slice(&signature).is_ok())
    }

    fn of(&self, bytes: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_signed_document_is_known_and_every_change_of_it_shows() {
        let key = EnvelopeKey::new(KEY).unwrap();
        let signed = key.sign(&Bytes::from_static(br#"{"id":"1","data":{"a":1}}"#));
        let read: serde_json::Value = serde_json::from_slice(&signed).unwrap();
        assert_eq!(read["data"]["a"], 1);
        assert!(key.has_signed(&signed));
        for place in 0..signed.len() {
            let mut changed = signed.to_vec();
            changed[place] ^= 1;
            assert!(!key.has_signed(&changed), "{place}");
            assert!(!key.has_signed(&signed[place + 1..]), "{place}");
            assert!(!key.has_signed(&signed[..place]), "{place}");
        }
        let other = EnvelopeKey::new(&KEY.to_uppercase()).unwrap();
        assert!(!other.has_signed(&signed));
    }

    #[test]
    fn a_key_is_long_and_not_shown() {
        assert_eq!(EnvelopeKey::new(&KEY[1..]).unwrap_err(), ShortKey);
        assert_eq!(format!("{:?}", EnvelopeKey::new(KEY)), "Ok(EnvelopeKey)");
    }
}
