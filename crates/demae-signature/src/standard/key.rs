//! Keys and their text form.

use std::{fmt, ops::RangeInclusive};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use hmac::{Hmac, KeyInit as _};
use sha2::Sha256;
use zeroize::Zeroizing;

const HMAC_PREFIX: &str = "whsec_";
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";

/// Lengths of an HMAC key, in bytes. The specification asks for 24 to 64; Svix accepts up to 75 (svix.md, section
/// 1.6), and a secret that moves here from there must keep working.
pub const HMAC_KEY_BYTES: RangeInclusive<usize> = 24..=75;

/// Length of the HMAC keys that are made here: as long as the hash, beyond which more bytes add no strength.
const GENERATED_HMAC_KEY_BYTES: usize = 32;

/// Reads base64 with or without padding: secrets are copied by hand, and the padding is easily lost.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key that signs.
///
/// Holds what can be computed ahead of the first signature, so that it is worth keeping between deliveries.
#[derive(Clone)]
pub enum SigningKey {
    /// Shared with the receiver; makes `v1` signatures.
    Hmac(HmacKey),
    /// The private half of a pair; makes `v1a` signatures.
    Ed25519(ed25519_dalek::SigningKey),
}

/// A key that can only check signatures.
#[derive(Clone)]
pub enum VerifyingKey {
    /// Shared with the sender; checks `v1` signatures. (It could sign, too: HMAC has no public half.)
    Hmac(HmacKey),
    /// The public half of a pair; checks `v1a` signatures.
    Ed25519(ed25519_dalek::VerifyingKey),
}

/// The secret of an HMAC-SHA256 signature, with the keyed state that every signature starts from.
#[derive(Clone)]
pub struct HmacKey {
    secret: Zeroizing<Vec<u8>>,
    state: Hmac<Sha256>,
}

/// The text is not a key. Says what is wrong, never what the text was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseKeyError {
    /// None of the prefixes that are possible here.
    #[error(
        "does not begin with a known prefix (whsec_ for a shared secret, whsk_ for an Ed25519 private key)"
    )]
    UnknownPrefix,
    /// What follows the prefix is not base64 (RFC 4648, section 4).
    #[error("is not base64 after its prefix")]
    NotBase64,
    /// A shared secret outside [`HMAC_KEY_BYTES`].
    #[error("a shared secret must hold 24 to 75 bytes, but holds {0}")]
    HmacLength(usize),
    /// Neither a seed nor a seed with its public key.
    #[error("an Ed25519 private key must hold 32 or 64 bytes, but holds {0}")]
    PrivateKeyLength(usize),
    /// The 64 bytes are not a seed followed by the public key that belongs to it.
    #[error("the public half of the Ed25519 key does not belong to its private half")]
    KeyPairMismatch,
    /// Not a point of the curve, or not 32 bytes.
    #[error("is not an Ed25519 public key")]
    InvalidPublicKey,
}

impl SigningKey {
    /// A new shared secret of 32 random bytes.
    pub fn generate_hmac() -> Self {
        let secret = Zeroizing::new(rand::random::<[u8; GENERATED_HMAC_KEY_BYTES]>());
        Self::Hmac(HmacKey::from_accepted(Zeroizing::new(secret.to_vec())))
    }

    /// A new Ed25519 key pair.
    pub fn generate_ed25519() -> Self {
        let seed = Zeroizing::new(rand::random::<[u8; ed25519_dalek::SECRET_KEY_LENGTH]>());
        Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// Reads `whsec_…` or `whsk_…`. Surrounding white space is ignored, the prefix is obligatory.
    pub fn parse(text: &str) -> Result<Self, ParseKeyError> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix(HMAC_PREFIX) {
            HmacKey::from_bytes(decode(rest)?).map(Self::Hmac)
        } else if let Some(rest) = text.strip_prefix(PRIVATE_PREFIX) {
            private_key(&decode(rest)?).map(Self::Ed25519)
        } else {
            Err(ParseKeyError::UnknownPrefix)
        }
    }

