//! The client library's view of tokio, with connections that can be held back.
//!
//! The library takes a stream of the type that its runtime names. This runtime is the library's own one for tokio, and
//! names [`Gated`] streams. The library's input and output use nothing else of it that differs.

use std::{io, net::SocketAddr, time::Duration, time::Instant};

use async_compat::Compat;
use async_rs::{
    Tokio,
    traits::{Executor, Reactor, RuntimeKit},
    util::Task,
};
use futures::{
    Stream,
    io::{AsyncRead, AsyncWrite},
};
use tokio::net::TcpStream;

use super::gate::{Gate, Gated};

/// A stream as the library reads it.
pub(super) type GatedTcp = Gated<Compat<TcpStream>>;

/// tokio, with gates.
#[derive(Debug, Clone)]
pub(super) struct GatedRuntime(Tokio);

impl GatedRuntime {
    /// The runtime of the caller.
    pub(super) fn current() -> Self {
        Self(Tokio::current())
    }
}

impl RuntimeKit for GatedRuntime {}

impl Executor for GatedRuntime {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, future: F) -> T {
        self.0.block_on(future)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        future: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn(future)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        work: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(work)
    }
}

impl Reactor for GatedRuntime {
    type TcpStream = GatedTcp;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// Not used by the library; the trait's own bound cannot be named outside of its crate.
    fn register<H: io::Read + io::Write + Send + 'static>(
        &self,
        _socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<GatedTcp, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, period: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(period)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connected = self.0.tcp_connect_addr(address);
        async move { Ok(Gated::new(connected.await?, Gate::unlimited())) }
    }
}
