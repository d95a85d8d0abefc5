//! Standard Webhooks: `v1` (HMAC-SHA256) and `v1a` (Ed25519).
//!
//! What is signed is `{message id}.{unix seconds}.{body}`. The signature header holds one or more `version,base64`
//! entries separated by spaces; there are several while a key is being rotated, and one that matches is enough. The
//! same three values travel as `webhook-id`, `-timestamp`, `-signature` and, for Svix's own libraries, as `svix-…`.
//!
//! Keys are written as base64 after a prefix that names their kind:
//!
//! | prefix | holds | use |
//! |---|---|---|
//! | `whsec_` | 24 to 75 random bytes | sign and verify (`v1`) |
//! | `whsk_` | an Ed25519 private key: 32-byte seed, or seed and public key (64 bytes) | sign and verify (`v1a`) |
//! | `whpk_` | an Ed25519 public key, 32 bytes | verify (`v1a`) |
//!
//! Two promises. No secret is left in memory, printed or compared byte by byte: key material is wiped on drop, `Debug`
//! shows none of it, and comparisons take the same time wherever the first difference is. And no input can make
//! anything here panic, or cost more than its length and a small constant.

mod key;
mod sign;
mod verify;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod vectors;

pub use key::{HMAC_KEY_BYTES, HmacKey, ParseKeyError, SigningKey, VerifyingKey};
pub use sign::sign;
pub use verify::{DEFAULT_TOLERANCE_SECONDS, MAX_SIGNATURES, Verified, VerifyError, verify, within};