    /// What signs, as text that [`SigningKey::parse`] reads: `whsec_…`, or `whsk_…` over seed and public key, the
    /// form that Svix accepts.
    pub fn secret_text(&self) -> Zeroizing<String> {
        match self {
            Self::Hmac(key) => encode(HMAC_PREFIX, &key.secret),
            Self::Ed25519(key) => encode(PRIVATE_PREFIX, Zeroizing::new(key.to_keypair_bytes()).as_ref()),
        }
    }

    /// The half that may be given away, `whpk_…`; `None` for a shared secret, which has no such half.
    pub fn public_text(&self) -> Option<String> {
        match self {
            Self::Hmac(_) => None,
            Self::Ed25519(key) => Some(format!("{PUBLIC_PREFIX}{}", STANDARD.encode(key.verifying_key()))),
        }
    }

    /// The text that a receiver needs to verify with this key: the shared secret (`whsec_…`) or the public half
    /// (`whpk_…`), never a private key.
    pub fn receiver_text(&self) -> Zeroizing<String> {
        self.public_text()
            .map_or_else(|| self.secret_text(), Zeroizing::new)
    }

    /// The key that checks what this one signs.
    pub fn verifying_key(&self) -> VerifyingKey {
        match self {
            Self::Hmac(key) => VerifyingKey::Hmac(key.clone()),
            Self::Ed25519(key) => VerifyingKey::Ed25519(key.verifying_key()),
        }
    }
}

impl VerifyingKey {
    /// Reads `whsec_…`, `whpk_…`, or the public half of `whsk_…`.
    pub fn parse(text: &str) -> Result<Self, ParseKeyError> {
        match text.trim().strip_prefix(PUBLIC_PREFIX) {
            Some(rest) => public_key(&decode(rest)?).map(Self::Ed25519),
            None => SigningKey::parse(text).map(|key| key.verifying_key()),
        }
    }
}

impl HmacKey {
    /// Takes raw key bytes, [`HMAC_KEY_BYTES`] of them.
    pub fn from_bytes(secret: Zeroizing<Vec<u8>>) -> Result<Self, ParseKeyError> {
        if HMAC_KEY_BYTES.contains(&secret.len()) {
            Ok(Self::from_accepted(secret))
        } else {
            Err(ParseKeyError::HmacLength(secret.len()))
        }
    }

    fn from_accepted(secret: Zeroizing<Vec<u8>>) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "HMAC is defined for keys of every length (RFC 2104, section 2)"
        )]
        let state = Hmac::new_from_slice(&secret).expect("HMAC takes keys of any length");
        Self { secret, state }
    }

    /// The state after the key, before the message.
    pub(super) fn state(&self) -> Hmac<Sha256> {
        self.state.clone()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hmac(key) => key.fmt(f),
            Self::Ed25519(_) => write!(f, "SigningKey({})", self.public_text().unwrap_or_default()),
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hmac(key) => key.fmt(f),
            Self::Ed25519(key) => write!(f, "VerifyingKey({PUBLIC_PREFIX}{})", STANDARD.encode(key)),
        }
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HmacKey({HMAC_PREFIX}***)")
    }
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, ParseKeyError> {
    LENIENT
        .decode(text)
        .map(Zeroizing::new)
        .map_err(|_| ParseKeyError::NotBase64)
}

fn encode(prefix: &str, bytes: &[u8]) -> Zeroizing<String> {
    // Room for all of it at once: a string that grows leaves copies behind that nothing wipes.
    let mut text = String::with_capacity(prefix.len() + bytes.len().div_ceil(3) * 4);
    text.push_str(prefix);
    STANDARD.encode_string(bytes, &mut text);
    Zeroizing::new(text)
}

fn private_key(bytes: &[u8]) -> Result<ed25519_dalek::SigningKey, ParseKeyError> {
    if let Ok(seed) = <&[u8; 32]>::try_from(bytes) {
        Ok(ed25519_dalek::SigningKey::from_bytes(seed))
    } else if let Ok(pair) = <&[u8; 64]>::try_from(bytes) {
        ed25519_dalek::SigningKey::from_keypair_bytes(pair).map_err(|_| ParseKeyError::KeyPairMismatch)
    } else {
        Err(ParseKeyError::PrivateKeyLength(bytes.len()))
    }
}

