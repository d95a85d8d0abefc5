//! Secrets at rest.
//!
//! Signing secrets and endpoints' own headers are sealed with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) under the
//! key of `DEMAE_SECRET_KEY`. What a secret belongs to is authenticated with it, so that a sealed value copied to
//! another row does not open there.
//!
//! While the key is exchanged a vault also holds previous keys: it seals with the current key and opens with any of them
//! ([`crate::repository::sealed`] re-seals the stored values).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    Key, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use rand::RngCore;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::StoreError;

const NONCE_LENGTH: usize = 24;
/// First byte of every sealed value, so that the form can change later.
const VERSION: u8 = 1;
/// Shorter texts are refused as keys: 32 characters of base64 hold 192 bits.
pub const MIN_KEY_LENGTH: usize = 32;

/// Seals and opens secrets.
#[derive(Clone)]
pub struct Vault {
    current: XChaCha20Poly1305,
    previous: Vec<XChaCha20Poly1305>,
}

/// Keys besides the current one that a vault holds at most.
pub const MAX_PREVIOUS_KEYS: usize = 4;

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

/// The text is too short to be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret key must have at least {MIN_KEY_LENGTH} characters")]
pub struct WeakKeyError;

impl Vault {
    /// From the text of `DEMAE_SECRET_KEY`, any text of at least [`MIN_KEY_LENGTH`] characters.
    pub fn from_text(text: &str) -> Result<Self, WeakKeyError> {
        Ok(Self {
            current: cipher(text)?,
            previous: Vec::new(),
        })
    }

    /// Opens what was sealed with the key of `text`, too. Keys beyond [`MAX_PREVIOUS_KEYS`] are left out.
    pub fn with_previous(mut self, text: &str) -> Result<Self, WeakKeyError> {
        let cipher = cipher(text)?;
        if self.previous.len() < MAX_PREVIOUS_KEYS {
            self.previous.push(cipher);
        }
        Ok(self)
    }

    /// Whether values sealed with another key than the current one can be opened.
    pub fn has_previous(&self) -> bool {
        !self.previous.is_empty()
    }

    /// A new random key in the form that [`Vault::from_text`] takes.
    pub fn generate_text() -> Zeroizing<String> {
        let mut key = Zeroizing::new([0_u8; 32]);
        rand::rng().fill_bytes(&mut *key);
        Zeroizing::new(STANDARD.encode(*key))
    }

    /// Seals `secret` for the row `owner`.
    pub fn seal(&self, owner: &[u8], secret: &[u8]) -> Vec<u8> {
        let mut nonce = [0_u8; NONCE_LENGTH];
        rand::rng().fill_bytes(&mut nonce);
        #[expect(clippy::expect_used, reason = "fails only for secrets beyond 256 GiB")]
        let sealed = self
            .current
            .encrypt(
                XNonce::from_slice(&nonce),
                Payload {
                    msg: secret,
                    aad: owner,
                },
            )
            .expect("a secret is short");
        [&[VERSION][..], &nonce, &sealed].concat()
    }

    /// Opens what [`Vault::seal`] made for the same `owner`, with the current key or a previous one.
    pub fn open(&self, owner: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        std::iter::once(&self.current)
            .chain(&self.previous)
            .find_map(|cipher| open(cipher, owner, sealed))
            .ok_or(StoreError::Unreadable(
                "a secret was sealed with another DEMAE_SECRET_KEY",
            ))
    }

    /// The same secret, sealed with the current key; `None` if it is sealed with the current key already.
    pub fn reseal(&self, owner: &[u8], sealed: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if open(&self.current, owner, sealed).is_some() {
            return Ok(None);
        }
        let secret = self.open(owner, sealed)?;
        Ok(Some(self.seal(owner, &secret)))
    }
}

fn cipher(text: &str) -> Result<XChaCha20Poly1305, WeakKeyError> {
    let text = text.trim();
    if text.len() < MIN_KEY_LENGTH {
        return Err(WeakKeyError);
    }
    let key = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(text.as_bytes())));
    Ok(XChaCha20Poly1305::new(Key::from_slice(&*key)))
}

fn open(cipher: &XChaCha20Poly1305, owner: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let Some((&VERSION, rest)) = sealed.split_first() else {
        return None;
    };
    let (nonce, text) = rest.split_at_checked(NONCE_LENGTH)?;
    let payload = Payload {
        msg: text,
        aad: owner,
    };
    cipher
        .decrypt(XNonce::from_slice(nonce), payload)
        .map(Zeroizing::new)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_for_its_owner_and_key() {
        let vault = Vault::from_text(&Vault::generate_text()).unwrap();
        let sealed = vault.seal(b"row 1", b"whsec_x");
        assert_eq!(&**vault.open(b"row 1", &sealed).unwrap(), b"whsec_x");
        assert!(vault.open(b"row 2", &sealed).is_err());
        let other = Vault::from_text(&Vault::generate_text()).unwrap();
        assert!(other.open(b"row 1", &sealed).is_err());
        assert!(vault.open(b"row 1", &sealed[..10]).is_err());
        let mut damaged = sealed.clone();
        damaged[40] ^= 1;
        assert!(vault.open(b"row 1", &damaged).is_err());
        assert_eq!(Vault::from_text("short").err(), Some(WeakKeyError));
    }

    #[test]
    fn a_previous_key_opens_and_the_current_one_seals() {
        let (old, new) = (Vault::generate_text(), Vault::generate_text());
        let before = Vault::from_text(&old).unwrap();
        let during = Vault::from_text(&new).unwrap().with_previous(&old).unwrap();
        let after = Vault::from_text(&new).unwrap();
        let sealed = before.seal(b"row", b"whsec_x");
        assert!(during.has_previous() && !after.has_previous());
        assert_eq!(&**during.open(b"row", &sealed).unwrap(), b"whsec_x");
        assert!(after.open(b"row", &sealed).is_err());

        let resealed = during.reseal(b"row", &sealed).unwrap().unwrap();
        assert_eq!(&**after.open(b"row", &resealed).unwrap(), b"whsec_x");
        assert_eq!(during.reseal(b"row", &resealed).unwrap(), None);
        // A value of another row stays closed, whatever the key.
        assert!(during.reseal(b"other", &sealed).is_err());
    }
}
