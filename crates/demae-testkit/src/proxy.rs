//! A TCP proxy that fails on command, to stand between a program and its database or broker.
//!
//! It moves bytes and knows nothing of what they mean. In one state at a time, for all connections:
//! passing, slow (each piece waits before it goes on), stalled (connections stay open and not a byte
//! moves, as when a packet filter drops everything) or cut (open connections are reset and new ones
//! too, as when the server's machine is gone).

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// Connecting to a server on the same machine; more means that it is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Bytes moved at once.
const CHUNK: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Passing,
    /// Before each piece, in each direction.
    Slow(Duration),
    Stalled,
    Cut,
}

/// A listening proxy; closed, with all its connections, when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    /// Connections being relayed, for tests that wait until a program has noticed.
    open: watch::Receiver<usize>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a port of its own and passes everything on to the server at `upstream`.
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
        let address = listener.local_addr()?;
        let (state, states) = watch::channel(State::Passing);
        let (count, open) = watch::channel(0);
        let accepting = tokio::spawn(accept(listener, upstream, states, count));
        Ok(Self {
            address,
            state,
            open,
            accepting,
        })
    }

    /// Where to connect instead of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL with its host and port replaced by the proxy's.
    pub fn in_front_of(&self, url: &str) -> Result<String> {
        let (scheme, rest) = url.split_once("://").context("not a URL")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let user = authority
            .rsplit_once('@')
            .map(|(user, _)| format!("{user}@"))
            .unwrap_or_default();
        Ok(format!("{scheme}://{user}{}/{path}", self.address))
    }

    /// Lets bytes pass. Connections that were stalled go on where they stood.
    pub fn pass(&self) {
        self.state.send_replace(State::Passing);
    }

    /// Lets each piece (at most 16 KiB) wait so long before it goes on, which bounds both latency and throughput.
    pub fn slow(&self, delay: Duration) {
        self.state.send_replace(State::Slow(delay));
    }

    /// Keeps connections open and moves nothing more. A piece that is being written may still arrive.
    pub fn stall(&self) {
        self.state.send_replace(State::Stalled);
    }

    /// Resets all connections, and every new one, until [`pass`](Self::pass). Returns when none is
    /// left.
    pub async fn cut(&self) -> Result<()> {
        self.state.send_replace(State::Cut);
        self.wait_for_open(|open| open == 0).await
    }

    /// Waits until the number of relayed connections is as wanted.
    pub async fn wait_for_open(&self, wanted: impl Fn(usize) -> bool) -> Result<()> {
        self.open
            .clone()
            .wait_for(|open| wanted(*open))
            .await
            .context("the proxy has ended")?;
        Ok(())
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // The task owns the set of connections, which end with it.
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    state: watch::Receiver<State>,
    open: watch::Sender<usize>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                if *state.borrow() == State::Cut {
                    reset(&client);
                    continue;
                }
                connections.spawn(relay(client, upstream, state.clone()));
                open.send_replace(connections.len());
            }
            Some(_) = connections.join_next() => {
                open.send_replace(connections.len());
            }
        }
    }
}

/// Serves one connection until an end closes it or it is cut.
async fn relay(mut client: TcpStream, upstream: SocketAddr, mut state: watch::Receiver<State>) {
    let mut cut = state.clone();
    let moved = async {
        let mut server = timeout(CONNECT_LIMIT, TcpStream::connect(upstream)).await??;
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let mut answers = state.clone();
        tokio::try_join!(
            copy(&mut from_client, &mut to_server, &mut state),
            copy(&mut from_server, &mut to_client, &mut answers),
        )?;
        anyhow::Ok(())
    };
    let is_cut = tokio::select! {
        _ = moved => false,
        _ = cut.wait_for(|state| *state == State::Cut) => true,
    };
    if is_cut {
        reset(&client);
    }
}

/// Moves bytes while passing. What was read before a stall waits with it.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    state: &mut watch::Receiver<State>,
) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await?;
        let now = *state
            .wait_for(|state| matches!(state, State::Passing | State::Slow(_)))
            .await?;
        if let State::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if read == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        to.write_all(&chunk[..read]).await?;
    }
}

/// Makes the close that follows a reset instead of an orderly end.
fn reset(stream: &TcpStream) {
    // Fails only for a socket that is already gone.
    let _ = stream.set_zero_linger();
}
