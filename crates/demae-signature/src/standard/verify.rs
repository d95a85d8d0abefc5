//! Checking signatures.

use std::str;

use base64::Engine as _;
use subtle::ConstantTimeEq as _;

use super::{VerifyingKey, key::LENIENT, sign::Content};

/// How far the attempt's time may lie from ours, in seconds, either way. The figure of every published library.
pub const DEFAULT_TOLERANCE_SECONDS: u64 = 300;

/// Entries a signature header may hold. A sender needs one per unexpired key (Svix keeps at most 11); without a bound
/// a stranger could buy an Ed25519 check with every hundred bytes.
pub const MAX_SIGNATURES: usize = 32;

/// Header names in the order in which the families are tried. Values of different families are never mixed.
const FAMILIES: [[&str; 3]; 2] = [
    ["webhook-id", "webhook-timestamp", "webhook-signature"],
    ["svix-id", "svix-timestamp", "svix-signature"],
];

/// A request that a holder of one of the keys has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified<'headers> {
    /// The message's identity, the same on every attempt: remember it, and a repeated message is recognised.
    pub message_id: &'headers str,
    /// When the attempt was made, in seconds since the Unix epoch.
    pub unix_seconds: i64,
    /// Which of the given keys matched, counted from zero.
    pub key_index: usize,
}

/// Why a request is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Neither family is complete; this header is the first that is lacking.
    #[error("the header {0} is missing")]
    MissingHeader(&'static str),
    /// The header is not text.
    #[error("the header {0} is not valid text")]
    MalformedHeader(&'static str),
    /// Not a whole number of seconds since the Unix epoch, in digits only.
    #[error("the timestamp header is not a number of seconds since 1970")]
    MalformedTimestamp,
    /// Made longer ago than is tolerated: perhaps a replay.
    #[error("the request was signed too long ago: at {signed_at}, and it is {now}")]
    TooOld {
        /// Unix seconds in the header.
        signed_at: i64,
        /// Unix seconds by our clock.
        now: i64,
    },
    /// Made further in the future than is tolerated: one of the clocks is wrong.
    #[error("the request was signed in the future: at {signed_at}, and it is {now}")]
    TooNew {
        /// Unix seconds in the header.
        signed_at: i64,
        /// Unix seconds by our clock.
        now: i64,
    },
    /// More than [`MAX_SIGNATURES`].
    #[error("the signature header holds more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// Another key, another body, another id or time, or no signature of a known version.
    #[error("no signature matches")]
    NoMatchingSignature,
}

/// Checks that a request was signed with one of `keys`, no more than `tolerance_seconds` from `now` (Unix seconds).
///
/// `header` answers with a header's value, asked by its name in lower case; header names are case-insensitive (RFC
/// 9110, section 5.1), so a lookup must be, too: `http::HeaderMap` is, and [`within`] makes one from a list.
pub fn verify<'headers, 'key>(
    header: impl Fn(&str) -> Option<&'headers [u8]>,
    body: &[u8],
    keys: impl IntoIterator<Item = &'key VerifyingKey>,
    now: i64,
    tolerance_seconds: u64,
) -> Result<Verified<'headers>, VerifyError> {
    let [message_id, timestamp, signatures] = family(header)?;
    let unix_seconds = parse_timestamp(timestamp)?;
    check_age(unix_seconds, now, tolerance_seconds)?;
    let candidates = Candidates::parse(signatures)?;
    let content = Content {
        message_id,
        timestamp,
        body,
    };
    keys.into_iter()
        .position(|key| candidates.hold_signature_of(&content, key))
        .map(|key_index| Verified {
            message_id,
            unix_seconds,
            key_index,
        })
        .ok_or(VerifyError::NoMatchingSignature)
}

/// A case-insensitive lookup in a list of headers, for [`verify`]. The first header of a name counts.
pub fn within<'headers, N, V>(headers: &'headers [(N, V)]) -> impl Fn(&str) -> Option<&'headers [u8]>
where
    N: AsRef<str>,
    V: AsRef<[u8]>,
{
    move |name| {
        headers
            .iter()
            .find(|(key, _)| key.as_ref().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
    }
}

/// Id, timestamp and signature of the first family that is complete.
fn family<'headers>(
    header: impl Fn(&str) -> Option<&'headers [u8]>,
) -> Result<[&'headers str; 3], VerifyError> {
    let found = FAMILIES.map(|names| names.map(&header));
    let complete = found.iter().position(|values| values.iter().all(Option::is_some));
    // If none is, speak of the one that the sender seems to have meant.
    let meant = complete
        .or_else(|| found.iter().position(|values| values.iter().any(Option::is_some)))
        .unwrap_or(0);
    let mut texts = [""; 3];
    for ((name, value), text) in FAMILIES[meant].iter().zip(found[meant]).zip(&mut texts) {
        let value = value.ok_or(VerifyError::MissingHeader(name))?;
        *text = str::from_utf8(value).map_err(|_| VerifyError::MalformedHeader(name))?;
    }
    Ok(texts)
}

fn parse_timestamp(text: &str) -> Result<i64, VerifyError> {
    // `parse` alone would also take a sign.
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_| VerifyError::MalformedTimestamp)
    } else {
        Err(VerifyError::MalformedTimestamp)
    }
}

fn check_age(signed_at: i64, now: i64, tolerance_seconds: u64) -> Result<(), VerifyError> {
    if now.saturating_sub_unsigned(tolerance_seconds) > signed_at {
        Err(VerifyError::TooOld { signed_at, now })
    } else if now.saturating_add_unsigned(tolerance_seconds) < signed_at {
        Err(VerifyError::TooNew { signed_at, now })
    } else {
        Ok(())
    }
}

/// The well-formed entries of a signature header. Others, such as those of a later version, are passed over.
#[derive(Default)]
struct Candidates {
    hmac: Vec<[u8; 32]>,
    ed25519: Vec<[u8; 64]>,
}

impl Candidates {
    fn parse(header: &str) -> Result<Self, VerifyError> {
        let mut candidates = Self::default();
        let mut entries = header.split_ascii_whitespace();
        for entry in entries.by_ref().take(MAX_SIGNATURES) {
            match entry.split_once(',') {
                Some(("v1", text)) => candidates.hmac.extend(decode::<32>(text)),
                Some(("v1a", text)) => candidates.ed25519.extend(decode::<64>(text)),
                _ => {}
            }
        }
        if entries.next().is_some() {
            Err(VerifyError::TooManySignatures)
        } else {
            Ok(candidates)
        }
    }

    fn hold_signature_of(&self, content: &Content<'_>, key: &VerifyingKey) -> bool {
        match key {
            VerifyingKey::Hmac(_) if self.hmac.is_empty() => false,
            VerifyingKey::Hmac(key) => {
                let expected = content.hmac(key);
                self.hmac
                    .iter()
                    .any(|candidate| bool::from(candidate.ct_eq(&expected)))
            }
            VerifyingKey::Ed25519(_) if self.ed25519.is_empty() => false,
            VerifyingKey::Ed25519(key) => {
                let content = content.joined();
                self.ed25519.iter().any(|bytes| {
                    let signature = ed25519_dalek::Signature::from_bytes(bytes);
                    // Strict: refuses weak keys and the other spellings of one signature (RFC 8032, section 5.1.7).
                    key.verify_strict(&content, &signature).is_ok()
                })
            }
        }
    }
}

fn decode<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    LENIENT.decode(text).ok()?.try_into().ok()
}
