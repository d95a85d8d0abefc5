//! Connections are kept and reused, and a kept one that died is no failure.

use std::time::Duration;

use bytes::Bytes;
use demae_delivery::client::{EndpointUrl, ErrorKind, OutgoingRequest, RESPONSE_BODY_LIMIT};
use demae_testkit::receiver::{Answer, Behaviour, Gate, Receiver, Recorder};
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::support::{AMPLE, SHORT, local_client, post};

#[tokio::test]
async fn many_exchanges_use_one_connection() {
    let recorder = Recorder::start().await;
    recorder.answer(Answer::ok().body("thanks"));
    let client = local_client();
    for _ in 0..50 {
        let outcome = post(&client, &recorder.url("/hook"), "{\"a\":1}", AMPLE)
            .await
            .unwrap();
        assert_eq!((outcome.status, &*outcome.body), (200, &b"thanks"[..]));
        assert_eq!(outcome.http_version, Version::HTTP_11);
    }
    assert_eq!(recorder.connections().get(), 1);
    assert_eq!(recorder.received().get(), 50);
    assert_eq!(recorder.requests()[49].body, "{\"a\":1}");
}

#[tokio::test]
async fn exchanges_at_the_same_time_do_not_wait_for_each_other() {
    let recorder = Recorder::start().await;
    let gate = Gate::closed();
    recorder.script([Answer::ok().held_by(&gate)]);
    let client = local_client();
    let held = tokio::spawn({
        let (client, url) = (client.clone(), recorder.url("/held"));
        async move { post(&client, &url, "{}", AMPLE).await }
    });
    recorder.wait_for(1).await;
    assert_eq!(
        post(&client, &recorder.url("/free"), "{}", AMPLE)
            .await
            .unwrap()
            .status,
        200
    );
    gate.open();
    assert_eq!(held.await.unwrap().unwrap().status, 200);
    assert_eq!(recorder.connections().get(), 2);
}

#[tokio::test]
async fn an_exchange_that_timed_out_takes_its_connection_with_it() {
    let recorder = Recorder::start().await;
    recorder.script([Answer::ok().held_by(&Gate::closed())]);
    let client = local_client();
    let failure = post(&client, &recorder.url("/"), "{}", SHORT).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Timeout);
    recorder.open_connections().wait_for_at_most(0).await;
    assert_eq!(
        post(&client, &recorder.url("/"), "{}", AMPLE)
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(recorder.connections().get(), 2);
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_replaced() {
    let answer = Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let receiver = Receiver::start(Behaviour::AnswerThenClose(answer)).await;
    let client = local_client();
    for exchange in 1..=20 {
        let outcome = post(&client, &receiver.url("/"), "{}", AMPLE).await.unwrap();
        assert_eq!(outcome.status, 200);
        receiver.open_connections().wait_for_at_most(0).await;
        assert_eq!(receiver.requests().get(), exchange, "each request was sent once");
    }
}

#[tokio::test]
async fn framing_belongs_to_the_client_and_the_rest_to_the_caller() {
    let recorder = Recorder::start().await;
    let with_credentials = recorder
        .url("/hook?x=1#part")
        .replace("http://", "http://jo:secret@");
    let url = EndpointUrl::parse(&with_credentials, true)
        .or_else(|_| EndpointUrl::parse(&with_credentials, false))
        .unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (CONTENT_LENGTH, "3"),
        (TRANSFER_ENCODING, "chunked"),
        (CONNECTION, "upgrade"),
        (HOST, "other.example.com"),
        (HeaderName::from_static("webhook-id"), "msg_1"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let request = OutgoingRequest {
        url: &url,
        headers,
        body: Bytes::from_static(b"{\"hello\":true}"),
        timeout: Duration::from_secs(20),
        response_limit: RESPONSE_BODY_LIMIT,
    };
    local_client().exchange(request).await.unwrap();

    let received = &recorder.requests()[0];
    assert_eq!(received.body, "{\"hello\":true}");
    assert_eq!(received.uri, "/hook?x=1");
    assert_eq!(received.header(CONTENT_LENGTH.as_str()), Some("14"));
    assert_eq!(
        received.header(HOST.as_str()),
        Some(&*recorder.address().to_string())
    );
    assert_eq!(
        received.header(AUTHORIZATION.as_str()),
        Some("Basic am86c2VjcmV0")
    );
    assert_eq!(received.header("webhook-id"), Some("msg_1"));
    assert_eq!(received.header(TRANSFER_ENCODING.as_str()), None);
    assert_eq!(received.header(CONNECTION.as_str()), None);
}
