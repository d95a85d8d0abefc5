//! What holds for every key, message and byte string.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::{HmacKey, SigningKey, VerifyError, VerifyingKey, sign, verify, within};

fn any_key() -> impl Strategy<Value = SigningKey> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), super::HMAC_KEY_BYTES)
            .prop_map(|bytes| SigningKey::Hmac(HmacKey::from_bytes(Zeroizing::new(bytes)).unwrap())),
        any::<[u8; 32]>().prop_map(|seed| SigningKey::Ed25519(ed25519_dalek::SigningKey::from_bytes(&seed))),
    ]
}

fn accepts(
    key: &VerifyingKey,
    id: &str,
    timestamp: i64,
    body: &[u8],
    signature: &str,
) -> Result<(), VerifyError> {
    let timestamp_text = timestamp.to_string();
    let headers = [
        ("webhook-id", id),
        ("webhook-timestamp", &timestamp_text),
        ("webhook-signature", signature),
    ];
    verify(within(&headers), body, [key], timestamp, 0).map(|_| ())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_was_signed_is_accepted_and_nothing_else(
        key in any_key(),
        other in any_key(),
        id in "[A-Za-z0-9_]{1,40}",
        timestamp in 1..i64::MAX,
        body in prop::collection::vec(any::<u8>(), 1..600),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let signature = sign([&key], &id, timestamp, &body);
        let verifying = key.verifying_key();
        prop_assert_eq!(accepts(&verifying, &id, timestamp, &body, &signature), Ok(()));

        let refused = Err(VerifyError::NoMatchingSignature);
        prop_assert_eq!(accepts(&other.verifying_key(), &id, timestamp, &body, &signature), refused);
        prop_assert_eq!(accepts(&verifying, &id, timestamp - 1, &body, &signature), refused);
        prop_assert_eq!(accepts(&verifying, &format!("{id}x"), timestamp, &body, &signature), refused);

        let mut changed = body.clone();
        changed[place.index(body.len())] ^= 1 << bit;
        prop_assert_eq!(accepts(&verifying, &id, timestamp, &changed, &signature), refused);

        let mut forged = signature.clone().into_bytes();
        let at = place.index(forged.len());
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        // A change that only touches the padding is no other signature, and base64 allows padding to be left out, not
        // to be something else: every change is refused.
        prop_assert_eq!(accepts(&verifying, &id, timestamp, &body, &String::from_utf8(forged).unwrap()), refused);
    }

    #[test]
    fn keys_are_read_back(key in any_key()) {
        let text = key.secret_text();
        prop_assert_eq!(SigningKey::parse(&text).unwrap().secret_text(), text);
        prop_assert!(VerifyingKey::parse(&key.receiver_text()).is_ok());
    }

    #[test]
    fn arbitrary_text_is_no_key_but_no_panic(prefix in "(whsec_|whsk_|whpk_|)", rest in "\\PC*|[A-Za-z0-9+/=]{0,120}") {
        let text = prefix + &rest;
        if let Ok(key) = SigningKey::parse(&text) {
            prop_assert_eq!(SigningKey::parse(&key.secret_text()).unwrap().secret_text(), key.secret_text());
        }
        let _ = VerifyingKey::parse(&text);
    }

    #[test]
    fn arbitrary_headers_are_refused_without_panic(
        headers in prop::collection::vec(
            ("(webhook|svix)-(id|timestamp|signature)", prop::collection::vec(any::<u8>(), 0..80)), 0..7),
        body in prop::collection::vec(any::<u8>(), 0..80),
        key in any_key(),
        now in any::<i64>(),
        tolerance in any::<u64>(),
    ) {
        prop_assert!(verify(within(&headers), &body, &[key.verifying_key()], now, tolerance).is_err());
    }
}
