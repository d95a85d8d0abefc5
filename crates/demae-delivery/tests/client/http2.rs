//! HTTP/2 servers that are odd, busy or leaving: the table in `docs/receiving.md`, HTTP/2 and TLS.

use std::sync::Arc;

use demae_delivery::client::{DeliveryClient, ErrorKind, ExchangeError, ExchangeOutcome};
use demae_testkit::receiver::SelfSigned;
use futures::future::join_all;
use http::Version;

use super::script::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Scripted, Step, frame, send,
};
use super::secure::client_trusting;
use super::support::{AMPLE, SHORT, post};

/// Error codes of HTTP/2 (RFC 9113 section 7).
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;
const HTTP_1_1_REQUIRED: u32 = 13;

/// `:status: 200` and `:status: 204` in HPACK's static table.
const STATUS_200: &[u8] = &[0x88];
const STATUS_204: &[u8] = &[0x89];

fn headers(flags: u8, stream: u32, block: &[u8]) -> Step {
    Step::Send(frame(HEADERS, flags | END_HEADERS, stream, block))
}

/// A whole answer without a body.
fn answer(stream: u32) -> Step {
    headers(END_STREAM, stream, STATUS_200)
}

fn reset(stream: u32, code: u32) -> Step {
    Step::Send(frame(RST_STREAM, 0, stream, &code.to_be_bytes()))
}

fn go_away(last: u32, code: u32) -> Step {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    Step::Send(frame(GOAWAY, 0, 0, &payload))
}

/// A connection that answers the first request and closes when the client does.
fn serving() -> Vec<Step> {
    vec![
        Step::Preface(vec![]),
        Step::Stream(1),
        answer(1),
        Step::UntilClosed,
    ]
}

struct Bed {
    server: Scripted,
    client: DeliveryClient,
}

impl Bed {
    async fn new(connections: Vec<Vec<Step>>) -> Self {
        Self::speaking(&["h2", "http/1.1"], connections).await
    }

    async fn speaking(protocols: &[&str], connections: Vec<Vec<Step>>) -> Self {
        let certificate = SelfSigned::for_hosts(&["127.0.0.1"]);
        Self {
            server: Scripted::start_tls(connections, &certificate, protocols).await,
            client: client_trusting(&certificate),
        }
    }

    async fn post(&self) -> Result<ExchangeOutcome, ExchangeError> {
        let result = post(&self.client, &self.server.url(), "{}", AMPLE).await;
        self.server.note_result();
        result
    }

    async fn succeeds(&self) {
        assert_eq!(self.post().await.unwrap().status, 200);
    }

    async fn fails(&self, kind: ErrorKind, status: Option<u16>) -> ExchangeError {
        let failure = self.post().await.unwrap_err();
        assert_eq!((failure.kind, failure.status), (kind, status), "{failure}");
        failure
    }

