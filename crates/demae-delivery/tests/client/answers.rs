//! Answers that are odd but legal, or wrong in a common way: the table in `docs/receiving.md`, HTTP/1.1.
//!
//! Each row is a script for a raw server and what each of the client's exchanges comes to.

use demae_delivery::client::ErrorKind;

use super::script::{Scripted, Step, send};
use super::support::{AMPLE, SHORT, local_client, post};

/// What an exchange comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A complete answer: status and body.
    Answer(u16, String),
    /// A failure: kind, status if a head came, and the part of the body that came.
    Failure(ErrorKind, Option<u16>, String),
}

fn answer(status: u16, body: &str) -> Outcome {
    Outcome::Answer(status, body.to_owned())
}

fn failure(kind: ErrorKind) -> Outcome {
    Outcome::Failure(kind, None, String::new())
}

fn broken(kind: ErrorKind, status: u16, body: &str) -> Outcome {
    Outcome::Failure(kind, Some(status), body.to_owned())
}

/// Plays the script while the client makes as many exchanges as there are outcomes, one after the other; returns the
/// number of connections and of requests that the server saw.
async fn play(
    connections: Vec<Vec<Step>>,
    outcomes: &[Outcome],
    patience: std::time::Duration,
) -> (usize, usize) {
    let server = Scripted::start(connections).await;
    let client = local_client();
    for expected in outcomes {
        let outcome = match post(&client, &server.url(), "{\"a\":1}", patience).await {
            Ok(outcome) => Outcome::Answer(outcome.status, String::from_utf8(outcome.body).unwrap()),
            Err(failure) => Outcome::Failure(
                failure.kind,
                failure.status,
                String::from_utf8(failure.body).unwrap(),
            ),
        };
        assert_eq!(outcome, *expected);
        server.note_result();
    }
    let seen = server.seen();
    (seen.connections, seen.requests)
}

/// One answer for each request, on kept connections.
fn answering(answers: &[&str]) -> Vec<Step> {
    answers
        .iter()
        .flat_map(|answer| [Step::Request, send(answer)])
        .chain([Step::UntilClosed])
        .collect()
}

/// An answer, then the end of the connection.
fn answering_once(answer: &str) -> Vec<Step> {
    vec![Step::Request, send(answer)]
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// More than the client reads at once, and less than it keeps.
const LONG: usize = 15_000;

fn long_chunk_with_a_length() -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\ntransfer-encoding: chunked\r\n\r\n{LONG:x}\r\n{}\r\n0\r\n\r\n",
        "x".repeat(LONG)
    )
}

/// Rows: name, connections, outcomes, and the number of connections and requests that the server sees.
macro_rules! rows {
    ($(fn $name:ident: [$($connection:expr),+ $(,)?] => [$($outcome:expr),+ $(,)?], $seen:expr;)+) => {
        $(#[tokio::test]
        async fn $name() {
            let outcomes = [$($outcome),+];
            let slow = outcomes.iter().any(|outcome| {
                matches!(outcome, Outcome::Failure(ErrorKind::Timeout | ErrorKind::BodyTimeout, ..))
            });
            let seen = play(vec![$($connection),+], &outcomes, if slow { SHORT } else { AMPLE }).await;
            assert_eq!(seen, $seen, "connections and requests");
        })+
    };
}

fn many_headers(count: usize) -> String {
    let lines = (0..count).fold(String::new(), |lines, n| lines + &format!("x-{n}: {n}\r\n"));
    format!("HTTP/1.1 200 OK\r\n{lines}content-length: 2\r\n\r\nok")
}

