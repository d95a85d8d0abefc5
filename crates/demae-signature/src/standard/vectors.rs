//! Published signatures, and what verification makes of them when anything is changed.
//!
//! Sources: the Rust library of the standard-webhooks project (the first), Svix's documentation of manual
//! verification (its 18-byte secret is shorter than is accepted here, so it is not among them), and the tests of the
//! Svix server's worker (the second and third).

use super::{
    DEFAULT_TOLERANCE_SECONDS, MAX_SIGNATURES, SigningKey, Verified, VerifyError, VerifyingKey, sign, verify,
    within,
};

struct Vector {
    signing: &'static str,
    verifying: &'static str,
    id: &'static str,
    timestamp: i64,
    body: &'static [u8],
    signature: &'static str,
}

const LIBRARY: Vector = Vector {
    signing: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    verifying: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
    timestamp: 1_649_367_553,
    body: br#"{"email":"test@example.com","username":"test_user"}"#,
    signature: "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
};

const SERVER: Vector = Vector {
    signing: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    verifying: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
    timestamp: 1_614_265_330,
    body: br#"{"test": 2432232314}"#,
    signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
};

const SERVER_ASYMMETRIC: Vector = Vector {
    signing: "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
    verifying: "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
    signature: "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
    ..SERVER
};

const VECTORS: [Vector; 3] = [LIBRARY, SERVER, SERVER_ASYMMETRIC];

fn signing_key(vector: &Vector) -> SigningKey {
    SigningKey::parse(vector.signing).unwrap()
}

fn verifying_key(vector: &Vector) -> VerifyingKey {
    VerifyingKey::parse(vector.verifying).unwrap()
}

/// Verifies the first vector's body with its key, with these headers, at its time.
fn check<'h>(headers: &'h [(&'h str, &'h [u8])]) -> Result<Verified<'h>, VerifyError> {
    check_at(headers, LIBRARY.timestamp)
}

fn check_at<'h>(headers: &'h [(&'h str, &'h [u8])], now: i64) -> Result<Verified<'h>, VerifyError> {
    verify(
        within(headers),
        LIBRARY.body,
        &[verifying_key(&LIBRARY)],
        now,
        DEFAULT_TOLERANCE_SECONDS,
    )
}

const ID: &[u8] = LIBRARY.id.as_bytes();
const TIMESTAMP: &[u8] = b"1649367553";
const SIGNATURE: &[u8] = LIBRARY.signature.as_bytes();
const EXPECTED: Verified<'static> = Verified {
    message_id: LIBRARY.id,
    unix_seconds: LIBRARY.timestamp,
    key_index: 0,
};

#[test]
fn published_signatures_are_made_and_accepted() {
    for vector in VECTORS {
        let key = signing_key(&vector);
        assert_eq!(
            sign([&key], vector.id, vector.timestamp, vector.body),
            vector.signature
        );
        let timestamp = vector.timestamp.to_string();
        let headers = [
            ("svix-id", vector.id),
            ("svix-timestamp", &timestamp),
            ("svix-signature", vector.signature),
        ];
        let verified = verify(
            within(&headers),
            vector.body,
            &[verifying_key(&vector)],
            vector.timestamp,
            0,
        );
        assert_eq!(verified.map(|verified| verified.message_id), Ok(vector.id));
    }
    assert_eq!(
        signing_key(&SERVER_ASYMMETRIC).public_text().as_deref(),
        Some(SERVER_ASYMMETRIC.verifying)
    );
}

#[test]
fn a_rotation_sends_both_signatures_and_either_key_accepts_them() {
    let (current, old) = (signing_key(&SERVER_ASYMMETRIC), signing_key(&SERVER));
    let header = sign([&current, &old], SERVER.id, SERVER.timestamp, SERVER.body);
    assert_eq!(
        header,
        format!("{} {}", SERVER_ASYMMETRIC.signature, SERVER.signature)
    );
    let headers = [
        ("webhook-id", SERVER.id),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", header.as_str()),
    ];
    for key in [&current, &old] {
        assert!(
            verify(
                within(&headers),
                SERVER.body,
                &[key.verifying_key()],
                SERVER.timestamp,
                0
            )
            .is_ok()
        );
    }
    let keys = [SigningKey::generate_hmac().verifying_key(), old.verifying_key()];
    let verified = verify(within(&headers), SERVER.body, &keys, SERVER.timestamp, 0);
    assert_eq!(verified.map(|verified| verified.key_index), Ok(1));
}

#[test]
fn both_families_are_read_in_any_case_and_not_mixed() {
    for names in [
        ["webhook-id", "webhook-timestamp", "webhook-signature"],
        ["Webhook-Id", "WEBHOOK-TIMESTAMP", "webHook-signaTure"],
        ["svix-id", "svix-timestamp", "svix-signature"],
        ["Svix-Id", "SVIX-TIMESTAMP", "svix-Signature"],
    ] {
        assert_eq!(
            check(&[(names[0], ID), (names[1], TIMESTAMP), (names[2], SIGNATURE)]),
            Ok(EXPECTED),
            "{names:?}"
        );
    }
    let mixed = [
        ("webhook-id", ID),
        ("svix-timestamp", TIMESTAMP),
        ("svix-signature", SIGNATURE),
    ];
    assert_eq!(
        check(&mixed),
        Err(VerifyError::MissingHeader("webhook-timestamp"))
    );
    let incomplete_first = [
        ("webhook-id", &b"x"[..]),
        ("svix-id", ID),
        ("svix-timestamp", TIMESTAMP),
        ("svix-signature", SIGNATURE),
    ];
    assert_eq!(check(&incomplete_first), Ok(EXPECTED));
}