    fn saw(&self, connections: usize, requests: usize) {
        let seen = self.server.seen();
        assert_eq!((seen.connections, seen.requests), (connections, requests));
    }
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_at_once() {
    let refusing = vec![
        Step::Preface(vec![]),
        Step::Stream(1),
        reset(1, REFUSED_STREAM),
        Step::UntilClosed,
    ];
    let bed = Bed::new(vec![refusing, serving()]).await;
    bed.succeeds().await;
    bed.saw(2, 2);
}

#[tokio::test]
async fn a_stream_that_is_refused_twice_is_a_failure() {
    let refusing = vec![
        Step::Preface(vec![]),
        Step::Stream(1),
        reset(1, REFUSED_STREAM),
        Step::UntilClosed,
    ];
    let bed = Bed::new(vec![refusing]).await;
    bed.fails(ErrorKind::ConnectionReset, None).await;
    bed.saw(2, 2);
}

#[tokio::test]
async fn a_request_above_the_last_stream_is_sent_again_at_once() {
    for code in [NO_ERROR, PROTOCOL_ERROR] {
        let leaving = vec![Step::Preface(vec![]), Step::Stream(1), go_away(0, code)];
        let bed = Bed::new(vec![leaving, serving()]).await;
        bed.succeeds().await;
        bed.saw(2, 2);
    }
}

#[tokio::test]
async fn a_request_up_to_the_last_stream_is_answered_although_the_server_leaves() {
    let leaving = vec![
        Step::Preface(vec![]),
        Step::Stream(1),
        go_away(1, NO_ERROR),
        answer(1),
        Step::UntilClosed,
    ];
    let bed = Bed::new(vec![leaving, serving()]).await;
    bed.succeeds().await;
    bed.succeeds().await;
    bed.saw(2, 2);
}

#[tokio::test]
async fn a_request_that_the_server_took_and_left_is_a_reset() {
    let leaving = vec![Step::Preface(vec![]), Step::Stream(1), go_away(1, NO_ERROR)];
    let bed = Bed::new(vec![leaving, serving()]).await;
    bed.fails(ErrorKind::ConnectionReset, None).await;
    bed.saw(1, 1);
}

#[tokio::test]
async fn a_request_on_a_kept_connection_that_dies_is_sent_again_at_once() {
    let dying = vec![Step::Preface(vec![]), Step::Stream(1), answer(1), Step::Stream(3)];
    let bed = Bed::new(vec![dying, serving()]).await;
    bed.succeeds().await;
    bed.succeeds().await;
    bed.saw(2, 3);
}

#[tokio::test]
async fn http_1_1_is_spoken_where_the_server_requires_it() {
    let requiring = vec![
        Step::Preface(vec![]),
        Step::Stream(1),
        reset(1, HTTP_1_1_REQUIRED),
        Step::UntilClosed,
    ];
    let http1 = vec![
        Step::Request,
        send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ];
    let bed = Bed::new(vec![requiring, http1]).await;
    let outcome = bed.post().await.unwrap();
    assert_eq!((outcome.status, outcome.http_version), (200, Version::HTTP_11));
    bed.saw(2, 2);
}

#[tokio::test]
async fn another_reset_of_a_stream_is_a_failure_of_that_request_alone() {
    let resetting = vec![
        Step::Preface(vec![]),
        Step::Stream(1),
        reset(1, PROTOCOL_ERROR),
        Step::Stream(3),
        answer(3),
        Step::UntilClosed,
    ];
    let bed = Bed::new(vec![resetting]).await;
    bed.fails(ErrorKind::ConnectionReset, None).await;
    bed.succeeds().await;
    bed.saw(1, 2);
}

#[tokio::test]
async fn a_stream_that_breaks_in_its_body_names_the_status() {
    let breaking = vec![
        Step::Preface(vec![]),
        Step::Stream(1),
        headers(0, 1, STATUS_200),
        Step::Send(frame(DATA, 0, 1, b"half")),
        reset(1, PROTOCOL_ERROR),
        Step::UntilClosed,
    ];
    let bed = Bed::new(vec![breaking]).await;
    let failure = bed.fails(ErrorKind::BodyBroken, Some(200)).await;
    assert_eq!(failure.body, b"half");
}

#[tokio::test]
async fn requests_beyond_the_servers_number_of_streams_wait_their_turn() {
    // SETTINGS_MAX_CONCURRENT_STREAMS (3) = 1
    let settings = vec![0, 3, 0, 0, 0, 1];
    let mut one_by_one = vec![Step::Preface(settings), Step::Frame(4)];
    for stream in [1, 3, 5, 7] {
        one_by_one.extend([Step::Stream(stream), answer(stream)]);
    }
    one_by_one.push(Step::UntilClosed);
    let bed = Bed::new(vec![one_by_one]).await;
    // The first one makes sure that the settings have come.
    bed.succeeds().await;
    let bed = Arc::new(bed);
    let many: Vec<_> = (0..3)
        .map(|_| {
            let bed = Arc::clone(&bed);
            tokio::spawn(async move { bed.post().await })
        })
        .collect();
    for outcome in join_all(many).await {
        assert_eq!(outcome.unwrap().unwrap().status, 200);
    }
    bed.saw(1, 4);
}

/// More than the window of a stream, so that most of it waits to be sent.
const LARGE: usize = 1 << 20;

#[tokio::test]
async fn an_answer_before_the_request_was_read_counts_in_http2() {
    let early = vec![
        Step::Preface(vec![]),
        Step::Frame(HEADERS),
        headers(0, 1, STATUS_200),
        Step::Send(frame(DATA, END_STREAM, 1, b"done")),
        reset(1, NO_ERROR),
        Step::UntilClosed,
    ];
    let bed = Bed::new(vec![early]).await;
    let body: &'static str = "x".repeat(LARGE).leak();
    let outcome = post(&bed.client, &bed.server.url(), body, AMPLE).await.unwrap();
    assert_eq!((outcome.status, &*outcome.body), (200, &b"done"[..]));
}

#[tokio::test]
async fn pings_are_answered_and_a_flood_of_them_ends_with_the_exchange() {
    let mut flooding = vec![Step::Preface(vec![]), Step::Stream(1)];
    for _ in 0..2_000 {
        flooding.push(Step::Send(frame(PING, 0, 0, &[0; 8])));
    }
    flooding.extend([Step::Frame(PING), Step::UntilClosed]);
    let bed = Bed::new(vec![flooding]).await;
    let failure = post(&bed.client, &bed.server.url(), "{}", SHORT)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Timeout);
}

