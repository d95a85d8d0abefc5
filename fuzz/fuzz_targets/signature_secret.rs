//! Any text is a key that is written as it was read, or no key.
#![no_main]

use demae_signature::standard::{SigningKey, VerifyingKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(key) = SigningKey::parse(text) {
        let written = key.secret_text();
        assert_eq!(
            SigningKey::parse(&written)
                .expect("reads what it wrote")
                .secret_text(),
            written
        );
    }
    let _ = VerifyingKey::parse(text);
});
