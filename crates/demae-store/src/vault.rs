//! Secrets at rest.
//!
//! Signing secrets and endpoints' own headers are sealed with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) under the
//! key of `DEMAE_SECRET_KEY`. What a secret belongs to is authenticated with it, so that a sealed value copied to
//! another row does not open there.

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
    cipher: XChaCha20Poly1305,
}

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
        let text = text.trim();
        if text.len() < MIN_KEY_LENGTH {
            return Err(WeakKeyError);
        }
        let key = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(text.as_bytes())));
        Ok(Self {
            cipher: XChaCha20Poly1305::new(Key::from_slice(&*key)),
        })
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
            .cipher
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

    /// Opens what [`Vault::seal`] made for the same `owner`.
    pub fn open(&self, owner: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let unreadable = StoreError::Unreadable("a secret was sealed with another DEMAE_SECRET_KEY");
        let Some((&VERSION, rest)) = sealed.split_first() else {
            return Err(unreadable);
        };
        let Some((nonce, text)) = rest.split_at_checked(NONCE_LENGTH) else {
            return Err(unreadable);
        };
        self.cipher
            .decrypt(
                XNonce::from_slice(nonce),
                Payload {
                    msg: text,
                    aad: owner,
                },
            )
            .map(Zeroizing::new)
            .map_err(|_| unreadable)
    }
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
}
