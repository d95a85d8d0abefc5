//! The few management calls around a measurement. What is measured goes through the driver.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

/// An HTTP client that sends the token everywhere.
#[derive(Debug)]
pub(super) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    authorization: String,
}

impl Client {
    pub(super) fn new(token: &str) -> Self {
        Self {
            pool: Pool::builder(TokioExecutor::new()).build_http(),
            authorization: format!("Bearer {token}"),
        }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T> {
        Ok(serde_json::from_slice(
            &self.call(Method::GET, url, Bytes::new()).await?,
        )?)
    }

    pub(super) async fn post(&self, url: &str, body: &Value) -> Result<Bytes> {
        self.call(Method::POST, url, Bytes::from(serde_json::to_vec(body)?))
            .await
    }

    /// An answer that is no JSON.
    pub(super) async fn get_text(&self, url: &str) -> Result<String> {
        let body = self.call(Method::GET, url, Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// The status of an answer, if there is one.
    pub(super) async fn get_status(&self, url: &str) -> Option<u16> {
        let answer = timeout(LIMIT, self.pool.get(url.parse().ok()?)).await;
        Some(answer.ok()?.ok()?.status().as_u16())
    }

    async fn call(&self, method: Method, url: &str, body: Bytes) -> Result<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", "application/json")
            .header("authorization", &self.authorization)
            .body(Full::new(body))?;
        let exchange = async {
            let answer = self.pool.request(request).await?;
            let status = answer.status();
            anyhow::Ok((status, answer.into_body().collect().await?.to_bytes()))
        };
        let (status, body) = timeout(LIMIT, exchange)
            .await
            .with_context(|| format!("{url} did not answer"))??;
        if !status.is_success() {
            bail!("{url} answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}
