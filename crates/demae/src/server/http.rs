//! Serves HTTP on the listeners, and stops without cutting anybody off who will be done in time.
//!
//! Bounds: connections in all, the time for a request's head (which also ends idle connections), streams per HTTP/2
//! connection. The time for handling a request is the surfaces' business.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

/// Connections open at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// From the end of one request to the end of the next one's head.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// A silent HTTP/2 connection is asked for a sign of life this often, and given up after as long again.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 256;
/// After a failed accept (out of file descriptors), so that it does not fail a million times a second.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end of a request's connection: an extension of every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// A running HTTP server.
pub(crate) struct HttpServer {
    /// No more connections, and none that stays open after its request.
    stop: CancellationToken,
    /// Nothing at all any more.
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl HttpServer {
    /// Begins to serve `router`.
    pub(crate) fn start(listeners: Vec<TcpListener>, router: &Router) -> Self {
        let server = Self {
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        for listener in listeners {
            let acceptor = Acceptor {
                router: router.clone(),
                permits: permits.clone(),
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
    permits: Arc<Semaphore>,
    stop: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        let graceful = GracefulShutdown::new();
        // `None` once the server stops.
        while let Some(accepted) = self.stop.run_until_cancelled(self.accept(&listener)).await {
            match accepted {
                Ok((stream, peer, permit)) => self.serve(stream, peer, permit, &graceful),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        self.cut.run_until_cancelled(graceful.shutdown()).await;
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> std::io::Result<(TcpStream, Peer, tokio::sync::OwnedSemaphorePermit)> {
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(std::io::Error::other)?;
        let (stream, address) = listener.accept().await?;
        Ok((stream, Peer(address), permit))
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: Peer,
        permit: tokio::sync::OwnedSemaphorePermit,
        graceful: &GracefulShutdown,
    ) {
        // Without it an answer may wait 40 ms for the acknowledgement of the one before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot turn off Nagle's algorithm");
        }
        let service =
            self.router
                .clone()
                .map_request(move |mut request: http::Request<hyper::body::Incoming>| {
                    request.extensions_mut().insert(peer);
                    request
                });
        let service = TowerToHyperService::new(service);
        let connection = graceful.watch(
            builder()
                .serve_connection(TokioIo::new(stream), service)
                .into_owned(),
        );
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            if let Some(Err(error)) = cut.run_until_cancelled(connection).await {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop(permit);
        });
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_INTERVAL)
        .max_concurrent_streams(HTTP2_STREAMS);
    builder
}
