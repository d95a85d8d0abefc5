//! Whatever the headers and the body are, a request that nobody signed is refused.
#![no_main]

use std::sync::LazyLock;

use demae_signature::standard::{SigningKey, VerifyingKey, verify, within};
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<[VerifyingKey; 2]> = LazyLock::new(|| {
    [SigningKey::generate_hmac(), SigningKey::generate_ed25519()].map(|key| key.verifying_key())
});

fuzz_target!(|request: (&[u8], &[u8], &[u8], &[u8], i64, u64)| {
    let (id, timestamp, signature, body, now, tolerance) = request;
    let headers = [
        ("webhook-id", id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", signature),
    ];
    assert!(verify(within(&headers), body, KEYS.iter(), now, tolerance).is_err());
});
