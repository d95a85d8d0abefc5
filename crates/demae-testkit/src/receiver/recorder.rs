//! A receiver that behaves: records every request and gives the answers it was told to give.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::counter::{Counter, Held};
use super::gate::Gate;
use super::tls::SelfSigned;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    /// The method.
    pub method: Method,
    /// The request target: path and query, in HTTP/2 the whole URI.
    pub uri: Uri,
    /// The version spoken.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, read to its end.
    pub body: Bytes,
    /// Which connection it came on, counted from 1.
    pub connection: usize,
}

impl ReceivedRequest {
    /// A header's value, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What the recorder answers to one request.
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    gate: Option<Gate>,
}

impl Answer {
    /// `200` without a body.
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// A status (100 to 999) without a body.
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("a status has three digits");
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            gate: None,
        }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("the test's header value is valid");
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Given only once `gate` is open; the request is recorded before.
    #[must_use]
    pub fn held_by(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }
}

type Responder = dyn Fn(&ReceivedRequest) -> Answer + Send + Sync;

struct State {
    requests: Mutex<Vec<ReceivedRequest>>,
    keeps_requests: AtomicBool,
    scripted: Mutex<VecDeque<Answer>>,
    responder: Mutex<Arc<Responder>>,
    received: Counter,
    connections: Counter,
    open: Counter,
}

/// A well-behaved HTTP server that records. Stops and closes its connections when dropped.
pub struct Recorder {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    _server: AbortOnDropHandle<()>,
}

impl Recorder {
    /// Listens in clear on a free loopback port and answers `200` until told otherwise.
    pub async fn start() -> Self {
        Self::listen("http", None).await
    }

    /// The same in TLS, offering these protocols by ALPN, e.g. `["h2", "http/1.1"]`.
    pub async fn start_tls(certificate: &SelfSigned, protocols: &[&str]) -> Self {
        Self::listen("https", Some(certificate.acceptor(protocols))).await
    }

    async fn listen(scheme: &'static str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = Arc::new(State {
            requests: Mutex::default(),
            keeps_requests: AtomicBool::new(true),
            scripted: Mutex::default(),
            responder: Mutex::new(Arc::new(|_: &ReceivedRequest| Answer::ok())),
            received: Counter::new("requests received"),
            connections: Counter::new("connections accepted"),
            open: Counter::new("connections open"),
        });
        let server = AbortOnDropHandle::new(tokio::spawn(serve(listener, tls, Arc::clone(&state))));
        Self {
            address,
            scheme,
            state,
            _server: server,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of it; `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The answer from now on to every request without a scripted one.
    pub fn answer(&self, answer: Answer) {
        self.answer_by(move |_| answer.clone());
    }

    /// The answer from now on, made for each request without a scripted one.
    pub fn answer_by(&self, responder: impl Fn(&ReceivedRequest) -> Answer + Send + Sync + 'static) {
        *lock(&self.state.responder) = Arc::new(responder);
    }

    /// Answers for the next requests, one each, in order of arrival.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        lock(&self.state.scripted).extend(answers);
    }

    /// From now on requests are counted and answered, but not kept: for tests that send more than they want in memory
    /// and look at each request in [`answer_by`](Self::answer_by).
    pub fn keep_no_more(&self) {
        self.state.keeps_requests.store(false, Ordering::Relaxed);
    }

    /// What was received so far, in order of arrival.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        lock(&self.state.requests).clone()
    }

    /// Waits until at least `least` requests were received and returns all of them.
    pub async fn wait_for(&self, least: usize) -> Vec<ReceivedRequest> {
        self.state.received.wait_for(least).await;
        self.requests()
    }

    /// How many requests were received; can be waited for.
    pub fn received(&self) -> &Counter {
        &self.state.received
    }

    /// How many connections were ever accepted.
    pub fn connections(&self) -> &Counter {
        &self.state.connections
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> &Counter {
        &self.state.open
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    // Connections die with the set, and the set with the task that the recorder aborts.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.up();
        let number = state.connections.get();
        let held = state.open.hold();
        connections.spawn(serve_connection(
            stream,
            tls.clone(),
            Arc::clone(&state),
            number,
            held,
        ));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    state: Arc<State>,
    number: usize,
    _open: Held,
) {
    // Answers are small; without this the second write of an answer waits for an acknowledgement.
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve_http(stream, state, number).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve_http(stream, state, number).await;
            }
        }
    }
}

async fn serve_http<S>(stream: S, state: Arc<State>, number: usize)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(respond(&state, request, number).await) }
    });
    // How a connection ends is the client's affair; what counts was recorded by then.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(state: &State, request: Request<Incoming>, connection: usize) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        // The request broke off: it was not received.
        return Response::new(Full::default());
    };
    let received = ReceivedRequest {
        method: head.method,
        uri: head.uri,
        version: head.version,
        headers: head.headers,
        body: body.to_bytes(),
        connection,
    };
    let answer = next_answer(state, &received);
    if state.keeps_requests.load(Ordering::Relaxed) {
        lock(&state.requests).push(received);
    }
    state.received.up();
    if let Some(gate) = &answer.gate {
        gate.pass().await;
    }
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

fn next_answer(state: &State, received: &ReceivedRequest) -> Answer {
    let scripted = lock(&state.scripted).pop_front();
    let responder = Arc::clone(&lock(&state.responder));
    scripted.unwrap_or_else(|| responder(received))
}

/// A test that panicked elsewhere must not hide its own message behind a poisoned lock.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
