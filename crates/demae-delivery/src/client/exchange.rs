//! One request, one response, one deadline.
//!
//! What counts as an answer: the response's headers came, and then its body either ended or reached
//! [`RESPONSE_BODY_LIMIT`]. A body that breaks off or does not end in time makes the exchange a failure whatever the
//! status said, because the status line alone does not show that the receiver finished: servers send `200` first and
//! fail while they produce the rest. A body beyond the limit is no failure: the receiver is at liberty to be chatty,
//! we are at liberty not to listen; reading stops there, and the connection is closed instead of being drained.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, Method, Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, timeout};

use super::address::AddressPolicy;
use super::classify::{ErrorKind, detail, kind_before_headers};
use super::connector::Connector;
use super::resolver::Resolve;
use super::tls::tls_connector;
use super::url::EndpointUrl;

/// The usual `OutgoingRequest::response_limit`, in bytes.
pub const RESPONSE_BODY_LIMIT: usize = 20_000;

/// Response headers kept, by count; the rest is dropped.
pub const RESPONSE_HEADER_COUNT_LIMIT: usize = 64;

/// Response headers kept, by bytes of names and values together; the rest is dropped.
pub const RESPONSE_HEADER_BYTES_LIMIT: usize = 8_192;

/// The largest response head accepted, in bytes; a larger one is `ErrorKind::Protocol`. Also the connection's buffer.
const RESPONSE_HEAD_LIMIT: u32 = 64 * 1024;

/// How far ahead a server may send on one HTTP/2 stream and on one connection, in bytes.
const HTTP2_STREAM_WINDOW: u32 = 64 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// A silent HTTP/2 connection is asked for a sign of life this often while requests wait on it, and given up after as
/// long again. Otherwise every exchange with the host would wait on one dead connection until its own deadline.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(10);

/// Headers that belong to the connection or to the message's framing, which the client writes itself. A configured
/// header of this name would at best be wrong and at worst make two readers disagree where the request ends.
const NOT_THE_CALLERS: [HeaderName; 9] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// How exchanges are made.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Which addresses may be connected to.
    pub policy: AddressPolicy,
    /// For look-up, TCP and TLS together.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept. Below the five seconds after which common servers (Node.js, Apache)
    /// close theirs: a request sent while the other side closes is lost without an answer.
    pub idle_timeout: Duration,
    /// Unused connections kept per host.
    pub idle_per_host: usize,
    /// Certificate authorities trusted beyond the public ones.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            policy: AddressPolicy::default(),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
            // Many endpoints often share a host, each with its own lane; a connection that does not fit is closed after
            // every exchange and opened again, which costs more than the exchange.
            idle_per_host: 512,
            extra_roots: Vec::new(),
        }
    }
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    /// An extra root certificate or the TLS configuration is not usable.
    #[error("the TLS configuration is not usable")]
    Tls(#[from] rustls::Error),
}

/// A `POST` to be made.
#[derive(Debug)]
pub struct OutgoingRequest<'a> {
    /// Where to.
    pub url: &'a EndpointUrl,
    /// Headers, without those of framing and connection, which are taken out if present.
    pub headers: HeaderMap,
    /// The body, sent as it is.
    pub body: Bytes,
    /// For the whole exchange: connecting, sending, headers and body.
    pub timeout: Duration,
    /// Bytes of the response's body kept; [`RESPONSE_BODY_LIMIT`] unless there is a reason.
    pub response_limit: usize,
}

/// A complete answer, whatever its status.
#[derive(Debug, Clone)]
pub struct ExchangeOutcome {
    /// The final status, 200 to 999; interim answers (1xx) were skipped.
    pub status: u16,
    /// The first headers, at most [`RESPONSE_HEADER_COUNT_LIMIT`] and [`RESPONSE_HEADER_BYTES_LIMIT`]; names in lower
    /// case, bytes that are no UTF-8 replaced.
    pub headers: Vec<(String, String)>,
    /// The body's first bytes, at most the request's `response_limit`.
    pub body: Vec<u8>,
    /// Whether the body went on beyond what is kept.
    pub truncated: bool,
    /// From the call to the end of the body.
    pub duration: Duration,
    /// The version spoken.
    pub http_version: Version,
}

/// An exchange without a complete answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct ExchangeError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The same in words for people; bounded, without secrets.
    pub detail: String,
    /// From the call to the failure.
    pub duration: Duration,
    /// The status, if headers came before the failure.
    pub status: Option<u16>,
}

/// Makes exchanges and keeps connections for the next ones. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct DeliveryClient {
    http: Client<Connector, Full<Bytes>>,
}

