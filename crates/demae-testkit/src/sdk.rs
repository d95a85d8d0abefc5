//! Drives a running server with programs that other people wrote against its interface: Kaiten's
//! official client, and a generator of requests from the OpenAPI document.
//!
//! Both are run from scripts in `sdk/`, which can also be run by hand.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::process::Command;

use crate::tools;

/// More than 200 customers are made one by one, against a debug build.
const CLIENT_LIMIT: Duration = Duration::from_mins(3);

/// The script's own bound on the generator, and a little for starting and ending.
const GENERATOR_LIMIT: Duration = Duration::from_secs(630);

/// The two clients of the `kaitencloud` package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfficialClient {
    /// `KaitenClient`.
    Sync,
    /// `AsyncKaitenClient`.
    Async,
}

/// Takes every resource of the `kaitencloud` package through its whole life; fails too if the package has a method that
/// is neither driven nor told of in the compatibility table. `base_url` is without `/api`, as its users give it. The
/// token needs `write:*`.
pub async fn official_client(client: OfficialClient, base_url: &str, token: &str) -> Result<()> {
    let kind = match client {
        OfficialClient::Sync => "sync",
        OfficialClient::Async => "async",
    };
    let mut command = tools::python()?;
    command
        .arg(tools::file("sdk/official_client"))
        .args([base_url, token, kind]);
    succeed(command, CLIENT_LIMIT).await.map(drop)
}

/// Writes feature flags with the `kaitencloud` package, and evaluates them with the `OpenFeature` SDK and its provider for
/// OFREP. `base_url` is without `/api`. The token needs `write:feature_flags`.
pub async fn openfeature_flags(base_url: &str, token: &str) -> Result<()> {
    let mut command = tools::python()?;
    command
        .arg(tools::file("sdk/openfeature_flags.py"))
        .arg(base_url)
        .arg(token);
    succeed(command, CLIENT_LIMIT).await.map(drop)
}

/// Lets `schemathesis` send generated requests for every operation of the OpenAPI document and
/// check the answers against it: no server error, no status, content type or body that the document
/// does not describe. Returns its report.
///
/// `base_url` is what the paths of the document are appended to.
pub async fn schemathesis(base_url: &str, token: &str, openapi_url: &str) -> Result<String> {
    // The generator leaves a folder of examples behind where it runs.
    let folder = tempfile::TempDir::with_prefix("demae-schemathesis-")?;
    let mut command = Command::new(tools::file("sdk/schemathesis"));
    command
        .args([base_url, token, openapi_url])
        .env("DEMAE_TOOLS", tools::folder()?)
        .current_dir(folder.path());
    succeed(command, GENERATOR_LIMIT).await
}

/// Runs it to its end; anything but success is an error with what it printed.
pub(crate) async fn succeed(command: Command, limit: Duration) -> Result<String> {
    let name = command.as_std().get_program().display().to_string();
    let output = tools::run(command, Vec::new(), limit).await?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{name} ended with {}:\n{printed}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(printed)
}
