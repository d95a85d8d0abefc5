//! One connection that carries one request at a time.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::http1;

/// Room for an answer; a larger one makes it grow.
const BUFFER: usize = 16 * 1024;

/// A connection to the server.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    target: SocketAddr,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(target: SocketAddr) -> Result<Self> {
        Ok(Self {
            stream: open(target).await?,
            target,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// Sends the bytes of a request and returns the status of the answer, once all of it is here.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection before it had answered");
            }
            if let Some(answer) = http1::answer(&self.buffer)? {
                if !answer.reusable {
                    self.stream = open(self.target).await?;
                }
                return Ok(answer.status);
            }
        }
    }
}

async fn open(target: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(target)
        .await
        .with_context(|| format!("cannot connect to {target}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