#[tokio::test]
async fn interim_answers_are_passed_over_in_http2() {
    // `:status` (name 8 of the static table, not indexed) with a literal value.
    let interim = |status: &[u8; 3]| [&[0x08, 3], status.as_slice()].concat();
    let bed = Bed::new(vec![vec![
        Step::Preface(vec![]),
        Step::Stream(1),
        headers(0, 1, &interim(b"100")),
        headers(0, 1, &interim(b"103")),
        headers(END_STREAM, 1, STATUS_204),
        Step::UntilClosed,
    ]])
    .await;
    assert_eq!(bed.post().await.unwrap().status, 204);
}

#[tokio::test]
async fn a_header_list_beyond_the_bound_is_a_protocol_failure() {
    // Five literal headers of 16,000 bytes each: more than 64 KiB, sent in one HEADERS frame and its CONTINUATIONs.
    let mut blocks = vec![STATUS_200.to_vec()];
    for n in b'a'..=b'e' {
        let mut block = vec![0, 1, n];
        // An integer of a 7-bit prefix (RFC 7541 section 5.1): 127 + 0x71 + 0x7b * 128 = 15,984.
        block.extend([0x7f, 0xf1, 0x7b]);
        block.extend(std::iter::repeat_n(b'v', 15_984));
        blocks.push(block);
    }
    let last = blocks.len() - 1;
    let mut script = vec![Step::Preface(vec![]), Step::Stream(1)];
    for (place, block) in blocks.iter().enumerate() {
        let kind = if place == 0 { HEADERS } else { 9 };
        let end = if place == last { END_HEADERS } else { 0 };
        let end = if place == 0 { END_STREAM } else { end };
        script.push(Step::Send(frame(kind, end, 1, block)));
    }
    script.extend([Step::Stream(3), answer(3), Step::UntilClosed]);
    let bed = Bed::new(vec![script, serving()]).await;
    let failure = bed.post().await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.status),
        (ErrorKind::Protocol, None),
        "{failure}"
    );
    bed.succeeds().await;
}

#[tokio::test]
async fn the_end_of_tls_without_notice_cuts_only_an_answer_without_length() {
    // The scripted server closes TCP and says nothing in TLS.
    let whole = vec![
        Step::Request,
        send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ];
    let open = vec![Step::Request, send("HTTP/1.1 200 OK\r\n\r\nok")];
    let bed = Bed::speaking(&["http/1.1"], vec![whole, open]).await;
    bed.succeeds().await;
    bed.server.wait(|seen| seen.finished == 1).await;
    let failure = bed.fails(ErrorKind::BodyBroken, Some(200)).await;
    assert_eq!(failure.body, b"ok");
    bed.saw(2, 2);
}

#[tokio::test]
async fn a_request_that_meets_the_end_of_tls_is_sent_again_at_once() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let dying = vec![Step::Request, send(ok), Step::Request];
    let living = vec![Step::Request, send(ok), Step::UntilClosed];
    let bed = Bed::speaking(&["http/1.1"], vec![dying, living]).await;
    bed.succeeds().await;
    bed.succeeds().await;
    bed.saw(2, 3);
}

#[tokio::test]
async fn an_early_answer_counts_in_tls() {
    let answer = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
    let bed = Bed::speaking(&["http/1.1"], vec![vec![Step::Head, send(answer), Step::Reset]]).await;
    let body: &'static str = "x".repeat(16 << 20).leak();
    let outcome = post(&bed.client, &bed.server.url(), body, AMPLE).await.unwrap();
    assert_eq!(outcome.status, 413);
}

#[tokio::test]
async fn a_ping_is_answered_while_a_request_waits() {
    let strict = vec![
        Step::Preface(vec![0, 4, 0, 0, 0x40, 0]),
        Step::Stream(1),
        Step::Send(frame(PING, 0, 0, b"12345678")),
        Step::Frame(PING),
        answer(1),
        Step::UntilClosed,
    ];
    let bed = Bed::new(vec![strict]).await;
    bed.succeeds().await;
}
