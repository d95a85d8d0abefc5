//! The TLS side of connecting: trusted roots, protocol versions, ALPN.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// The ALPN name of HTTP/2 (RFC 9113 section 3.1).
pub(super) const ALPN_H2: &[u8] = b"h2";
/// The ALPN name of HTTP/1.1 (RFC 7301 section 6).
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// TLS sessions remembered for resumption; saves the second handshake with a server, bounded in memory.
const REMEMBERED_SESSIONS: usize = 1_024;

/// What a connector offers by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocols {
    /// HTTP/2 before HTTP/1.1.
    Http2OrHttp1,
    /// HTTP/1.1 alone.
    Http1,
}

/// A TLS connector that trusts Mozilla's roots and `extra_roots`, and offers `protocols`.
///
/// The roots are compiled in rather than read from the machine, so that a bare container delivers like any other
/// place; a private authority is added by setting.
pub(super) fn tls_connector(
    extra_roots: &[CertificateDer<'static>],
    protocols: Protocols,
) -> Result<TlsConnector, rustls::Error> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    for certificate in extra_roots {
        roots.add(certificate.clone())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match protocols {
        Protocols::Http2OrHttp1 => vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()],
        Protocols::Http1 => vec![ALPN_HTTP1.to_vec()],
    };
    config.resumption = Resumption::in_memory_sessions(REMEMBERED_SESSIONS);
    Ok(TlsConnector::from(Arc::new(config)))
}
