//! Servers that do not behave: every exchange ends, with the right kind, and keeps little.

use bytes::Bytes;
use demae_delivery::client::{
    EndpointUrl, ErrorKind, ExchangeError, OutgoingRequest, RESPONSE_BODY_LIMIT, RESPONSE_HEADER_BYTES_LIMIT,
    RESPONSE_HEADER_COUNT_LIMIT,
};
use demae_testkit::receiver::{Answer, Behaviour, Receiver, Recorder};
use http::HeaderMap;
use tokio::net::TcpListener;

use super::support::{AMPLE, SHORT, local_client, post};

async fn failure(behaviour: Behaviour) -> ExchangeError {
    let receiver = Receiver::start(behaviour).await;
    post(&local_client(), &receiver.url("/"), "{}", AMPLE)
        .await
        .unwrap_err()
}

async fn timed_out(behaviour: Behaviour) -> ExchangeError {
    let receiver = Receiver::start(behaviour).await;
    let failure = post(&local_client(), &receiver.url("/"), "{}", SHORT)
        .await
        .unwrap_err();
    assert!(failure.duration >= SHORT);
    receiver.open_connections().wait_for_at_most(0).await;
    failure
}

fn raw(bytes: &'static str) -> Behaviour {
    Behaviour::Raw(Bytes::from_static(bytes.as_bytes()))
}

#[tokio::test]
async fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let failure = post(&local_client(), &format!("http://{address}/"), "{}", AMPLE)
        .await
        .unwrap_err();
    assert_eq!((failure.kind, failure.status), (ErrorKind::ConnectRefused, None));
}

#[tokio::test]
async fn a_connection_that_nobody_takes_times_out() {
    let failure = timed_out(Behaviour::NeverAccept).await;
    assert_eq!((failure.kind, failure.status), (ErrorKind::Timeout, None));
}

