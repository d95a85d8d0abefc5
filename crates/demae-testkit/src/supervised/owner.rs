//! As whom test servers run.
//!
//! Postgres refuses to run as root, and RabbitMQ's node should not either. When the tests run as root, servers run as
//! `nobody`, who exists on every Unix.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::geteuid;

/// `nobody` and its group on Debian and most others. The number is used, not the name, so that no
/// entry in the password file is needed.
const NOBODY: u32 = 65534;

/// Beginnings of the names of variables that servers and their tools obey.
const OTHERS_SETTINGS: [&str; 3] = ["PG", "RABBITMQ_", "ERL_"];

/// A command that runs a program as the server's owner, in a folder that owner may read.
pub(crate) fn as_owner(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    // Variables like PGPORT or RABBITMQ_NODENAME of the person who runs the tests must not leak in.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if OTHERS_SETTINGS.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    if let Some(owner) = owner() {
        command.uid(owner).gid(owner);
    }
    command
}

/// The user and group number that owns the server, when it is not simply whoever runs the tests.
pub(crate) fn owner() -> Option<u32> {
    geteuid().is_root().then_some(NOBODY)
}

/// Runs a program to its end; its complaint becomes the error.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}): {}{}",
            command.get_program().display(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
    }
    Ok(())
}

/// Hands a file or folder to the user the server runs as.
pub(crate) fn give_to_owner(path: &Path) -> Result<()> {
    let owner = owner();
    std::os::unix::fs::chown(path, owner, owner)
        .with_context(|| format!("cannot give {} to the owner of the server", path.display()))
}

/// Runs the blocking work of programs and file locks on tokio's threads for that. Deliberately
/// without tokio's timers: a test with a paused clock would see them all fire at once. The bound is
/// the programs' own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("the work on the test server panicked")?
}
