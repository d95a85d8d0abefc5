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
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy;
use tokio::time::{Instant, timeout};

use super::answer::keep_headers;
use super::classify::{ErrorKind, detail, kind_before_headers};
use super::connector::Connector;
use super::link::Link;
use super::pool::Pools;
use super::resend;
use super::resolver::Resolve;
use super::settings::ClientSettings;
use super::tls::{Protocols, tls_connector};
use super::url::EndpointUrl;

/// The usual `OutgoingRequest::response_limit`, in bytes.
pub const RESPONSE_BODY_LIMIT: usize = 20_000;

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
    /// The headers that came, as in [`ExchangeOutcome::headers`].
    pub headers: Vec<(String, String)>,
    /// The part of the body that came, within the request's `response_limit`.
    pub body: Vec<u8>,
}

impl ExchangeError {
    /// A failure without any answer.
    pub fn unanswered(kind: ErrorKind, detail: String, duration: Duration) -> Self {
        Self {
            kind,
            detail,
            duration,
            status: None,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

/// Makes exchanges and keeps connections for the next ones. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct DeliveryClient {
    pools: Arc<Pools>,
}

impl DeliveryClient {
    /// A client that finds addresses by `resolver`. Must be used within a tokio runtime.
    pub fn new(settings: &ClientSettings, resolver: Arc<dyn Resolve>) -> Result<Self, ClientFault> {
        let connector = |resolver, protocols| -> Result<Connector, ClientFault> {
            let tls = tls_connector(&settings.extra_roots, protocols)?;
            let policy = settings.policy.clone();
            Ok(Connector::new(policy, resolver, tls, settings.connect_timeout))
        };
        let usual = connector(Arc::clone(&resolver), Protocols::Http2OrHttp1)?;
        let http1 = connector(resolver, Protocols::Http1)?;
        Ok(Self {
            pools: Arc::new(Pools::new(settings, usual, http1)),
        })
    }

    /// Makes one exchange. Never takes longer than the request's timeout, and never follows a redirect.
    ///
    /// A request whose kept connection turned out to be dead, or that an HTTP/2 server says it has not processed, is sent
    /// again once, over a new connection and within the same deadline (the module `resend` says when). Any other request
    /// that was written and got no answer is `ErrorKind::ConnectionReset`: nobody can know whether it was processed, and
    /// whether to repeat it is the caller's decision.
    pub async fn exchange(&self, request: OutgoingRequest<'_>) -> Result<ExchangeOutcome, ExchangeError> {
        let mut progress = Progress {
            started: Instant::now(),
            head: None,
            body: Vec::new(),
        };
        match timeout(request.timeout, self.run(request, &mut progress)).await {
            Ok(Ok(truncated)) => progress.complete(truncated),
            Ok(Err(failure)) => Err(progress.failed(failure)),
            Err(_) => Err(progress.timed_out()),
        }
    }

    /// Writes what comes into `progress`; returns whether the body went on beyond what is kept.
    async fn run(&self, outgoing: OutgoingRequest<'_>, progress: &mut Progress) -> Result<bool, Failure> {
        let limit = outgoing.response_limit;
        let authority_hash = outgoing.url.authority_hash();
        let response = self
            .answer(into_http(outgoing), authority_hash)
            .await
            .map_err(Failure::no_answer)?;
        let (mut head, body) = response.into_parts();
        let link = head.extensions.remove::<Arc<Link>>();
        if let Some(link) = &link {
            link.note_answer();
        }
        let doubtful = link.filter(|_| leaves_doubt(&head));
        progress.head = Some(head);
        let read = read_bounded(body, limit, &mut progress.body).await;
        if let Some(link) = doubtful {
            link.close();
        }
        read.map_err(|error| Failure {
            kind: ErrorKind::BodyBroken,
            detail: detail(&error),
        })
    }

    async fn answer(
        &self,
        request: Request<Full<Bytes>>,
        authority_hash: u64,
    ) -> Result<Response<Incoming>, legacy::Error> {
        let copy = request.clone();
        let way = match self.pools.request(request, authority_hash).await {
            Ok(response) if resend::answers_silence(&response) => resend::Resend::NewConnection,
            Ok(response) => return Ok(response),
            Err(error) => match resend::after_error(&error) {
                Some(way) => way,
                None => return Err(error),
            },
        };
        tracing::debug!(?way, "a request is sent again over a new connection");
        self.pools.request_again(copy, way).await
    }
}

/// Whether the next bytes of an HTTP/1 connection may belong to this answer though it has ended, or the receiver says
/// that the connection leads to the wrong place.
fn leaves_doubt(head: &Parts) -> bool {
    let coded = head.headers.contains_key(TRANSFER_ENCODING);
    let sized = head.headers.get(CONTENT_LENGTH);
    match head.status {
        // These have no body whatever their headers say (RFC 9112 section 6.3). Some servers send one all the same.
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => coded || sized.is_some_and(|size| size != "0"),
        StatusCode::MISDIRECTED_REQUEST => true,
        _ => coded && sized.is_some(),
    }
}

/// How far an exchange came; lives outside of the future that the deadline cuts off.
struct Progress {
    started: Instant,
    head: Option<Parts>,
    body: Vec<u8>,
}

/// What went wrong, before it is known how far the exchange had come.
struct Failure {
    kind: ErrorKind,
    detail: String,
}

impl Failure {
    #[expect(clippy::needless_pass_by_value, reason = "the form that map_err calls")]
    fn no_answer(error: legacy::Error) -> Self {
        // What no typed source explains: without a connection it is that, with one it is what came over it.
        let unexplained = if error.is_connect() {
            ErrorKind::ConnectFailed
        } else {
            ErrorKind::Protocol
        };
        Self {
            kind: kind_before_headers(&error).unwrap_or(unexplained),
            detail: detail(&error),
        }
    }
}

impl Progress {
    fn complete(self, truncated: bool) -> Result<ExchangeOutcome, ExchangeError> {
        let Some(head) = self.head else {
            return Err(self.timed_out());
        };
        Ok(ExchangeOutcome {
            status: head.status.as_u16(),
            headers: keep_headers(&head.headers),
            body: self.body,
            truncated,
            duration: self.started.elapsed(),
            http_version: head.version,
        })
    }

    fn failed(self, failure: Failure) -> ExchangeError {
        let duration = self.started.elapsed();
        let Some(head) = self.head else {
            return ExchangeError::unanswered(failure.kind, failure.detail, duration);
        };
        let status = head.status.as_u16();
        let came = self.body.len();
        ExchangeError {
            kind: failure.kind,
            detail: format!(
                "the receiver answered {status}, then {} after {came} bytes of the body",
                failure.detail
            ),
            duration,
            status: Some(status),
            headers: keep_headers(&head.headers),
            body: self.body,
        }
    }

    fn timed_out(self) -> ExchangeError {
        let (kind, detail) = match self.head {
            None => (ErrorKind::Timeout, "no response within the timeout"),
            Some(_) => (ErrorKind::BodyTimeout, "the timeout passed"),
        };
        self.failed(Failure {
            kind,
            detail: detail.to_owned(),
        })
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
    // The history shows the answer as it came, so the answer is asked for without compression.
    headers
        .entry(ACCEPT_ENCODING)
        .or_insert(HeaderValue::from_static("identity"));
    let mut request = Request::new(Full::new(outgoing.body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = outgoing.url.uri().clone();
    *request.headers_mut() = headers;
    request
}

/// Reads at most `limit` bytes into `kept`; returns whether there was more. Dropping an unfinished body closes an HTTP/1
/// connection and resets an HTTP/2 stream, so what is left unread costs nothing.
async fn read_bounded(mut body: Incoming, limit: usize, kept: &mut Vec<u8>) -> Result<bool, hyper::Error> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(limit);
    kept.reserve_exact(expected.min(limit));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = limit - kept.len();
        if data.len() > room {
            kept.extend_from_slice(&data[..room]);
            return Ok(true);
        }
        kept.extend_from_slice(&data);
    }
    Ok(false)
}
