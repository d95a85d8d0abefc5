//! Serves HTTP on the listeners, and stops without cutting off clients that will be done in time.
//!
//! # Limits
//! The number of connections, in all and per address ([`admission`](super::admission)); the times that a connection may take
//! ([`watch`](super::watch)); streams and resets per HTTP/2 connection; the length of a head. A surface limits the time of
//! its requests.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

use super::{
    admission::{Admission, ConnectionLimits, Place},
    watch::{IDLE_LIMIT, Watch, WatchedStream},
};

/// A silent HTTP/2 connection is asked for a sign of life this often, and given up after as long again.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 256;
/// Streams of an HTTP/2 connection that its client reset before the server looked at them; more end the connection.
const HTTP2_PENDING_RESETS: usize = 20;
/// Resets of an HTTP/2 connection that its client's mistakes caused; more end the connection.
const HTTP2_ERROR_RESETS: usize = 100;
/// Longest head of an HTTP/2 request, in bytes.
const HTTP2_HEAD: u32 = 16 * 1024;
/// What is read of an HTTP/1 connection at a time, and so its longest head, in bytes.
const HTTP1_BUFFER: usize = 64 * 1024;
/// After a failed accept (out of file descriptors), so that it does not fail a million times a second.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A listener that cannot accept says so in the log this often.
const ACCEPT_WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Counter: connections that were closed at once, because their address had its share already.
const REFUSED_CONNECTIONS: &str = "demae_refused_connections_total";

/// A running HTTP server.
pub(crate) struct HttpServer {
    /// No more connections, and none that stays open after its request.
    stop: CancellationToken,
    /// Nothing at all any more.
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl HttpServer {
    /// Begins to serve `router` within `limits`.
    pub(crate) fn start(listeners: Vec<TcpListener>, router: &Router, limits: &ConnectionLimits) -> Self {
        let server = Self {
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let admission = Admission::new(limits);
        for listener in listeners {
            let acceptor = Acceptor {
                router: router.clone(),
                admission: admission.clone(),
                stop: server.stop.clone(),
                cut: server.cut.clone(),
                tasks: server.tasks.clone(),
            };
            server.tasks.spawn(acceptor.run(listener));
        }
        server.tasks.close();
        server
    }

    /// Stops accepting and waits for the requests under way, at most until `deadline`. Answers whether all ended.
    pub(crate) async fn drain(self, deadline: Instant) -> bool {
        self.stop.cancel();
        let in_time = tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_ok();
        self.cut.cancel();
        self.tasks.wait().await;
        in_time
    }
}

struct Acceptor {
    router: Router,
    admission: Admission,
    stop: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        let graceful = GracefulShutdown::new();
        let mut warned: Option<Instant> = None;
        // `None` once the server stops.
        while let Some(accepted) = self.stop.run_until_cancelled(self.accept(&listener)).await {
            match accepted {
                Ok(Some((stream, peer, place))) => self.serve(stream, peer, place, &graceful),
                Ok(None) => {}
                Err(error) => {
                    if warned.is_none_or(|last| last.elapsed() >= ACCEPT_WARNING_INTERVAL) {
                        warned = Some(Instant::now());
                        tracing::warn!(%error, "cannot accept connections");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        self.cut.run_until_cancelled(graceful.shutdown()).await;
    }

    /// The next connection; none if its address has its share already.
    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> std::io::Result<Option<(TcpStream, SocketAddr, Place)>> {
        let room = self.admission.room().await?;
        let (stream, address) = listener.accept().await?;
        let place = self.admission.admit(room, address.ip());
        if place.is_none() {
            metrics::counter!(REFUSED_CONNECTIONS).increment(1);
            tracing::debug!(peer = %address, "closed a connection: its address has its share already");
        }
        Ok(place.map(|place| (stream, address, place)))
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Place, graceful: &GracefulShutdown) {
        // Without it an answer may wait 40 ms for the acknowledgement of the one before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot turn off Nagle's algorithm");
        }
        let watch = Watch::begin();
        let (router, exchanges) = (self.router.clone(), watch.clone());
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let exchange = exchanges.exchange();
            // A router is always ready.
            let answer = router.clone().call(request);
            async move { answer.await.map(|response| exchange.answer(response)) }
        });
        let stream = TokioIo::new(WatchedStream::new(stream, watch.clone()));
        let connection = graceful.watch(builder().serve_connection(stream, service).into_owned());
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            let ended = cut.run_until_cancelled(async {
                tokio::select! {
                    ended = connection => if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended badly");
                    },
                    reason = watch.overdue() => tracing::debug!(%peer, reason, "closed a connection"),
                }
            });
            ended.await;
            drop(place);
        });
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_LIMIT)
        .max_buf_size(HTTP1_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_INTERVAL)
        .max_pending_accept_reset_streams(HTTP2_PENDING_RESETS)
        .max_local_error_reset_streams(HTTP2_ERROR_RESETS)
        .max_header_list_size(HTTP2_HEAD)
        .max_concurrent_streams(HTTP2_STREAMS);
    builder
}

#[cfg(test)]
mod tests;
