//! Finds Postgres's programs.
//!
//! The search is the one `make setup` does, so that what it installed or found is what is used.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Programs that a usable installation has together; client-only packages lack the first ones.
const NEEDED: [&str; 5] = ["initdb", "postgres", "pg_ctl", "createdb", "dropdb"];

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
