//! Why no connection could be opened.

use std::io;
use std::net::SocketAddr;

use super::address::AddressRefused;
use super::resolver::ResolveError;

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The URI names no host; an `EndpointUrl` always does.
    #[error("the URI names no host")]
    NoHost,
    /// Every address of the host is refused; the first refusal is told.
    #[error(transparent)]
    Refused(#[from] AddressRefused),
    /// The host has no addresses.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// TCP did not connect; the failure of the last address tried.
    #[error("connecting to {address} failed")]
    Tcp {
        /// The address tried.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No connection within the connect timeout.
    #[error("no connection within the connect timeout ({step})")]
    Timeout {
        /// What was under way.
        step: &'static str,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// The host is no name that a certificate could carry.
    #[error("the host is no valid TLS server name")]
    ServerName,
}
