//! This program's own two subcommands as child processes.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::driver::{Outcome, Plan};

/// How long a child may take to say that it is there.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long a driver may run in all.
const DRIVE_LIMIT: Duration = Duration::from_mins(30);

/// A webhook that was created.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Unique among those of its bed.
    pub(crate) url: String,
    /// The event it gets.
    pub(crate) name: String,
}

/// A running receiver; killed with the value.
#[derive(Debug)]
pub(crate) struct ReceiverProcess {
    child: Child,
    address: SocketAddr,
}

impl ReceiverProcess {
    pub(crate) async fn start(lanes: u64) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["receiver", "--lanes", &lanes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the receiver")?;
        let output = child.stdout.take().context("the receiver has no output")?;
        let line = timeout(START_LIMIT, BufReader::new(output).lines().next_line()).await??;
        let address = line.context("the receiver did not start")?.parse()?;
        Ok(Self { child, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn id(&self) -> Result<u32> {
        self.child.id().context("the receiver has ended")
    }
}

/// Runs a driver to its end.
pub(crate) async fn drive(plan: &Plan) -> Result<Outcome> {
    let driver = Command::new(std::env::current_exe()?)
        .args(["driver", &serde_json::to_string(plan)?])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(DRIVE_LIMIT, driver)
        .await
        .context("the driver did not end")??;
    if !output.status.success() {
        bail!(
            "the driver failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
