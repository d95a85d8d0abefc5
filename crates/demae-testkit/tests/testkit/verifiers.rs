//! The published libraries: each must be able to say yes and no.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use demae_signature::standard::{SigningKey, sign};
use demae_testkit::verifiers::{Received, Verdict, Verifier};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";

/// The libraries read the machine's clock, so a delivery has to be of now.
#[expect(clippy::disallowed_methods, reason = "the verifiers' own clock cannot be set")]
fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970");
    since.as_secs().cast_signed()
}

fn delivery(body: &str) -> Received {
    let timestamp = now();
    let key = SigningKey::parse(SECRET).expect("a published test key");
    let signature = sign([&key], ID, timestamp, body.as_bytes());
    let mut headers = BTreeMap::new();
    for family in ["webhook", "svix"] {
        headers.insert(format!("{family}-id"), ID.to_owned());
        headers.insert(format!("{family}-timestamp"), timestamp.to_string());
        headers.insert(format!("{family}-signature"), signature.clone());
    }
    Received {
        secret: SECRET.to_owned(),
        headers,
        body: body.to_owned(),
    }
}

const CUSTOMER: &str = r#"{"name":"CUSTOMER_CREATED","type":"com.kaiten.customer.v1.created","data":{
    "id":"0191d3a4-0000-7000-8000-000000000001","name":"出前","slug":"demae",
    "createdAt":"2026-01-01T00:00:00.000Z","createdBy":{"id":"1"},
    "updatedAt":"2026-01-01T00:00:00.000Z","updatedBy":{"id":"1"}}}"#;

#[tokio::test]
async fn every_library_accepts_what_is_signed_and_refuses_what_is_altered() {
    let honest = delivery(CUSTOMER);
    let mut altered = honest.clone();
    altered.body = altered.body.replace("demae", "demon");
    for verifier in Verifier::ALL {
        let verdict = verifier.verify(&honest).await.unwrap();
        assert!(
            matches!(verdict, Verdict::Accepted { .. }),
            "{verifier:?}: {verdict:?}"
        );
        let verdict = verifier.verify(&altered).await.unwrap();
        assert!(
            matches!(verdict, Verdict::BadSignature { .. }),
            "{verifier:?}: {verdict:?}"
        );
    }
}

#[tokio::test]
async fn kaitencloud_parses_the_event_into_its_model() {
    let typed = Verifier::PythonKaitencloud
        .verify(&delivery(CUSTOMER))
        .await
        .unwrap();
    assert_eq!(
        typed,
        Verdict::Accepted {
            parsed_type: Some("CustomerCreatedEvent".to_owned())
        }
    );

    let own = delivery(r#"{"name":"DISH_SERVED","type":"dish.served","data":{}}"#);
    let unknown = Verifier::PythonKaitencloud.verify(&own).await.unwrap();
    assert_eq!(
        unknown,
        Verdict::Accepted {
            parsed_type: Some("UnknownWebhookEvent".to_owned())
        }
    );

    let seed_name = delivery(&CUSTOMER.replace("CUSTOMER_CREATED", "CUSTOMER_CREATION"));
    let refused = Verifier::PythonKaitencloud.verify(&seed_name).await.unwrap();
    assert!(matches!(refused, Verdict::BadPayload { .. }), "{refused:?}");
}
