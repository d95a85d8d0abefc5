//! Opens connections, and is the one place where deliveries can be kept from leading inward.
//!
//! The order is fixed: find the addresses, ask the policy about each, connect to one of the addresses that passed (the
//! module `race`). Nothing is resolved again between the check and the connect, so a name server that answers differently the second
//! time (DNS rebinding) gains nothing. A host written as an address takes the same way as a name.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tower::Service;

use super::address::AddressPolicy;
use super::connect_error::ConnectError;
use super::race;
use super::resolver::{Lookup, Resolve, ResolveError};
use super::stream::Stream;

/// The tower service that the HTTP client asks for connections.
#[derive(Clone)]
pub(crate) struct Connector {
    shared: Arc<Shared>,
}

struct Shared {
    policy: AddressPolicy,
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
    timeout: Duration,
}

impl Connector {
    /// `timeout` covers look-up, TCP and TLS together.
    pub(crate) fn new(
        policy: AddressPolicy,
        resolver: Arc<dyn Resolve>,
        tls: TlsConnector,
        timeout: Duration,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                policy,
                resolver,
                tls,
                timeout,
            }),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.connect(&uri).await.map(TokioIo::new) })
    }
}

impl Shared {
    async fn connect(&self, uri: &Uri) -> Result<Stream, ConnectError> {
        let deadline = Instant::now() + self.timeout;
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let encrypted = uri.scheme() == Some(&Scheme::HTTPS);
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });

        let found = timeout_at(deadline, self.find(host))
            .await
            .map_err(|_| ConnectError::Timeout { step: "name look-up" })??;
        let tcp = race::connect(found, &self.policy, port, deadline).await?;
        if !encrypted {
            return Ok(Stream::clear(tcp));
        }
        let handshake = self.tls.connect(server_name(host)?, tcp);
        let tls = timeout_at(deadline, handshake)
            .await
            .map_err(|_| ConnectError::Timeout {
                step: "TLS handshake",
            })?
            .map_err(ConnectError::Tls)?;
        Ok(Stream::tls(tls))
    }

    async fn find(&self, host: &str) -> Result<Lookup, ResolveError> {
        match literal(host) {
            Some(address) => Ok(vec![address].into()),
            None => self.resolver.resolve(host).await,
        }
    }
}

/// The address a URI's host is written as, if it is one. IPv6 stands in brackets (RFC 3986 section 3.2.2).
fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, ConnectError> {
    if let Some(address) = literal(host) {
        return Ok(ServerName::IpAddress(address.into()));
    }
    // Certificates carry names without the trailing dot of an absolute name (RFC 6066 section 3).
    let name = host.strip_suffix('.').unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|_| ConnectError::ServerName)
}
