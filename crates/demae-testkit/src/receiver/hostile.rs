//! Receivers that do not behave: one listener, one way of misbehaving.
//!
//! Written on bare TCP, since no HTTP library would send these bytes. Each behaviour keeps at it until the other side
//! gives up, so a test waits for the client's verdict and, where it matters, for the client's disconnect.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::interval;
use tokio_util::task::AbortOnDropHandle;

use super::counter::{Counter, Held};

/// How a [`Receiver`] misbehaves. All but the first four read the request's head before they answer.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Never takes the connection from the system's queue: connecting works, nothing else.
    NeverAccept,
    /// Closes every connection as soon as it is made.
    CloseOnAccept,
    /// Speaks first, and not HTTP: sends these bytes without waiting for a request, then closes.
    SpeakFirst(Bytes),
    /// Reads forever, never answers.
    Silent,
    /// Closes after the request, without an answer.
    CloseAfterRequest,
    /// Resets after the request, without an answer.
    ResetAfterRequest,
    /// Sends these bytes, then closes.
    Raw(Bytes),
    /// Sends these bytes, then neither closes nor goes on.
    RawThenSilent(Bytes),
    /// Sends these bytes, then resets the connection. A reset may overtake bytes that the client has not read yet;
    /// more bytes than the sockets' buffers hold make sure that the first ones were read.
    RawThenReset(Bytes),
    /// Sends these bytes as the answer to the first request of each connection and closes at once, with no notice.
    /// To the client it looks like a connection to keep.
    AnswerThenClose(Bytes),
    /// Sends the prefix, then the piece again and again, as fast as it is taken.
    Flood {
        /// Sent once.
        prefix: Bytes,
        /// Sent for ever.
        piece: Bytes,
    },
    /// Sends the prefix, then the piece again and again with a pause before each.
    Drip {
        /// Sent once.
        prefix: Bytes,
        /// Sent for ever.
        piece: Bytes,
        /// Before each piece.
        pause: Duration,
    },
}

impl Behaviour {
    /// Headers that never end, one line at a time.
    pub fn slow_headers() -> Self {
        Self::Drip {
            prefix: Bytes::from_static(b"HTTP/1.1 200 OK\r\n"),
            piece: Bytes::from_static(b"x-slow: yes\r\n"),
            pause: Duration::from_millis(20),
        }
    }

    /// Headers that never end, as fast as they are taken.
    pub fn endless_headers() -> Self {
        Self::Flood {
            prefix: Bytes::from_static(b"HTTP/1.1 200 OK\r\n"),
            piece: Bytes::from(format!("x-more: {}\r\n", "y".repeat(1_000))),
        }
    }

    /// A body that never ends, as fast as it is taken.
    pub fn endless_body() -> Self {
        Self::Flood {
            prefix: Bytes::from_static(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
            piece: Bytes::from(format!("400\r\n{}\r\n", "b".repeat(0x400))),
        }
    }

    /// A body that never ends, one byte at a time.
    pub fn slow_body() -> Self {
        Self::Drip {
            prefix: Bytes::from_static(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
            piece: Bytes::from_static(b"1\r\nb\r\n"),
            pause: Duration::from_millis(20),
        }
    }

    /// A redirect to `location`.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::Raw(Bytes::from(format!(
            "HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
        )))
    }

    /// `200` with a `Content-Length` of `said`, a body of `sent` bytes, and then the end of the connection.
    pub fn wrong_length(said: usize, sent: usize) -> Self {
        Self::Raw(Bytes::from(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {said}\r\n\r\n{}",
            "b".repeat(sent)
        )))
    }
}

#[derive(Clone)]
struct Counters {
    connections: Counter,
    open: Counter,
    requests: Counter,
}

/// A listener that misbehaves. Stops and closes its connections when dropped.
pub struct Receiver {
    address: SocketAddr,
    counters: Counters,
    _server: AbortOnDropHandle<()>,
}

