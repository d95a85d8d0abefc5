//! Clients that cost a server something, over real sockets. The clock is paused, so that limits pass at once.

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::server::watch::{
    self, ANSWER_LIMIT, CHECK_INTERVAL, FIRST_REQUEST_LIMIT, REQUEST_LIMIT, STALL_LIMIT,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// SETTINGS without a setting.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// More than the buffers of both ends hold.
const LONG_ANSWER: usize = 64 * 1024 * 1024;

async fn serve(limits: ConnectionLimits) -> (HttpServer, SocketAddr) {
    let router = Router::new()
        .route("/", get(async || "served"))
        .route("/never", get(std::future::pending::<()>))
        .route("/long", get(async || vec![b'x'; LONG_ANSWER]))
        .route("/body", post(async |_: axum::body::Bytes| "read"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (HttpServer::start(vec![listener], &router, &limits), address)
}

fn limits(connections: usize, per_address: usize) -> ConnectionLimits {
    ConnectionLimits {
        connections,
        per_address,
        trusted: Vec::new(),
    }
}

/// Everything that the server still says, until it ends the connection; fails if it does not within `limit`.
async fn rest_within(limit: Duration, stream: &mut TcpStream, what: &str) -> Vec<u8> {
    let mut read = Vec::new();
    // Both times pass at once; without the check's interval the test would demand the impossible.
    tokio::time::timeout(limit + 2 * CHECK_INTERVAL, stream.read_to_end(&mut read))
        .await
        .unwrap_or_else(|_| panic!("still open: {what}"))
        .ok();
    read
}

async fn get_once(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_whole_request_ends() {
    let (server, address) = serve(limits(100, 100)).await;
    let half_headers = [PREFACE, SETTINGS, &[0, 0, 40, 1, 4, 0, 0, 0, 1, 0x82]].concat();
    let openings: [&[u8]; 7] = [
        b"",
        b"G",
        b"PRI * HTT",
        PREFACE,
        &[PREFACE, SETTINGS].concat(),
        &half_headers,
        b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ",
    ];
    for opening in openings {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(opening).await.unwrap();
        let what = String::from_utf8_lossy(opening).into_owned();
        rest_within(FIRST_REQUEST_LIMIT, &mut stream, &what).await;
    }
    assert!(server.drain(Instant::now() + Duration::from_secs(1)).await);
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_that_asks_for_nothing_more() {
    let (_server, address) = serve(limits(100, 100)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let answer = rest_within(IDLE_LIMIT, &mut stream, "idle").await;
    assert!(answer.ends_with(b"served"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_end_ends_its_connection() {
    let (_server, address) = serve(limits(100, 100)).await;
    for request in [
        "POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n1",
        "GET /never HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(rest_within(REQUEST_LIMIT, &mut stream, request).await.is_empty());
    }
}

#[tokio::test]
async fn requests_wait_while_the_answers_before_them_are_not_read() {
    let begun = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let counted = begun.clone();
    let long = get(async move || {
        counted.add_permits(1);
        vec![b'x'; LONG_ANSWER]
    });
    let router = Router::new()
        .route("/", get(async || "served"))
        .route("/long", long);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _server = HttpServer::start(vec![listener], &router, &limits(100, 100));
    let mut deaf = TcpStream::connect(address).await.unwrap();
    let requests = "GET /long HTTP/1.1\r\nhost: x\r\n\r\n".repeat(8);
    deaf.write_all(requests.as_bytes()).await.unwrap();
    begun.acquire().await.unwrap().forget();
    // A round trip of others, in which the server would have gone on.
    assert!(get_once(address).await.ends_with("served"));
    assert_eq!(
        begun.available_permits(),
        0,
        "an answer was prepared that nobody can take"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_loses_its_place() {
    let (_server, address) = serve(limits(1, 1)).await;
    let mut deaf = TcpStream::connect(address).await.unwrap();
    deaf.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    // There is one place, and the deaf client has it.
    let next = tokio::time::timeout(STALL_LIMIT + 2 * CHECK_INTERVAL, get_once(address));
    assert!(next.await.expect("the place is still taken").ends_with("served"));
    drop(deaf);
}

#[tokio::test]
async fn a_long_answer_arrives_whole() {
    let (_server, address) = serve(limits(1, 1)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /long HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let head_end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..head_end]).to_lowercase();
    assert!(head.contains(&format!("content-length: {LONG_ANSWER}")), "{head}");
    assert_eq!(answer.len() - head_end - 4, LONG_ANSWER);
}

#[tokio::test(start_paused = true)]
async fn an_http2_client_that_resets_its_streams_loses_its_connection() {
    let (_server, address) = serve(limits(1, 1)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut bytes = [PREFACE, SETTINGS].concat();
    for number in 0..2_000_u32 {
        let id = (2 * number + 1).to_be_bytes();
        // GET http://x/never, as indexed and literal fields without a table; then RST_STREAM with CANCEL.
        let fields = b"\x82\x86\x04\x06/never\x01\x01x";
        bytes.extend([&[0, 0, fields.len() as u8, 1, 5], &id[..], fields].concat());
        bytes.extend([&[0, 0, 4, 3, 0], &id[..], &8_u32.to_be_bytes()].concat());
    }
    // The server may end the connection before all of it is written.
    stream.write_all(&bytes).await.ok();
    rest_within(CHECK_INTERVAL, &mut stream, "reset flood").await;
    drop(stream);
    assert!(get_once(address).await.ends_with("served"));
}

#[tokio::test(start_paused = true)]
async fn an_address_has_its_share_of_the_connections() {
    let (_server, address) = serve(limits(10, 1)).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 12];
    first.read_exact(&mut head).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    assert!(
        rest_within(Duration::ZERO, &mut second, "beyond the share")
            .await
            .is_empty()
    );
    drop(first);
    // The server notices the end of the first connection in its own time.
    loop {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let mut answer = String::new();
        if stream.write_all(request).await.is_ok()
            && stream.read_to_string(&mut answer).await.is_ok()
            && answer.ends_with("served")
        {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_too_slowly_ends() {
    let watch = Watch::begin();
    let exchange = watch.exchange();
    tokio::time::advance(REQUEST_LIMIT.saturating_sub(Duration::from_secs(1))).await;
    let began = Instant::now();
    let _unread = exchange.answer(axum::response::Response::new(axum::body::Body::from("x")));
    assert_eq!(
        watch.overdue().await,
        "a request or its answer did not end in time"
    );
    assert!(began.elapsed() >= ANSWER_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn requests_that_were_answered_may_be_as_many_as_one_likes() {
    let watch = Watch::begin();
    for _ in 0..10_000 {
        let exchange = watch.exchange();
        drop(exchange.answer(axum::response::Response::default()));
    }
    for _ in 0..=watch::MAX_ABORTED {
        drop(watch.exchange());
    }
    let began = Instant::now();
    assert_eq!(watch.overdue().await, "no request came in time");
    assert!(began.elapsed() >= IDLE_LIMIT);
    for _ in 0..=10_000 {
        drop(watch.exchange());
    }
    assert_eq!(watch.overdue().await, "the client takes its requests back");
}

#[tokio::test(start_paused = true)]
async fn a_head_larger_than_the_buffer_is_refused() {
    let (server, address) = serve(limits(100, 100)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx-long: {}",
        "x".repeat(HTTP1_BUFFER)
    );
    // The server may close while the rest is being written.
    let _ = stream.write_all(head.as_bytes()).await;
    let answer = rest_within(FIRST_REQUEST_LIMIT, &mut stream, "a head without end").await;
    assert!(
        answer.starts_with(b"HTTP/1.1 431 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert!(get_once(address).await.ends_with("served"));
    server.drain(Instant::now()).await;
}
