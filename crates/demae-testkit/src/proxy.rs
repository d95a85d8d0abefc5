//! A TCP proxy that fails on command, to stand between a program and its database or broker.
//!
//! It moves bytes and knows nothing of what they mean. In one state at a time, for all connections:
//! passing, slow (each piece waits before it goes on), stalled (connections stay open and not a byte
//! moves, as when a packet filter drops everything) or cut (open connections are reset and new ones
//! too, as when the server's machine is gone). And the connections of a moment can be lost: not a byte of them moves ever
//! again, while new ones pass, as when a packet filter forgets what it knew.

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

/// What all connections obey.
#[derive(Debug, Clone, Copy)]
struct Orders {
    state: State,
    /// Raised by each loss; connections of an earlier generation are lost.
    generation: u64,
}

impl Orders {
    fn let_pass(self, generation: u64) -> bool {
        self.generation == generation && matches!(self.state, State::Passing | State::Slow(_))
    }
}

/// A listening proxy; closed, with all its connections, when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    /// Connections being relayed, for tests that wait until a program has noticed.
    open: watch::Receiver<usize>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a port of its own and passes everything on to the server at `upstream`.
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
        let address = listener.local_addr()?;
        let (orders, heard) = watch::channel(Orders {
            state: State::Passing,
            generation: 0,
        });
        let (count, open) = watch::channel(0);
        let accepting = tokio::spawn(accept(listener, upstream, heard, count));
        Ok(Self {
            address,
            orders,
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
        self.order(State::Passing);
    }

    /// Lets each piece (at most 16 KiB) wait so long before it goes on, which bounds both latency and throughput.
    pub fn slow(&self, delay: Duration) {
        self.order(State::Slow(delay));
    }

    /// Keeps connections open and moves nothing more. A piece that is being written may still arrive.
    pub fn stall(&self) {
        self.order(State::Stalled);
    }

    /// Forgets the open connections: they stay open, and nothing is heard of them again. New ones pass.
    pub fn lose(&self) {
        self.orders.send_modify(|orders| orders.generation += 1);
    }

    /// Resets all connections, and every new one, until [`pass`](Self::pass). Returns when none is
    /// left.
    pub async fn cut(&self) -> Result<()> {
        self.order(State::Cut);
        self.wait_for_open(|open| open == 0).await
    }

    fn order(&self, state: State) {
        self.orders.send_modify(|orders| orders.state = state);
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
    orders: watch::Receiver<Orders>,
    open: watch::Sender<usize>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let now = *orders.borrow();
                if now.state == State::Cut {
                    reset(&client);
                    continue;
                }
                connections.spawn(relay(client, upstream, orders.clone(), now.generation));
                open.send_replace(connections.len());
            }
            Some(_) = connections.join_next() => {
                open.send_replace(connections.len());
            }
        }
    }
}

/// Serves one connection until an end closes it or it is cut.
async fn relay(
    mut client: TcpStream,
    upstream: SocketAddr,
    mut orders: watch::Receiver<Orders>,
    generation: u64,
) {
    let mut cut = orders.clone();
    let moved = async {
        let mut server = timeout(CONNECT_LIMIT, TcpStream::connect(upstream)).await??;
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let mut answers = orders.clone();
        tokio::try_join!(
            copy(&mut from_client, &mut to_server, &mut orders, generation),
            copy(&mut from_server, &mut to_client, &mut answers, generation),
        )?;
        anyhow::Ok(())
    };
    let is_cut = tokio::select! {
        _ = moved => false,
        _ = cut.wait_for(|orders| orders.state == State::Cut) => true,
    };
    if is_cut {
        reset(&client);
    }
}

/// Moves bytes while passing. What was read before a stall waits with it.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    orders: &mut watch::Receiver<Orders>,
    generation: u64,
) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await?;
        let now = *orders.wait_for(|orders| orders.let_pass(generation)).await?;
        if let State::Slow(delay) = now.state {
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
