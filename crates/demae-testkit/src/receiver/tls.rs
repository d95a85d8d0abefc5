//! A certificate that nobody but the test trusts.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A fresh self-signed certificate with its key.
pub struct SelfSigned {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    pem: String,
    key_pem: String,
}

impl SelfSigned {
    /// A certificate for the given host names and addresses.
    pub fn for_hosts(hosts: &[&str]) -> Self {
        let names: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names)
            .expect("a certificate for plain host names can be made");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("rcgen writes PKCS #8");
        Self {
            certificate: made.cert.der().clone(),
            key,
            pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }

    /// The certificate, to be trusted by the client under test.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// The same as the text of a PEM file.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The key as the text of a PEM file.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// A server that presents this certificate and offers these protocols, e.g. `["h2", "http/1.1"]`.
    pub fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .expect("key and certificate were made together");
        config.alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        TlsAcceptor::from(Arc::new(config))
    }
}
