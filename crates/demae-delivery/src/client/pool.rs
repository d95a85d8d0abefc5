//! Keeps connections for the next exchange, but not longer than [`ClientSettings::connection_age`].
//!
//! # Design
//! A connection leads to the address that its name had when it was opened. While traffic does not pause, a connection
//! never becomes idle, and a receiver that moves to another address would never be found. The HTTP client has no largest
//! age, so the hosts are spread over [`SHARDS`] pools, each of which is replaced after its age has passed. Exchanges in
//! flight keep their connection and finish. Ages vary, so that the pools are not all replaced at the same time.
//!
//! A request that is sent again ([`Resend`]) takes a new connection, which is not kept: the pool may hold others that
//! died at the same time.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::{Builder, Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::connector::Connector;
use super::resend::Resend;
use super::settings::ClientSettings;

/// Pools over which hosts are spread; replacing one opens the connections of a share of the hosts anew.
const SHARDS: usize = 16;

/// The largest response head accepted, in bytes; a larger one is `ErrorKind::Protocol`. Also the connection's buffer.
const RESPONSE_HEAD_LIMIT: u32 = 64 * 1024;

/// Header lines accepted in an HTTP/1 response; more are `ErrorKind::Protocol`. The HTTP client prepares a place for each
/// of them whenever it reads an answer, so a generous number costs every delivery.
const RESPONSE_HEADER_LINES: usize = 256;

/// How far ahead a server may send on one HTTP/2 stream and on one connection, in bytes.
const HTTP2_STREAM_WINDOW: u32 = 64 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Interval of pings on a silent HTTP/2 connection while requests wait on it; without an answer for as long again, the
/// connection is given up. Otherwise every exchange with the host would wait on one dead connection until its deadline.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(10);

type HttpClient = Client<Connector, Full<Bytes>>;

/// The connections of a client.
pub(super) struct Pools {
    builder: Builder,
    connector: Connector,
    age: Duration,
    shards: Vec<RwLock<Shard>>,
    fresh: HttpClient,
    http1: HttpClient,
}

struct Shard {
    client: HttpClient,
    ends_at: Instant,
}

impl Pools {
    /// Pools of connections that `connector` opens, and `http1` where HTTP/2 must not be spoken.
    pub(super) fn new(settings: &ClientSettings, connector: Connector, http1: Connector) -> Self {
        let builder = builder(settings);
        let mut unpooled = builder.clone();
        unpooled.pool_max_idle_per_host(0);
        let shard = || {
            RwLock::new(Shard {
                client: builder.build(connector.clone()),
                ends_at: end_of(settings.connection_age),
            })
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            fresh: unpooled.build(connector.clone()),
            http1: unpooled.build(http1),
            age: settings.connection_age,
            builder,
            connector,
        }
    }

    /// Sends a request to a host of this [`EndpointUrl::authority_hash`](super::EndpointUrl), over a kept connection or, if
    /// there is none, over a new one.
    pub(super) fn request(&self, request: Request<Full<Bytes>>, authority_hash: u64) -> ResponseFuture {
        let shard = &self.shards[authority_hash as usize % SHARDS];
        let kept = shard.read().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now < kept.ends_at {
            return kept.client.request(request);
        }
        drop(kept);
        let mut replaced = shard.write().unwrap_or_else(PoisonError::into_inner);
        if now >= replaced.ends_at {
            *replaced = Shard {
                client: self.builder.build(self.connector.clone()),
                ends_at: end_of(self.age),
            };
        }
        replaced.client.request(request)
    }

    /// Sends a request over a new connection.
    pub(super) fn request_again(&self, request: Request<Full<Bytes>>, way: Resend) -> ResponseFuture {
        match way {
            Resend::NewConnection => self.fresh.request(request),
            Resend::Http1 => self.http1.request(request),
        }
    }
}

/// Between three quarters of the age and all of it from now.
fn end_of(age: Duration) -> Instant {
    Instant::now() + age.mul_f64(rand::random_range(0.75..=1.0))
}

fn builder(settings: &ClientSettings) -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(settings.idle_timeout)
        .pool_max_idle_per_host(settings.idle_per_host)
        .http1_max_buf_size(RESPONSE_HEAD_LIMIT as usize)
        .http1_max_headers(RESPONSE_HEADER_LINES)
        // What a recipient of responses is allowed to forgive (RFC 9112 sections 5.1 and 5.2). Demae passes responses on
        // to nobody, so a lenient reading cannot make two readers disagree.
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .http2_max_header_list_size(RESPONSE_HEAD_LIMIT)
        .http2_initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .http2_initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .http2_keep_alive_interval(HTTP2_PING_INTERVAL)
        .http2_keep_alive_timeout(HTTP2_PING_INTERVAL);
    builder
}
