//! Talking to a running server.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde_json::Value;
use url::Url;

use super::output::printable;
use crate::{config::Secret, dev_token, http_client::HttpClient};

/// For one request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest page that a server gives.
const PAGE: usize = 200;

/// Which server, and in whose name.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RemoteArgs {
    /// The server
    #[arg(
        global = true,
        long,
        env = "DEMAE_URL",
        default_value = "http://127.0.0.1:6060",
        value_name = "URL"
    )]
    url: Url,
    /// An API token [default: the one that `demae dev` keeps in its data folder]
    #[arg(
        global = true,
        long,
        env = "DEMAE_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    token: Option<String>,
    /// Where `demae dev` keeps its files
    #[arg(
        global = true,
        long,
        env = "DEMAE_DATA_DIR",
        default_value = "./demae-data",
        value_name = "FOLDER"
    )]
    data_dir: PathBuf,
}

/// A server and a token for it.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    http: HttpClient,
    base: Url,
    token: Secret,
}

impl RemoteArgs {
    pub(crate) fn connect(&self) -> anyhow::Result<Remote> {
        let token = match &self.token {
            Some(token) => Secret::new(token.trim()),
            None => dev_token::read(&self.data_dir)?.with_context(|| {
                format!(
                    "no token\nset DEMAE_TOKEN or give --token; make one with `demae token create`.\n\
                     (`demae dev` would have kept one in {})",
                    self.data_dir.display()
                )
            })?,
        };
        Ok(Remote::new(self.url.clone(), token))
    }
}

impl Remote {
    /// The server at `base`, in the name of whoever has the token.
    pub(crate) fn new(base: Url, token: Secret) -> Self {
        Self {
            http: HttpClient::new(),
            base,
            token,
        }
    }

    /// The server's address.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    pub(crate) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.call(Method::GET, path, query, None).await
    }

    /// What is there, or none if nothing is.
    pub(crate) async fn find(&self, path: &str) -> anyhow::Result<Option<Value>> {
        match self.exchange(Method::GET, path, &[], None, None).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) => read(&self.base, status, &body).map(Some),
        }
    }

    /// A POST that the server makes once, however often it is sent with this key.
    pub(crate) async fn post_once(&self, path: &str, body: &Value, key: &str) -> anyhow::Result<Value> {
        let (status, body) = self
            .exchange(Method::POST, path, &[], Some(body), Some(key))
            .await?;
        read(&self.base, status, &body)
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PUT, path, &[], Some(body)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PATCH, path, &[], Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, path, &[], None).await
    }

    /// At most `limit` items of a list, page by page.
    pub(crate) async fn list(
        &self,
        path: &str,
        query: &[(&str, String)],
        limit: usize,
    ) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        while items.len() < limit {
            let mut query = query.to_vec();
            query.push(("limit", (limit - items.len()).min(PAGE).to_string()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &query).await?;
            if let Value::Array(found) = page["items"].take() {
                items.extend(found);
            }
            match page["nextCursor"].as_str() {
                Some(next) if page["hasMore"] == true => cursor = Some(next.to_owned()),
                _ => break,
            }
        }
        items.truncate(limit);
        Ok(items)
    }

    /// One call below `/api`. `Null` for an answer without a body.
    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (status, body) = self.exchange(method, path, query, body, None).await?;
        read(&self.base, status, &body)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
        idempotency_key: Option<&str>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/api{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose()))
            .header(header::ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = request
            .body(bytes)
            .context("the token or the URL has characters that HTTP does not allow")?;
        let response = self.http.send(request, TIMEOUT).await.with_context(|| {
            format!("cannot reach the server at {}\nis it running? (`demae dev`) Another address: --url or DEMAE_URL", self.base)
        })?;
        let (head, body) = response.into_parts();
        Ok((head.status, body))
    }
}

/// The JSON of a success; `Null` if it has no body.
fn read(base: &Url, status: StatusCode, body: &Bytes) -> anyhow::Result<Value> {
    if !status.is_success() {
        bail!(problem(status, body));
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body)
        .with_context(|| format!("{base} answered something other than JSON; is it a Demae server?"))
}

/// A refusal in words: the problem document if there is one.
fn problem(status: StatusCode, body: &[u8]) -> String {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut text = match document["detail"].as_str().or(document["title"].as_str()) {
        Some(detail) => format!("the server refused ({}): {}", status.as_u16(), printable(detail)),
        None => format!("the server answered {status}"),
    };
    for error in document["errors"].as_array().into_iter().flatten() {
        let member = |name: &str| printable(error[name].as_str().unwrap_or_default());
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {}: {}", member("location"), member("message"));
    }
    match status {
        StatusCode::UNAUTHORIZED => {
            text.push_str("\ncheck DEMAE_TOKEN; make a token with `demae token create`");
        }
        StatusCode::FORBIDDEN => text.push_str("\nuse a token with the scope that is named"),
        _ => {}
    }
    text
}

/// One segment of a path.
pub(crate) fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_every_fault_and_the_remedy() {
        let body = br#"{"title":"Unprocessable","detail":"2 faults","errors":[
            {"location":"body.url","message":"no \u001b[31mURL"},{"location":"body.eventNames[0]","message":"unknown"}]}"#;
        assert_eq!(
            problem(StatusCode::UNPROCESSABLE_ENTITY, body),
            "the server refused (422): 2 faults\n  body.url: no \u{fffd}[31mURL\n  body.eventNames[0]: unknown"
        );
        assert!(problem(StatusCode::UNAUTHORIZED, b"<html>").contains("DEMAE_TOKEN"));
    }
}