#[test]
fn a_missing_header_is_named() {
    let all = [
        ("svix-id", ID),
        ("svix-timestamp", TIMESTAMP),
        ("svix-signature", SIGNATURE),
    ];
    for (missing, (name, _)) in all.iter().enumerate() {
        let rest: Vec<_> = all
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != missing)
            .map(|(_, h)| *h)
            .collect();
        assert_eq!(check(&rest).map(|_| ()), Err(VerifyError::MissingHeader(name)));
    }
    assert_eq!(check(&[]), Err(VerifyError::MissingHeader("webhook-id")));
    let not_text = [
        ("svix-id", &b"\xff"[..]),
        ("svix-timestamp", TIMESTAMP),
        ("svix-signature", SIGNATURE),
    ];
    assert_eq!(check(&not_text), Err(VerifyError::MalformedHeader("svix-id")));
}

#[test]
fn only_digits_are_a_timestamp() {
    for text in [
        "",
        " ",
        "-1",
        "+1649367553",
        "1649367553.5",
        "0x10",
        "99999999999999999999",
        "now",
        "１６",
    ] {
        let headers = [
            ("svix-id", ID),
            ("svix-timestamp", text.as_bytes()),
            ("svix-signature", SIGNATURE),
        ];
        assert_eq!(
            check(&headers).map(|_| ()),
            Err(VerifyError::MalformedTimestamp),
            "{text}"
        );
    }
}

#[test]
fn the_tolerance_holds_to_the_second_either_way() {
    let headers = [
        ("svix-id", ID),
        ("svix-timestamp", TIMESTAMP),
        ("svix-signature", SIGNATURE),
    ];
    let signed_at = LIBRARY.timestamp;
    for (now, expected) in [
        (signed_at + 300, Ok(EXPECTED)),
        (signed_at - 300, Ok(EXPECTED)),
        (
            signed_at + 301,
            Err(VerifyError::TooOld {
                signed_at,
                now: signed_at + 301,
            }),
        ),
        (
            signed_at - 301,
            Err(VerifyError::TooNew {
                signed_at,
                now: signed_at - 301,
            }),
        ),
        (
            i64::MAX,
            Err(VerifyError::TooOld {
                signed_at,
                now: i64::MAX,
            }),
        ),
        (
            i64::MIN,
            Err(VerifyError::TooNew {
                signed_at,
                now: i64::MIN,
            }),
        ),
    ] {
        assert_eq!(check_at(&headers, now), expected, "{now}");
    }
}

#[test]
fn what_is_no_signature_is_passed_over_and_does_not_hide_one_that_is() {
    let digest = LIBRARY.signature.strip_prefix("v1,").unwrap();
    for text in [
        "",
        "v1",
        "v1,",
        "v1,AAAA",
        "v1,not-base64",
        &LIBRARY.signature[..20],
        digest,
        &format!("v1a,{digest}"),
        &format!("v2,{digest}"),
        SERVER.signature,
        SERVER_ASYMMETRIC.signature,
    ] {
        let headers = [
            ("svix-id", ID),
            ("svix-timestamp", TIMESTAMP),
            ("svix-signature", text.as_bytes()),
        ];
        assert_eq!(
            check(&headers).map(|_| ()),
            Err(VerifyError::NoMatchingSignature),
            "{text}"
        );
        let more = format!("{text} {}", LIBRARY.signature);
        let headers = [
            ("svix-id", ID),
            ("svix-timestamp", TIMESTAMP),
            ("svix-signature", more.as_bytes()),
        ];
        assert!(check(&headers).is_ok(), "{more}");
    }
}

#[test]
fn the_number_of_signatures_is_bounded() {
    let check_with = |decoys: usize| {
        let text = format!("{}{}", "v1,AAAA ".repeat(decoys), LIBRARY.signature);
        let headers = [
            ("svix-id", ID),
            ("svix-timestamp", TIMESTAMP),
            ("svix-signature", text.as_bytes()),
        ];
        check(&headers).map(|_| ())
    };
    assert_eq!(check_with(MAX_SIGNATURES - 1), Ok(()));
    assert_eq!(check_with(MAX_SIGNATURES), Err(VerifyError::TooManySignatures));
}

#[test]
fn without_keys_nothing_is_believed_and_nothing_is_signed() {
    let headers = [
        ("svix-id", ID),
        ("svix-timestamp", TIMESTAMP),
        ("svix-signature", SIGNATURE),
    ];
    let verified = verify(within(&headers), LIBRARY.body, &[], LIBRARY.timestamp, 0);
    assert_eq!(verified, Err(VerifyError::NoMatchingSignature));
    assert_eq!(sign([], LIBRARY.id, LIBRARY.timestamp, LIBRARY.body), "");
}
