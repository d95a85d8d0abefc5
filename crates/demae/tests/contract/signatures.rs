//! Deliveries as the published libraries see them: what Demae signs they accept, and nothing else.

use std::collections::BTreeMap;

use demae_testkit::{
    receiver::{ReceivedRequest, Recorder},
    verifiers::{Received, Verdict, Verifier},
};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{api::Api, start};

#[tokio::test(flavor = "multi_thread")]
async fn every_library_verifies_a_delivery_and_refuses_a_forged_one() {
    let (process, api) = start().await;
    let receiver = Recorder::start().await;
    // The name under which the official package knows the event, which it needs to parse it.
    let webhook = make_webhook(&api, &receiver, "CUSTOMER_CREATED").await;
    make_customer(&api, "Genuine").await;
    let delivery = receiver.wait_for(1).await.remove(0);
    let genuine = received(secret_of(&webhook), &delivery);
    expect_accepted(&genuine).await;

    let forged_body = Received {
        body: genuine.body.replace("Genuine", "Forged"),
        ..genuine.clone()
    };
    assert_ne!(forged_body.body, genuine.body);
    expect_refused(&forged_body).await;

    let other = make_webhook(&api, &receiver, "LICENSE_CREATED").await;
    let wrong_secret = Received {
        secret: secret_of(&other),
        ..genuine.clone()
    };
    expect_refused(&wrong_secret).await;
    assert!(process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn during_a_rotation_the_old_secret_and_the_new_one_both_verify() {
    let (process, api) = start().await;
    let receiver = Recorder::start().await;
    let webhook = make_webhook(&api, &receiver, "CUSTOMER_CREATED").await;
    let rotate = format!("/api/webhooks/{}/secret/rotate", webhook["id"].as_str().unwrap());
    let old = secret_of(&webhook);
    let new = secret_of(&api.post(&rotate, &json!({ "overlapSeconds": 3600 })).await);
    assert_ne!(old, new);
    make_customer(&api, "During").await;
    let delivery = receiver.wait_for(1).await.remove(0);
    expect_accepted(&received(old, &delivery)).await;
    expect_accepted(&received(new.clone(), &delivery)).await;

    // Without an overlap the one before is worth nothing from now on; the first one's overlap goes on.
    let newest = secret_of(&api.post(&rotate, &json!({ "overlapSeconds": 0 })).await);
    make_customer(&api, "After").await;
    let delivery = receiver.wait_for(2).await.remove(1);
    expect_accepted(&received(newest, &delivery)).await;
    expect_refused(&received(new, &delivery)).await;
    assert!(process.terminate().await.unwrap().success());
}

async fn make_webhook(api: &Api, receiver: &Recorder, event: &str) -> Value {
    let webhook = json!({ "url": receiver.url("/webhook"), "eventNames": [event] });
    api.post("/api/webhooks", &webhook).await
}

async fn make_customer(api: &Api, name: &str) {
    api.post("/api/customers", &json!({ "name": name })).await;
}

fn secret_of(made: &Value) -> String {
    made["secret"].as_str().unwrap().to_owned()
}

pub(crate) fn received(secret: String, delivery: &ReceivedRequest) -> Received {
    let mut headers = BTreeMap::new();
    for (name, value) in &delivery.headers {
        headers.insert(name.to_string(), value.to_str().unwrap().to_owned());
    }
    Received {
        secret,
        headers,
        body: String::from_utf8(delivery.body.to_vec()).unwrap(),
    }
}

async fn expect_accepted(received: &Received) {
    for (verifier, verdict) in verdicts(received).await {
        let Verdict::Accepted { parsed_type } = verdict else {
            panic!("{verifier:?}: {verdict:?}");
        };
        if verifier == Verifier::PythonKaitencloud {
            assert_eq!(parsed_type.as_deref(), Some("CustomerCreatedEvent"));
        }
    }
}

async fn expect_refused(received: &Received) {
    for (verifier, verdict) in verdicts(received).await {
        assert!(
            matches!(verdict, Verdict::BadSignature { .. }),
            "{verifier:?}: {verdict:?}"
        );
    }
}

async fn verdicts(received: &Received) -> Vec<(Verifier, Verdict)> {
    let ask = async |verifier: Verifier| (verifier, verifier.verify(received).await.unwrap());
    join_all(Verifier::ALL.map(ask)).await
}
