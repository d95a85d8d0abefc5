//! Finds Postgres's programs and runs them as somebody they accept.
//!
//! The search is the one `make setup` does, so that what it installed or found is what is used.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::geteuid;

/// `nobody` and its group on Debian and most others. The number is used, not the name, so that no
/// entry in the password file is needed.
const NOBODY: u32 = 65534;

/// Programs that a usable installation has together; client-only packages lack the first ones.
const NEEDED: [&str; 5] = ["initdb", "postgres", "pg_ctl", "createdb", "dropdb"];

/// A command that runs a program as the cluster's owner, in a folder that owner may read.
pub(super) fn as_owner(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    // Variables like PGDATA or PGPORT of the person who runs the tests must not leak in.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    if let Some(owner) = owner() {
        command.uid(owner).gid(owner);
    }
    command
}

/// The user and group number that owns the cluster, when it is not simply whoever runs the tests.
pub(super) fn owner() -> Option<u32> {
    geteuid().is_root().then_some(NOBODY)
}

/// The folder with the server's programs: `DEMAE_PG_BIN`, beside the `initdb` on the PATH (which may
/// be a link), or the newest of the distribution's folders.
pub(super) fn folder() -> Result<PathBuf> {
    let set = std::env::var_os("DEMAE_PG_BIN").map(PathBuf::from);
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .filter_map(|folder| folder.join("initdb").canonicalize().ok())
            .find_map(|initdb| initdb.parent().map(Path::to_path_buf))
    });
    set.into_iter()
        .chain(on_path)
        .chain(packaged())
        .find(|folder| NEEDED.iter().all(|program| folder.join(program).is_file()))
        .context("no Postgres server programs found: run `make setup`, or set DEMAE_PG_BIN")
}

/// Debian's and Ubuntu's folders, newest version first.
fn packaged() -> Vec<PathBuf> {
    let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") else {
        return Vec::new();
    };
    let mut numbered: Vec<(u32, PathBuf)> = versions
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect();
    numbered.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    numbered.into_iter().map(|(_, folder)| folder).collect()
}

/// Runs a program to its end; its complaint becomes the error.
pub(super) fn run(mut command: Command) -> Result<()> {
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
