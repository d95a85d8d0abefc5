//! A client of the HTTP interface as an application would write it: one token, JSON in, JSON out.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::time::timeout;

/// More than the server's own limit for a change (30 s): what is cut off here is the server's fault.
const REQUEST_LIMIT: Duration = Duration::from_secs(45);

/// A tenant's way to a server. Clones share connections.
#[derive(Clone)]
pub struct Api {
    base: String,
    token: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub text: String,
}

impl Answer {
    /// Null if it is no JSON.
    pub fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

impl Api {
    /// `base` is `http://127.0.0.1:port`.
    pub fn new(base: impl Into<String>, token: impl Into<String>) -> Self {
        Self::connecting_by(HttpConnector::new(), base, token)
    }

    /// As [`new`](Self::new), from a certain address of this machine, for servers that tell clients apart by it.
    pub fn from_address(local: IpAddr, base: impl Into<String>, token: impl Into<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(local));
        Self::connecting_by(connector, base, token)
    }

    fn connecting_by(connector: HttpConnector, base: impl Into<String>, token: impl Into<String>) -> Self {
        // A request counts as one attempt; nothing may repeat it unseen.
        let client = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .build(connector);
        Self {
            base: base.into(),
            token: token.into(),
            client,
        }
    }

    /// An error means that no complete answer came.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        idempotency_key: Option<&str>,
    ) -> Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let exchange = async {
            let answer = self.client.request(request.body(body.into())?).await?;
            let status = answer.status();
            let bytes = answer.into_body().collect().await?.to_bytes();
            let text = String::from_utf8(bytes.to_vec())?;
            anyhow::Ok(Answer { status, text })
        };
        timeout(REQUEST_LIMIT, exchange)
            .await
            .with_context(|| format!("no answer within {REQUEST_LIMIT:?}"))?
    }

    /// A POST that must be answered 2xx.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        self.must(Method::POST, path, Some(body)).await
    }

    /// A GET that must be answered 2xx.
    pub async fn get(&self, path: &str) -> Value {
        self.must(Method::GET, path, None).await
    }

    async fn must(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let answer = self
            .send(method, path, body, None)
            .await
            .unwrap_or_else(|error| panic!("{path}: {error:#}"));
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        answer.body()
    }
}