fn public_key(bytes: &[u8]) -> Result<ed25519_dalek::VerifyingKey, ParseKeyError> {
    ed25519_dalek::VerifyingKey::try_from(bytes).map_err(|_| ParseKeyError::InvalidPublicKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hmac_text(bytes: usize) -> String {
        format!("whsec_{}", STANDARD.encode(vec![7; bytes]))
    }

    #[test]
    fn is_read_back_from_its_text() {
        for key in [SigningKey::generate_hmac(), SigningKey::generate_ed25519()] {
            let text = key.secret_text();
            assert_eq!(SigningKey::parse(&text).unwrap().secret_text(), text);
            assert_eq!(
                SigningKey::parse(text.trim_end_matches('='))
                    .unwrap()
                    .secret_text(),
                text
            );
            assert_eq!(
                SigningKey::parse(&format!(" {}\n", *text)).unwrap().secret_text(),
                text
            );
        }
    }

    #[test]
    fn new_keys_differ_and_have_the_stated_length() {
        let (one, other) = (SigningKey::generate_hmac(), SigningKey::generate_hmac());
        assert_ne!(one.secret_text(), other.secret_text());
        assert_eq!(
            STANDARD
                .decode(&one.secret_text()["whsec_".len()..])
                .unwrap()
                .len(),
            32
        );
        assert_ne!(
            SigningKey::generate_ed25519().public_text(),
            SigningKey::generate_ed25519().public_text()
        );
    }

    #[test]
    fn shared_secrets_have_24_to_75_bytes() {
        for (bytes, error) in [
            (23, Some(ParseKeyError::HmacLength(23))),
            (24, None),
            (75, None),
            (76, Some(ParseKeyError::HmacLength(76))),
        ] {
            assert_eq!(SigningKey::parse(&hmac_text(bytes)).err(), error, "{bytes} bytes");
        }
    }

    #[test]
    fn a_seed_and_a_whole_pair_are_the_same_key() {
        let SigningKey::Ed25519(pair) = SigningKey::generate_ed25519() else {
            unreachable!()
        };
        let whole = SigningKey::Ed25519(pair.clone());
        let seed = format!("whsk_{}", STANDARD.encode(pair.to_bytes()));
        assert_eq!(
            SigningKey::parse(&seed).unwrap().secret_text(),
            whole.secret_text()
        );
    }

    #[test]
    fn refuses_what_is_no_key() {
        let seed = [7; 32];
        let foreign_half = [seed, [9; 32]].concat();
        for (text, error) in [
            (String::new(), ParseKeyError::UnknownPrefix),
            (STANDARD.encode([7; 32]), ParseKeyError::UnknownPrefix),
            (
                format!("whpk_{}", STANDARD.encode([7; 32])),
                ParseKeyError::UnknownPrefix,
            ),
            ("whsec_not base64!".to_owned(), ParseKeyError::NotBase64),
            ("whsec_".to_owned(), ParseKeyError::HmacLength(0)),
            (
                format!("whsk_{}", STANDARD.encode([7; 33])),
                ParseKeyError::PrivateKeyLength(33),
            ),
            (
                format!("whsk_{}", STANDARD.encode(foreign_half)),
                ParseKeyError::KeyPairMismatch,
            ),
        ] {
            assert_eq!(SigningKey::parse(&text).err(), Some(error), "{text}");
        }
        for bytes in [31, 33] {
            let text = format!("whpk_{}", STANDARD.encode(vec![7; bytes]));
            assert_eq!(
                VerifyingKey::parse(&text).err(),
                Some(ParseKeyError::InvalidPublicKey)
            );
        }
    }

    #[test]
    fn a_receiver_is_never_given_a_private_key() {
        let hmac = SigningKey::generate_hmac();
        assert_eq!(hmac.public_text(), None);
        assert_eq!(hmac.receiver_text(), hmac.secret_text());
        let pair = SigningKey::generate_ed25519();
        assert!(pair.receiver_text().starts_with("whpk_"));
        assert_eq!(Some(pair.receiver_text().as_str()), pair.public_text().as_deref());
    }

    #[test]
    fn debug_output_holds_no_secret() {
        for key in [SigningKey::generate_hmac(), SigningKey::generate_ed25519()] {
            let text = key.secret_text();
            let secret = &text[text.find('_').unwrap() + 1..][..32];
            for shown in [format!("{key:?}"), format!("{:?}", key.verifying_key())] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }
}
