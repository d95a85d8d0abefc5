//! RabbitMQ's management interface: what tests ask a broker that clients cannot.
//!
//! Blocking and with one connection per request, because a value's `Drop` uses it, too. HTTP/1.0, so that the answer ends
//! with the connection.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// A node that is frozen answers nothing.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(super) struct Management {
    address: SocketAddr,
    authorization: String,
}

impl Management {
    pub(super) fn new(address: SocketAddr, user: &str, password: &str) -> Self {
        Self {
            address,
            authorization: STANDARD.encode(format!("{user}:{password}")),
        }
    }

    /// Sends a request to `/api{path}`; an answer without a body is `null`.
    pub(super) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} /api{path} HTTP/1.0\r\nauthorization: Basic {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.authorization,
            body.len()
        );
        let mut stream =
            TcpStream::connect_timeout(&self.address, LIMIT).context("no management interface")?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            bail!("{method} {path}: {status} {body}");
        }
        Ok(serde_json::from_str(body).unwrap_or_default())
    }
}
