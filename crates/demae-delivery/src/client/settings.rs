//! How exchanges are made.

use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::address::AddressPolicy;

/// How exchanges are made.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Which addresses may be connected to.
    pub policy: AddressPolicy,
    /// For look-up, TCP and TLS together.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept. Below the five seconds after which common servers (Node.js, Apache)
    /// close theirs: a request sent while the other side closes has to be sent again.
    pub idle_timeout: Duration,
    /// The largest age at which a connection is given another exchange, so that a receiver that moves to another
    /// address is found while traffic does not pause. Varies by a quarter downwards.
    pub connection_age: Duration,
    /// Unused connections kept per host.
    pub idle_per_host: usize,
    /// Certificate authorities trusted beyond the public ones.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            policy: AddressPolicy::default(),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
            connection_age: Duration::from_mins(1),
            // Many endpoints often share a host, each with its own lane; a connection that does not fit is closed after
            // every exchange and opened again, which costs more than the exchange.
            idle_per_host: 512,
            extra_roots: Vec::new(),
        }
    }
}
