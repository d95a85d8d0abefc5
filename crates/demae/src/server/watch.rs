//! Watches over one connection and says when it has to end.
//!
//! # Guarantees
//! A connection ends when one of these times has passed, in HTTP/1 and HTTP/2 alike:
//! - [`FIRST_REQUEST_LIMIT`] without the whole head of a first request (also: without a first byte);
//! - [`IDLE_LIMIT`] without the head of a further request, whatever else arrives (HTTP/2 pings, half a head);
//! - [`REQUEST_LIMIT`] from a request's head to the head of its answer;
//! - [`ANSWER_LIMIT`] from there to the answer's last byte, so that a client that reads little by little ends, too;
//! - [`STALL_LIMIT`] while the client takes nothing of what is written.
//!
//! It also ends when its client has taken back [`MAX_ABORTED`] requests more than were answered (an HTTP/2 reset flood).
//!
//! # Design
//! No exchange has a timer: the connection's own task checks every [`CHECK_INTERVAL`], so a connection lives at most that
//! much longer. HTTP/2 polls neither a body nor its socket while a client grants no window, so a timer in either of them
//! would not run.

use std::{
    io::IoSlice,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::Instant,
};

/// From the start of a connection to the end of the first request's head.
pub(super) const FIRST_REQUEST_LIMIT: Duration = Duration::from_secs(15);
/// From the end of one exchange to the end of the next request's head.
pub(super) const IDLE_LIMIT: Duration = Duration::from_mins(1);
/// From the end of a request's head to the head of its answer. The surfaces give a request up before (90 s).
pub(super) const REQUEST_LIMIT: Duration = Duration::from_mins(2);
/// From the head of an answer to its last byte.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_mins(2);
/// How long a client may take nothing of what is written.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Requests that a client may take back beyond the number of those that were answered.
pub(super) const MAX_ABORTED: u64 = 200;
/// The largest piece of an answer that is handed over at a time, in bytes. What the client has not read is at most so much
/// ahead of it.
pub(super) const PIECE: usize = 64 * 1024;
/// How often a connection is checked.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// What a connection did. Clones share it.
#[derive(Clone)]
pub(super) struct Watch(Arc<Inner>);

struct Inner {
    began: Instant,
    exchanges: Mutex<Exchanges>,
    /// Milliseconds from `began` to the write that has been waiting since, plus one; zero if none waits.
    stalled: AtomicU64,
    flooded: Notify,
}

struct Exchanges {
    /// When each must have made its next step.
    open: Vec<(u64, Instant)>,
    /// When the head of the next request must have arrived, if nothing is open.
    next_by: Instant,
    begun: u64,
    answered: u64,
    aborted: u64,
}

/// One request and its answer.
pub(super) struct Exchange {
    watch: Watch,
    id: u64,
    answered: bool,
}

impl Watch {
    pub(super) fn begin() -> Self {
        let began = Instant::now();
        Self(Arc::new(Inner {
            began,
            exchanges: Mutex::new(Exchanges {
                open: Vec::new(),
                next_by: began + FIRST_REQUEST_LIMIT,
                begun: 0,
                answered: 0,
                aborted: 0,
            }),
            stalled: AtomicU64::new(0),
            flooded: Notify::new(),
        }))
    }

    /// A request's head has arrived.
    pub(super) fn exchange(&self) -> Exchange {
        let mut exchanges = self.exchanges();
        exchanges.begun += 1;
        let id = exchanges.begun;
        exchanges.open.push((id, Instant::now() + REQUEST_LIMIT));
        Exchange {
            watch: self.clone(),
            id,
            answered: false,
        }
    }

    /// Waits until the connection has to end, and says why.
    pub(super) async fn overdue(&self) -> &'static str {
        loop {
            tokio::select! {
                () = self.0.flooded.notified() => {}
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
            if let Some(reason) = self.fault(Instant::now()) {
                return reason;
            }
        }
    }

    fn fault(&self, now: Instant) -> Option<&'static str> {
        let stalled = self.0.stalled.load(Ordering::Relaxed);
        if stalled > 0
            && now.saturating_duration_since(self.0.began + Duration::from_millis(stalled - 1)) >= STALL_LIMIT
        {
            return Some("the client reads nothing");
        }
        let exchanges = self.exchanges();
        if exchanges.aborted > exchanges.answered + MAX_ABORTED {
            return Some("the client takes its requests back");
        }
        if exchanges.open.is_empty() {
            // The end of an answer may still wait to be read.
            let by = if stalled > 0 {
                exchanges.next_by + ANSWER_LIMIT - IDLE_LIMIT
            } else {
                exchanges.next_by
            };
            return (now >= by).then_some("no request came in time");
        }
        let late = exchanges.open.iter().any(|(_, by)| now >= *by);
        late.then_some("a request or its answer did not end in time")
    }

    fn exchanges(&self) -> MutexGuard<'_, Exchanges> {
        self.0.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrote(&self, progress: bool) {
        if progress {
            if self.0.stalled.load(Ordering::Relaxed) != 0 {
                self.0.stalled.store(0, Ordering::Relaxed);
            }
        } else if self.0.stalled.load(Ordering::Relaxed) == 0 {
            let since = self.0.began.elapsed().as_millis() as u64;
            self.0.stalled.store(since + 1, Ordering::Relaxed);
        }
    }
}

impl Exchange {
    /// The head of the answer is there; the exchange ends with its body.
    pub(super) fn answer(mut self, response: Response) -> http::Response<WatchedBody> {
        self.answered = true;
        let by = Instant::now() + ANSWER_LIMIT;
        let mut exchanges = self.watch.exchanges();
        if let Some(open) = exchanges.open.iter_mut().find(|(id, _)| *id == self.id) {
            open.1 = by;
        }
        drop(exchanges);
        response.map(|body| WatchedBody {
            body,
            rest: Bytes::new(),
            _exchange: self,
        })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut exchanges = self.watch.exchanges();
        exchanges.open.retain(|(id, _)| *id != self.id);
        exchanges.next_by = Instant::now() + IDLE_LIMIT;
        if self.answered {
            exchanges.answered += 1;
            return;
        }
        exchanges.aborted += 1;
        if exchanges.aborted > exchanges.answered + MAX_ABORTED {
            self.watch.0.flooded.notify_one();
        }
    }
}

/// An answer's body in pieces, which ends its exchange.
///
/// HTTP/2 takes a whole piece into memory however little the client lets it send.
pub(super) struct WatchedBody {
    body: Body,
    /// Of a frame that was longer than a piece.
    rest: Bytes,
    _exchange: Exchange,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// A connection's stream, which tells its watch whether the client takes what is written.
pub(super) struct WatchedStream<S> {
    stream: S,
    watch: Watch,
}

impl<S> WatchedStream<S> {
    pub(super) fn new(stream: S, watch: Watch) -> Self {
        Self { stream, watch }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch.wrote(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.watch.wrote(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(context));
        self.watch.wrote(true);
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