rows! {
    // Heads.
    fn a_folded_header_is_joined: [answering(&[
        "HTTP/1.1 200 OK\r\nx-folded: one\r\n two\r\n\tthree\r\ncontent-length: 2\r\n\r\nok", OK,
    ])] => [answer(200, "ok"), answer(200, "ok")], (1, 2);
    fn some_hundred_header_lines_are_accepted: [answering(&[
        &many_headers(101), &many_headers(255), OK,
    ])] => [answer(200, "ok"), answer(200, "ok"), answer(200, "ok")], (1, 3);
    fn more_header_lines_than_the_bound_are_a_protocol_failure: [answering(&[&many_headers(300)])]
        => [failure(ErrorKind::Protocol)], (1, 1);
    fn lines_may_end_without_a_carriage_return: [answering(&[
        "HTTP/1.1 200 OK\nx-a: b\ncontent-length: 2\n\nok", OK,
    ])] => [answer(200, "ok"), answer(200, "ok")], (1, 2);
    fn space_around_names_and_values_is_passed_over: [answering(&[
        "HTTP/1.1 200 OK\r\nx-a : b\r\nx-c:\t d \t\r\nx-empty:\r\ncontent-length :  2 \r\n\r\nok", OK,
    ])] => [answer(200, "ok"), answer(200, "ok")], (1, 2);
    fn a_line_that_is_no_header_is_passed_over: [answering(&[
        "HTTP/1.1 200 OK\r\nbad header\r\nb@d: x\r\ncontent-length: 2\r\n\r\nok", OK,
    ])] => [answer(200, "ok"), answer(200, "ok")], (1, 2);
    fn a_status_line_needs_no_reason: [answering(&[
        "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok",
    ])] => [answer(200, "ok"), answer(200, "ok")], (1, 2);
    fn an_empty_line_before_the_status_line_is_passed_over: [answering(&[
        "\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", OK,
    ])] => [answer(200, "ok"), answer(200, "ok")], (1, 2);
    fn an_unknown_status_counts_as_its_class: [answering(&[
        "HTTP/1.1 299 Quite\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 499 Not quite\r\ncontent-length: 0\r\n\r\n",
    ])] => [answer(299, ""), answer(499, "")], (1, 2);
    fn what_is_no_status_is_a_protocol_failure: [
        answering_once("HTTP/1.1 2000 OK\r\n\r\n"), answering_once("\r\n\r\n\r\n\r\nno\r\n\r\n"),
        answering_once("HTTP/2.0 200 OK\r\n\r\n"), answering_once("ICY 200 OK\r\n\r\n"),
    ] => [
        failure(ErrorKind::Protocol), failure(ErrorKind::Protocol), failure(ErrorKind::Protocol),
        failure(ErrorKind::Protocol),
    ], (4, 4);

    // Interim answers.
    fn interim_answers_are_passed_over: [answering(&[
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok",
        OK,
    ])] => [answer(202, "ok"), answer(200, "ok")], (1, 2);
    fn an_upgrade_that_was_not_asked_for_is_a_failure_with_its_status: [
        vec![
            Step::Request,
            send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"),
            Step::UntilClosed,
        ],
        answering(&[OK]),
    ] => [answer(101, ""), answer(200, "ok")], (2, 2);

    // The end of an answer.
    fn a_204_with_a_body_costs_its_connection_and_nothing_else: [
        vec![
            Step::Request,
            send("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n"),
            Step::AfterResult(1),
            send("ok"),
            Step::UntilClosed,
        ],
        answering(&[OK, OK]),
    ] => [answer(204, ""), answer(200, "ok"), answer(200, "ok")], (2, 3);
    fn a_304_with_a_length_costs_its_connection_and_nothing_else: [
        vec![
            Step::Request,
            send("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n"),
            Step::AfterResult(1),
            send("2\r\nok\r\n0\r\n\r\n"),
            Step::UntilClosed,
        ],
        answering(&[OK, OK]),
    ] => [answer(304, ""), answer(200, "ok"), answer(200, "ok")], (2, 3);
    fn a_204_without_a_body_keeps_its_connection: [answering(&[
        "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", OK,
    ])] => [answer(204, ""), answer(204, ""), answer(200, "ok")], (1, 3);
    fn chunks_may_have_extensions_and_trailers: [answering(&[
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;a=b;c=\"d\"\r\no\r\n01 ;x\r\nk\r\n0;last\r\nx-digest: 1\r\nx-more: 2\r\n\r\n",
        OK,
    ])] => [answer(200, "ok"), answer(200, "ok")], (1, 2);
    fn a_length_may_be_repeated: [answering(&[
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        OK,
    ])] => [answer(200, "ok"), answer(200, "ok"), answer(200, "ok")], (1, 3);
    fn lengths_that_conflict_are_a_protocol_failure: [
        answering_once("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nok"),
        answering_once("HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nok"),
        answering_once("HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok"),
        answering_once("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nok"),
    ] => [
        failure(ErrorKind::Protocol), failure(ErrorKind::Protocol), failure(ErrorKind::Protocol),
        failure(ErrorKind::Protocol),
    ], (4, 4);
    fn chunks_overrule_a_length_and_cost_the_connection: [
        vec![
            Step::Request,
            send("HTTP/1.1 200 OK\r\ncontent-length: 7\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            Step::UntilClosed,
        ],
        vec![Step::Request, send(&long_chunk_with_a_length()), Step::UntilClosed],
        answering(&[OK]),
    ] => [answer(200, "ok"), answer(200, &"x".repeat(LONG)), answer(200, "ok")], (3, 3);
    fn a_coding_other_than_chunked_is_read_to_the_end_of_the_connection: [
        answering_once("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok"),
        answering_once("HTTP/1.1 200 OK\r\n\r\nok"),
    ] => [answer(200, "ok"), answer(200, "ok")], (2, 2);
    fn a_length_without_a_body_is_a_failure_that_names_the_status: [
        vec![Step::Request, send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"), Step::UntilClosed],
    ] => [broken(ErrorKind::BodyTimeout, 200, "")], (1, 1);
    fn a_broken_body_is_a_failure_that_names_the_status: [
        answering_once("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"),
        answering_once("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"),
        answering_once("HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nno length\r\n"),
    ] => [
        broken(ErrorKind::BodyBroken, 200, "half"), broken(ErrorKind::BodyBroken, 200, "ok"),
        broken(ErrorKind::BodyBroken, 503, "ok"),
    ], (3, 3);

    // The life of a connection.
    fn http_1_0_is_one_answer_a_connection: [
        answering_once("HTTP/1.0 200 OK\r\n\r\nok"),
        vec![Step::Request, send("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"), Step::UntilClosed],
        answering(&["HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", OK]),
    ] => [answer(200, "ok"), answer(200, "ok"), answer(200, "ok"), answer(200, "ok")], (3, 4);
    fn http_1_0_with_chunks_is_a_protocol_failure: [
        answering_once("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ] => [failure(ErrorKind::Protocol)], (1, 1);
    fn a_connection_that_is_to_close_is_not_used_again: [
        vec![
            Step::Request,
            send("HTTP/1.1 200 OK\r\nConnection: x-other, Close\r\ncontent-length: 2\r\n\r\nok"),
            Step::UntilClosed,
        ],
        answering(&[OK]),
    ] => [answer(200, "ok"), answer(200, "ok")], (2, 2);
    fn a_hint_of_how_long_a_connection_is_kept_is_passed_over: [answering(&[
        "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nkeep-alive: timeout=1, max=1\r\ncontent-length: 2\r\n\r\nok", OK,
    ])] => [answer(200, "ok"), answer(200, "ok")], (1, 2);
    fn a_request_that_meets_a_dying_connection_is_sent_again_at_once: [
        vec![Step::Request, send(OK), Step::Request],
        answering(&[OK]),
    ] => [answer(200, "ok"), answer(200, "ok")], (2, 3);
    fn a_request_that_meets_a_reset_is_sent_again_at_once: [
        vec![Step::Request, send(OK), Step::Request, Step::Reset],
        answering(&[OK]),
    ] => [answer(200, "ok"), answer(200, "ok")], (2, 3);
    fn a_request_is_sent_again_once: [
        vec![Step::Request, send(OK), Step::Request],
        vec![Step::Request],
        answering(&[OK]),
    ] => [answer(200, "ok"), failure(ErrorKind::ConnectionReset), answer(200, "ok")], (3, 4);
    fn a_request_on_a_new_connection_is_not_sent_again: [
        vec![Step::Request],
        answering(&[OK]),
    ] => [failure(ErrorKind::ConnectionReset), answer(200, "ok")], (2, 2);
    fn a_request_whose_answer_had_begun_is_not_sent_again: [
        vec![Step::Request, send(OK), Step::Request, send("HTTP/1.1 200 O")],
        answering(&[OK]),
    ] => [answer(200, "ok"), failure(ErrorKind::ConnectionReset), answer(200, "ok")], (2, 3);
    fn a_408_on_a_kept_connection_is_no_answer: [
        vec![
            Step::Request,
            send(OK),
            Step::Request,
            send("HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        ],
        answering(&[OK]),
    ] => [answer(200, "ok"), answer(200, "ok")], (2, 3);
    fn a_408_on_a_new_connection_is_an_answer: [
        answering_once("HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    ] => [answer(408, "")], (1, 1);
    fn a_421_costs_its_connection: [
        vec![
            Step::Request,
            send("HTTP/1.1 421 Misdirected Request\r\ncontent-length: 0\r\n\r\n"),
            Step::UntilClosed,
        ],
        answering(&[OK]),
    ] => [answer(421, ""), answer(200, "ok")], (2, 2);
}

/// Far more than the sockets buffer, so that the answer comes while the request is being written.
const LARGE: usize = 16 << 20;

#[tokio::test]
async fn an_answer_before_the_request_was_read_counts() {
    for last in [Step::Reset, Step::AfterResult(0)] {
        let answer = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
        let server = Scripted::start(vec![vec![Step::Head, send(answer), last]]).await;
        let body: &'static str = "x".repeat(LARGE).leak();
        let outcome = post(&local_client(), &server.url(), body, AMPLE).await.unwrap();
        assert_eq!((outcome.status, &*outcome.body), (413, &b"no"[..]));
        assert_eq!(server.seen().connections, 1);
    }
}

#[tokio::test]
async fn odd_headers_are_kept_as_they_read() {
    let server = Scripted::start(vec![vec![
        Step::Request,
        Step::Send(
            b"HTTP/1.1 200 Gr\xfcn\r\nx-folded: one\r\n two\r\nx-text: gr\xfcn\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        ),
    ]])
    .await;
    let outcome = post(&local_client(), &server.url(), "{}", AMPLE).await.unwrap();
    let header = |name: &str| {
        let found = outcome.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(header("x-folded").as_deref(), Some("one two"));
    assert_eq!(header("x-text").as_deref(), Some("grün"));
}
