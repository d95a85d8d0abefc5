//! A server that follows a script, byte by byte: what it reads, what it sends, how it ends each connection.
//!
//! Each connection has a list of [`Step`]s; the last list serves all further connections. Where a step has to happen
//! after something that the client does, it waits for that and never for a time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use demae_testkit::receiver::SelfSigned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// One step of a connection.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Reads a request with its body.
    Request,
    /// Reads a request's head, and of its body what came along.
    Head,
    /// Sends bytes.
    Send(Vec<u8>),
    /// Waits until the test has been given this many results.
    AfterResult(usize),
    /// HTTP/2: reads the preface, sends settings (a payload of a SETTINGS frame).
    Preface(Vec<u8>),
    /// HTTP/2: reads frames until this stream's request has ended.
    Stream(u32),
    /// HTTP/2: reads frames until one of this type comes.
    Frame(u8),
    /// Resets the connection.
    Reset,
    /// Reads until the client closes the connection.
    UntilClosed,
}

/// Sends text.
pub(crate) fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

/// What a scripted server saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// Connections accepted.
    pub(crate) connections: usize,
    /// Requests read: in HTTP/2, streams that ended.
    pub(crate) requests: usize,
    /// Connections that followed their script to its end.
    pub(crate) finished: usize,
}

/// The server. Ends with its connections when dropped.
pub(crate) struct Scripted {
    address: SocketAddr,
    tls: bool,
    seen: watch::Sender<Seen>,
    results: watch::Sender<usize>,
    _server: AbortOnDropHandle<()>,
}

impl Scripted {
    /// Listens in clear.
    pub(crate) async fn start(connections: Vec<Vec<Step>>) -> Self {
        Self::listen(connections, None).await
    }

    /// Listens with TLS and HTTP/2, or the protocols named.
    pub(crate) async fn start_tls(
        connections: Vec<Vec<Step>>,
        certificate: &SelfSigned,
        protocols: &[&str],
    ) -> Self {
        Self::listen(connections, Some(certificate.acceptor(protocols))).await
    }

    async fn listen(connections: Vec<Vec<Step>>, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, results) = (watch::Sender::new(Seen::default()), watch::Sender::new(0));
        let world = World {
            seen: seen.clone(),
            results: results.subscribe(),
        };
        let encrypted = tls.is_some();
        let server = AbortOnDropHandle::new(tokio::spawn(serve(listener, connections, tls, world)));
        Self {
            address,
            tls: encrypted,
            seen,
            results,
            _server: server,
        }
    }

    /// A URL of it.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}/", self.address)
    }

    /// Says that the test was given another result.
    pub(crate) fn note_result(&self) {
        self.results.send_modify(|count| *count += 1);
    }

    /// What it has seen.
    pub(crate) fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// Waits until what it saw satisfies `enough`; panics after a while.
    pub(crate) async fn wait(&self, enough: impl Fn(&Seen) -> bool) {
        let mut seen = self.seen.subscribe();
        let waited = tokio::time::timeout(super::support::AMPLE, seen.wait_for(|seen| enough(seen))).await;
        assert!(waited.is_ok(), "the server saw only {:?}", self.seen());
    }
}

#[derive(Clone)]
struct World {
    seen: watch::Sender<Seen>,
    results: watch::Receiver<usize>,
}

async fn serve(
    listener: TcpListener,
    scripts: Vec<Vec<Step>>,
    tls: Option<tokio_rustls::TlsAcceptor>,
    world: World,
) {
    let mut tasks = tokio::task::JoinSet::new();
    let mut scripts = scripts.into_iter().map(Arc::new).peekable();
    let mut last = None;
    while let Ok((stream, _)) = listener.accept().await {
        let script = scripts.next().or(last).unwrap();
        last = Some(Arc::clone(&script));
        world.seen.send_modify(|seen| seen.connections += 1);
        let (tls, world) = (tls.clone(), world.clone());
        tasks.spawn(async move {
            stream.set_nodelay(true).unwrap();
            // An error means that the client has left.
            let _: io::Result<()> = match tls {
                None => follow(stream, &script, world, |stream| stream).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => follow(stream, &script, world, |stream| stream.get_ref().0).await,
                    Err(_) => Ok(()),
                },
            };
        });
    }
}

async fn follow<S>(
    stream: S,
    script: &[Step],
    mut world: World,
    tcp: impl Fn(&S) -> &TcpStream,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut peer = Peer {
        stream,
        unread: Vec::new(),
    };
    for step in script {
        match step {
            Step::Request => peer.read_request(true).await?,
            Step::Head => peer.read_request(false).await?,
            Step::Send(bytes) => peer.send(bytes).await?,
            Step::AfterResult(count) => {
                let _ = world.results.wait_for(|results| results >= count).await;
            }
            Step::Preface(settings) => peer.begin_http2(settings).await?,
            Step::Stream(id) => peer.read_stream(*id).await?,
            Step::Frame(kind) => peer.read_frame(|frame| frame.kind == *kind).await?,
            Step::Reset => tcp(&peer.stream).set_zero_linger()?,
            Step::UntilClosed => {
                // A reset is an end as well.
                while matches!(peer.read().await, Ok(1..)) {
                    peer.unread.clear();
                }
            }
        }
        if matches!(step, Step::Request | Step::Head | Step::Stream(_)) {
            world.seen.send_modify(|seen| seen.requests += 1);
        }
    }
    world.seen.send_modify(|seen| seen.finished += 1);
    Ok(())
}

struct Peer<S> {
    stream: S,
    unread: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    async fn read(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.unread).await
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.read().await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    async fn read_request(&mut self, whole: bool) -> io::Result<()> {
        let head_end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more().await?;
        };
        let head = String::from_utf8_lossy(&self.unread[..head_end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let end = head_end + length.map_or(0, |length| length.trim().parse().unwrap());
        while whole && self.unread.len() < end {
            self.read_more().await?;
        }
        self.unread.drain(..end.min(self.unread.len()));
        Ok(())
    }

    async fn begin_http2(&mut self, settings: &[u8]) -> io::Result<()> {
        while self.unread.len() < PREFACE.len() {
            self.read_more().await?;
        }
        assert_eq!(&self.unread[..PREFACE.len()], PREFACE);
        self.unread.drain(..PREFACE.len());
        self.send(&frame(SETTINGS, 0, 0, settings)).await
    }

    async fn read_stream(&mut self, id: u32) -> io::Result<()> {
        self.read_frame(|frame| {
            frame.stream == id && matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0
        })
        .await
    }

    /// Reads frames up to one that `wanted` accepts; acknowledges settings on the way.
    async fn read_frame(&mut self, wanted: impl Fn(&Frame) -> bool) -> io::Result<()> {
        loop {
            let frame = self.next_frame().await?;
            if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                self.send(&self::frame(SETTINGS, ACK, 0, b"")).await?;
            }
            if wanted(&frame) {
                return Ok(());
            }
        }
    }

    async fn next_frame(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(head) = self.unread.first_chunk::<9>() {
                let end = 9 + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if self.unread.len() >= end {
                    let frame = Frame {
                        kind: head[3],
                        flags: head[4],
                        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                    };
                    self.unread.drain(..end);
                    return Ok(frame);
                }
            }
            self.read_more().await?;
        }
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types and flags of HTTP/2 (RFC 9113 section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}