impl DeliveryClient {
    /// A client that finds addresses by `resolver`. Must be used within a tokio runtime.
    pub fn new(settings: &ClientSettings, resolver: Arc<dyn Resolve>) -> Result<Self, ClientFault> {
        let tls = tls_connector(&settings.extra_roots)?;
        let connector = Connector::new(settings.policy.clone(), resolver, tls, settings.connect_timeout);
        let http = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.idle_timeout)
            .pool_max_idle_per_host(settings.idle_per_host)
            .http1_max_buf_size(RESPONSE_HEAD_LIMIT as usize)
            .http2_max_header_list_size(RESPONSE_HEAD_LIMIT)
            .http2_initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .http2_initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .http2_keep_alive_interval(HTTP2_PING_INTERVAL)
            .http2_keep_alive_timeout(HTTP2_PING_INTERVAL)
            .build(connector);
        Ok(Self { http })
    }

    /// Makes one exchange. Never takes longer than the request's timeout, and never follows a redirect.
    ///
    /// A request that was never written, because a kept connection turned out to be closed, is sent again on another
    /// connection within the same deadline. One that was written and got no answer is `ErrorKind::ConnectionReset`:
    /// nobody can know whether it was processed, and whether to repeat it is the caller's decision.
    pub async fn exchange(&self, request: OutgoingRequest<'_>) -> Result<ExchangeOutcome, ExchangeError> {
        let started = Instant::now();
        let mut progress = Progress {
            started,
            status: None,
        };
        match timeout(request.timeout, self.run(request, &mut progress)).await {
            Ok(result) => result,
            Err(_) => Err(progress.timed_out()),
        }
    }

    async fn run(
        &self,
        outgoing: OutgoingRequest<'_>,
        progress: &mut Progress,
    ) -> Result<ExchangeOutcome, ExchangeError> {
        let limit = outgoing.response_limit;
        let response = self.http.request(into_http(outgoing)).await.map_err(|error| {
            // What no typed source explains: without a connection it is that, with one it is what came over it.
            let unexplained = if error.is_connect() {
                ErrorKind::ConnectFailed
            } else {
                ErrorKind::Protocol
            };
            progress.failed(kind_before_headers(&error).unwrap_or(unexplained), detail(&error))
        })?;
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        progress.status = Some(status);
        let (body, truncated) = read_bounded(body, limit)
            .await
            .map_err(|error| progress.failed(ErrorKind::BodyBroken, detail(&error)))?;
        Ok(ExchangeOutcome {
            status,
            headers: keep_headers(&head.headers),
            body,
            truncated,
            duration: progress.started.elapsed(),
            http_version: head.version,
        })
    }
}

/// How far an exchange came; lives outside of the future that the deadline cuts off.
struct Progress {
    started: Instant,
    status: Option<u16>,
}

impl Progress {
    fn failed(&self, kind: ErrorKind, detail: String) -> ExchangeError {
        ExchangeError {
            kind,
            detail,
            duration: self.started.elapsed(),
            status: self.status,
        }
    }

    fn timed_out(&self) -> ExchangeError {
        match self.status {
            None => self.failed(ErrorKind::Timeout, "no response within the timeout".to_owned()),
            Some(_) => self.failed(
                ErrorKind::BodyTimeout,
                "the response did not end within the timeout".to_owned(),
            ),
        }
    }
}

fn into_http(outgoing: OutgoingRequest<'_>) -> Request<Full<Bytes>> {
    let mut headers = outgoing.headers;
    for name in &NOT_THE_CALLERS {
        headers.remove(name);
    }
    if let Some(authorization) = outgoing.url.authorization() {
        headers
            .entry(AUTHORIZATION)
            .or_insert_with(|| authorization.clone());
    }
    let mut request = Request::new(Full::new(outgoing.body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = outgoing.url.uri().clone();
    *request.headers_mut() = headers;
    request
}

/// Reads at most `limit` bytes; the flag says whether there was more. Dropping an unfinished body closes an HTTP/1
/// connection and resets an HTTP/2 stream, so what is left unread costs nothing.
async fn read_bounded(mut body: Incoming, limit: usize) -> Result<(Vec<u8>, bool), hyper::Error> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(limit);
    let mut kept = Vec::with_capacity(expected.min(limit));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = limit - kept.len();
        if data.len() > room {
            kept.extend_from_slice(&data[..room]);
            return Ok((kept, true));
        }
        kept.extend_from_slice(&data);
    }
    Ok((kept, false))
}

fn keep_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut kept = Vec::with_capacity(headers.len().min(RESPONSE_HEADER_COUNT_LIMIT));
    let mut bytes = 0;
    for (name, value) in headers.iter().take(RESPONSE_HEADER_COUNT_LIMIT) {
        bytes += name.as_str().len() + value.len();
        if bytes > RESPONSE_HEADER_BYTES_LIMIT {
            break;
        }
        kept.push((
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        ));
    }
    kept
}