impl Receiver {
    /// Listens on a free loopback port.
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let counters = Counters {
            connections: Counter::new("connections accepted"),
            open: Counter::new("connections open"),
            requests: Counter::new("request heads read"),
        };
        let server = AbortOnDropHandle::new(tokio::spawn(serve(
            listener,
            Arc::new(behaviour),
            counters.clone(),
        )));
        Self {
            address,
            counters,
            _server: server,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of it; `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections were ever accepted.
    pub fn connections(&self) -> &Counter {
        &self.counters.connections
    }

    /// How many connections are open now, as far as this side has noticed.
    pub fn open_connections(&self) -> &Counter {
        &self.counters.open
    }

    /// How many request heads were read.
    pub fn requests(&self) -> &Counter {
        &self.counters.requests
    }
}

async fn serve(listener: TcpListener, behaviour: Arc<Behaviour>, counters: Counters) {
    if matches!(*behaviour, Behaviour::NeverAccept) {
        // Holds the listener open: the system completes handshakes up to its queue's length.
        std::future::pending::<()>().await;
    }
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        counters.connections.up();
        let held = counters.open.hold();
        connections.spawn(serve_connection(
            stream,
            Arc::clone(&behaviour),
            counters.clone(),
            held,
        ));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(mut stream: TcpStream, behaviour: Arc<Behaviour>, counters: Counters, _open: Held) {
    let _ = stream.set_nodelay(true);
    // An error means that the client has left, which is how most of these conversations end.
    let _ = misbehave(&mut stream, &behaviour, &counters).await;
}

async fn misbehave(stream: &mut TcpStream, behaviour: &Behaviour, counters: &Counters) -> io::Result<()> {
    match behaviour {
        Behaviour::NeverAccept | Behaviour::CloseOnAccept => return Ok(()),
        Behaviour::SpeakFirst(bytes) => return stream.write_all(bytes).await,
        _ => read_request(stream, counters).await?,
    }
    match behaviour {
        Behaviour::Silent => wait_for_disconnect(stream).await,
        Behaviour::ResetAfterRequest => stream.set_zero_linger(),
        Behaviour::Raw(bytes) | Behaviour::AnswerThenClose(bytes) => stream.write_all(bytes).await,
        Behaviour::RawThenSilent(bytes) => {
            stream.write_all(bytes).await?;
            wait_for_disconnect(stream).await
        }
        Behaviour::RawThenReset(bytes) => {
            stream.write_all(bytes).await?;
            stream.set_zero_linger()
        }
        Behaviour::Flood { prefix, piece } => {
            stream.write_all(prefix).await?;
            loop {
                stream.write_all(piece).await?;
            }
        }
        Behaviour::Drip { prefix, piece, pause } => drip(stream, prefix, piece, *pause).await,
        Behaviour::NeverAccept
        | Behaviour::CloseOnAccept
        | Behaviour::SpeakFirst(_)
        | Behaviour::CloseAfterRequest => Ok(()),
    }
}

async fn drip(stream: &mut TcpStream, prefix: &[u8], piece: &[u8], pause: Duration) -> io::Result<()> {
    stream.write_all(prefix).await?;
    let mut ticks = interval(pause);
    // The first tick is immediate.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        stream.write_all(piece).await?;
    }
}

/// Reads one request with its body: closing with unread bytes would send a reset instead of a close.
async fn read_request(stream: &mut TcpStream, counters: &Counters) -> io::Result<()> {
    let mut got = Vec::new();
    let head_end = loop {
        if stream.read_buf(&mut got).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(at) = got.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let mut missing = (head_end + content_length(&got[..head_end])).saturating_sub(got.len());
    while missing > 0 {
        got.clear();
        match stream.read_buf(&mut got).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => missing = missing.saturating_sub(read),
        }
    }
    counters.requests.up();
    Ok(())
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

async fn wait_for_disconnect(stream: &mut TcpStream) -> io::Result<()> {
    let mut ignored = [0; 1_024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}
