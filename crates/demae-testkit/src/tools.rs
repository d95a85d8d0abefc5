//! Runs the programs that `make setup` put into `.demae-tools`.
//!
//! Missing tools are an error, not a skipped test: a check that silently does not run proves nothing.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    time::timeout,
};

/// The folder of the tools: `DEMAE_TOOLS`, or `.demae-tools` at the top of the checkout.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = std::env::var_os("DEMAE_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.demae-tools"),
        PathBuf::from,
    );
    folder
        .canonicalize()
        .with_context(|| format!("{}: run `make setup`", folder.display()))
}

/// A file of this crate, by its path within the crate.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The private Python, with the packages of `scripts/requirements.txt`.
pub(crate) fn python() -> Result<Command> {
    let mut command = program(&folder()?.join("venv/bin/python"))?;
    // Its scripts are in the source tree, which a test leaves as it is.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// Node with the packages of `scripts/node/package.json` in sight.
pub(crate) fn node() -> Result<Command> {
    let packages = folder()?.join("node");
    if !packages.join("node_modules").is_dir() {
        bail!("{} has no packages: run `make setup`", packages.display());
    }
    let mut command = Command::new("node");
    command.env("DEMAE_NODE_PACKAGES", packages);
    Ok(command)
}

fn program(path: &Path) -> Result<Command> {
    if !path.is_file() {
        bail!("{} is missing: run `make setup`", path.display());
    }
    Ok(Command::new(path))
}

/// Runs the command with this standard input to its end, at most for `limit` of real time.
pub(crate) async fn run(mut command: Command, input: Vec<u8>, limit: Duration) -> Result<Output> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let name = command.as_std().get_program().display().to_string();
    let child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    timeout(limit, converse(child, input))
        .await
        .with_context(|| format!("{name} took over {limit:?}"))?
}

/// Writes and reads at once: a program may answer before it has read everything.
async fn converse(mut child: Child, input: Vec<u8>) -> Result<Output> {
    let mut stdin = child.stdin.take().context("the child has no standard input")?;
    let write = async move {
        // A program that ends without reading closes the pipe; its exit code tells the story.
        let _ = stdin.write_all(&input).await;
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    Ok(output?)
}
