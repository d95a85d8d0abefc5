//! The client of the command line and of trace export: talks to servers that the user named.
//!
//! Unlike the client of deliveries it refuses no address, because nobody but the user chooses where it goes. It
//! follows no redirect, and every exchange ends and is small.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore};

use crate::config::Authorities;

/// The largest answer that is read, in bytes: a full page of history with payloads.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    inner: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl HttpClient {
    /// Trusts the public authorities. Must be used within a tokio runtime.
    pub(crate) fn new() -> Self {
        Self::trusting(None)
    }

    /// Trusts the public authorities and `extra` ones. Must be used within a tokio runtime.
    #[expect(
        clippy::expect_used,
        reason = "the provider and the versions are both compiled in"
    )]
    pub(crate) fn trusting(extra: Option<&Authorities>) -> Self {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        if let Some(extra) = extra {
            roots.add_parsable_certificates(extra.certificates().iter().cloned());
        }
        // Named, because a program that links two providers has no default one.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks the default versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .build();
        Self {
            inner: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// Makes one exchange within `timeout`, body included.
    pub(crate) async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> anyhow::Result<Response<Bytes>> {
        let exchange = async {
            let response = self
                .inner
                .request(request.map(Full::new))
                .await
                .context("no answer")?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT)
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!(error).context("the answer broke off"))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .with_context(|| format!("no answer within {} s", timeout.as_secs()))?
    }
}