#[tokio::test]
async fn silence_and_slow_headers_time_out() {
    for behaviour in [
        Behaviour::Silent,
        Behaviour::slow_headers(),
        Behaviour::RawThenSilent(Bytes::from_static(b"HTTP/1.1 200")),
        // Interim answers are no answer.
        Behaviour::RawThenSilent(Bytes::from_static(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
        )),
        Behaviour::Drip {
            prefix: Bytes::new(),
            piece: Bytes::from_static(b"HTTP/1.1 102 Processing\r\n\r\n"),
            pause: SHORT / 10,
        },
    ] {
        let failure = timed_out(behaviour.clone()).await;
        assert_eq!(
            (failure.kind, failure.status),
            (ErrorKind::Timeout, None),
            "{behaviour:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_does_not_end_times_out_with_the_status_known() {
    for behaviour in [
        Behaviour::slow_body(),
        Behaviour::RawThenSilent(Bytes::from_static(
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        )),
        Behaviour::RawThenSilent(Bytes::from_static(
            b"HTTP/1.1 200 OK\r\n\r\nuntil the connection closes",
        )),
    ] {
        let failure = timed_out(behaviour.clone()).await;
        assert_eq!(
            (failure.kind, failure.status),
            (ErrorKind::BodyTimeout, Some(200)),
            "{behaviour:?}"
        );
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_and_the_connection_dropped() {
    let receiver = Receiver::start(Behaviour::endless_body()).await;
    let client = local_client();
    let outcome = post(&client, &receiver.url("/"), "{}", AMPLE).await.unwrap();
    assert_eq!(
        (outcome.status, outcome.body.len(), outcome.truncated),
        (200, RESPONSE_BODY_LIMIT, true)
    );
    receiver.open_connections().wait_for_at_most(0).await;
    post(&client, &receiver.url("/"), "{}", AMPLE).await.unwrap();
    assert_eq!(receiver.connections().get(), 2);
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_whole() {
    let recorder = Recorder::start().await;
    recorder.script([
        Answer::ok().body(vec![b'x'; RESPONSE_BODY_LIMIT]),
        Answer::ok().body(vec![b'x'; RESPONSE_BODY_LIMIT + 1]),
    ]);
    let client = local_client();
    let whole = post(&client, &recorder.url("/"), "{}", AMPLE).await.unwrap();
    assert_eq!((whole.body.len(), whole.truncated), (RESPONSE_BODY_LIMIT, false));
    let cut = post(&client, &recorder.url("/"), "{}", AMPLE).await.unwrap();
    assert_eq!((cut.body.len(), cut.truncated), (RESPONSE_BODY_LIMIT, true));
}

#[tokio::test]
async fn closing_or_resetting_before_the_headers_end_is_a_reset() {
    for behaviour in [
        Behaviour::CloseOnAccept,
        Behaviour::CloseAfterRequest,
        Behaviour::ResetAfterRequest,
        raw("HTTP/1.1 200 OK\r\ncontent-le"),
        Behaviour::RawThenReset(Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-le")),
    ] {
        let failure = failure(behaviour.clone()).await;
        assert_eq!(
            (failure.kind, failure.status),
            (ErrorKind::ConnectionReset, None),
            "{behaviour:?}: {failure}"
        );
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_failure_whatever_the_status() {
    for behaviour in [
        Behaviour::wrong_length(100, 10),
        raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel"),
        raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a length\r\n"),
    ] {
        let failure = failure(behaviour.clone()).await;
        assert_eq!(
            (failure.kind, failure.status),
            (ErrorKind::BodyBroken, Some(200)),
            "{behaviour:?}: {failure}"
        );
    }
}

#[tokio::test]
async fn a_reset_in_the_body_is_a_broken_body() {
    // Far more than the sockets buffer, so that the headers were read when the reset comes.
    let sent = 16 << 20;
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", sent * 2).into_bytes();
    answer.resize(answer.len() + sent, b'b');
    let receiver = Receiver::start(Behaviour::RawThenReset(answer.into())).await;
    let url = EndpointUrl::parse(&receiver.url("/"), false).unwrap();
    let request = OutgoingRequest {
        url: &url,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        timeout: AMPLE,
        response_limit: sent * 2,
    };
    let failure = local_client().exchange(request).await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.status),
        (ErrorKind::BodyBroken, Some(200)),
        "{failure}"
    );
}

#[tokio::test]
async fn bytes_beyond_the_announced_length_are_not_the_body() {
    let receiver = Receiver::start(Behaviour::wrong_length(5, 50)).await;
    let outcome = post(&local_client(), &receiver.url("/"), "{}", AMPLE)
        .await
        .unwrap();
    assert_eq!((outcome.status, &*outcome.body), (200, &b"bbbbb"[..]));
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    for behaviour in [
        raw("220 mail.example.com ESMTP ready\r\n"),
        raw("\0\x01\x02\x03\r\n\r\n"),
        raw("HTTP/1.1 20 OK\r\n\r\n"),
        raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        raw("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"),
        Behaviour::endless_headers(),
    ] {
        let failure = failure(behaviour.clone()).await;
        assert_eq!(
            (failure.kind, failure.status),
            (ErrorKind::Protocol, None),
            "{failure}"
        );
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_is_a_failure() {
    // Whether the banner or the request wins the race decides what the client sees; it never sees an answer.
    let failure = failure(Behaviour::SpeakFirst(Bytes::from_static(
        b"SSH-2.0-OpenSSH_9.6\r\n",
    )))
    .await;
    assert!(
        matches!(failure.kind, ErrorKind::Protocol | ErrorKind::ConnectionReset),
        "{failure}"
    );
}

#[tokio::test]
async fn tls_asked_of_a_server_in_clear_is_a_tls_failure() {
    let recorder = Recorder::start().await;
    let url = recorder.url("/").replace("http:", "https:");
    let failure = post(&local_client(), &url, "{}", AMPLE).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Tls, "{failure}");
    assert_eq!(recorder.received().get(), 0);
}

#[tokio::test]
async fn interim_answers_are_skipped() {
    let receiver = Receiver::start(raw(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok",
    ))
    .await;
    let outcome = post(&local_client(), &receiver.url("/"), "{}", AMPLE)
        .await
        .unwrap();
    assert_eq!((outcome.status, &*outcome.body), (202, &b"ok"[..]));
}

#[tokio::test]
async fn of_many_response_headers_the_first_are_kept() {
    let recorder = Recorder::start().await;
    let many = (0..90).fold(Answer::ok(), |answer, n| answer.header("x-many", &n.to_string()));
    let large = (0..9).fold(Answer::ok(), |answer, _| {
        answer.header("x-large", &"v".repeat(2_000))
    });
    recorder.script([many, large]);
    let client = local_client();

    let outcome = post(&client, &recorder.url("/"), "{}", AMPLE).await.unwrap();
    assert_eq!(outcome.headers.len(), RESPONSE_HEADER_COUNT_LIMIT);
    assert_eq!(outcome.headers[1], ("x-many".to_owned(), "1".to_owned()));
    let outcome = post(&client, &recorder.url("/"), "{}", AMPLE).await.unwrap();
    let bytes: usize = outcome
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    assert!(bytes > 0 && bytes <= RESPONSE_HEADER_BYTES_LIMIT);
}
