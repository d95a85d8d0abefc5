//! TLS and HTTP/2.

use std::sync::Arc;

use demae_delivery::client::{ClientSettings, DeliveryClient, ErrorKind};
use demae_testkit::receiver::{Answer, Gate, Recorder, SelfSigned};
use futures::future::join_all;
use http::Version;

use super::support::{AMPLE, SHORT, ScriptedResolver, allowing, local_client, post};

pub(crate) fn client_trusting(certificate: &SelfSigned) -> DeliveryClient {
    let settings = ClientSettings {
        policy: allowing(&["127.0.0.0/8"]),
        extra_roots: vec![certificate.certificate()],
        ..ClientSettings::default()
    };
    let resolver = ScriptedResolver::knowing("hooks.example.com", &[&["127.0.0.1"]]);
    resolver.learn("hooks.example.com.", &[&["127.0.0.1"]]);
    DeliveryClient::new(&settings, resolver).unwrap()
}

#[tokio::test]
async fn http2_is_spoken_where_the_server_offers_it() {
    let certificate = SelfSigned::for_hosts(&["127.0.0.1"]);
    let recorder = Recorder::start_tls(&certificate, &["h2", "http/1.1"]).await;
    recorder.answer(Answer::ok().body("thanks"));
    let client = client_trusting(&certificate);
    let first = post(&client, &recorder.url("/"), "{}", AMPLE).await.unwrap();
    assert_eq!(
        (first.status, first.http_version, &*first.body),
        (200, Version::HTTP_2, &b"thanks"[..])
    );

    // On one connection, and all of them at once.
    let gate = Gate::closed();
    recorder.answer(Answer::ok().held_by(&gate));
    let url = Arc::new(recorder.url("/many"));
    let many = (0..20).map(|_| {
        let (client, url) = (client.clone(), Arc::clone(&url));
        tokio::spawn(async move { post(&client, &url, "{}", AMPLE).await })
    });
    let many: Vec<_> = many.collect();
    recorder.wait_for(21).await;
    gate.open();
    for outcome in join_all(many).await {
        assert_eq!(outcome.unwrap().unwrap().status, 200);
    }
    assert_eq!(recorder.connections().get(), 1);
}

#[tokio::test]
async fn an_http2_exchange_that_timed_out_leaves_the_connection_to_others() {
    let certificate = SelfSigned::for_hosts(&["127.0.0.1"]);
    let recorder = Recorder::start_tls(&certificate, &["h2"]).await;
    recorder.script([Answer::ok(), Answer::ok().held_by(&Gate::closed())]);
    let client = client_trusting(&certificate);
    post(&client, &recorder.url("/"), "{}", AMPLE).await.unwrap();
    let failure = post(&client, &recorder.url("/"), "{}", SHORT).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Timeout);
    assert_eq!(
        post(&client, &recorder.url("/"), "{}", AMPLE)
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(recorder.connections().get(), 1);
}

#[tokio::test]
async fn http1_is_spoken_in_tls_as_well() {
    let certificate = SelfSigned::for_hosts(&["hooks.example.com"]);
    let recorder = Recorder::start_tls(&certificate, &["http/1.1"]).await;
    let client = client_trusting(&certificate);
    // With and without the trailing dot of an absolute name the certificate is the same.
    for host in ["hooks.example.com", "hooks.example.com."] {
        let url = format!("https://{host}:{}/", recorder.address().port());
        let outcome = post(&client, &url, "{}", AMPLE).await.unwrap();
        assert_eq!(
            (outcome.status, outcome.http_version),
            (200, Version::HTTP_11),
            "{host}"
        );
    }
}

#[tokio::test]
async fn an_untrusted_certificate_is_a_tls_failure() {
    let recorder = Recorder::start_tls(&SelfSigned::for_hosts(&["127.0.0.1"]), &["h2"]).await;
    let failure = post(&local_client(), &recorder.url("/"), "{}", AMPLE)
        .await
        .unwrap_err();
    assert_eq!(
        (failure.kind, failure.status),
        (ErrorKind::Tls, None),
        "{failure}"
    );
    assert_eq!(recorder.received().get(), 0);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_a_tls_failure() {
    let certificate = SelfSigned::for_hosts(&["other.example.com"]);
    let recorder = Recorder::start_tls(&certificate, &["h2"]).await;
    let failure = post(&client_trusting(&certificate), &recorder.url("/"), "{}", AMPLE)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Tls, "{failure}");
    assert_eq!(recorder.received().get(), 0);
}
