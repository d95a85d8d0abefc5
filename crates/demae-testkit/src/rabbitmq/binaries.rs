//! Finds RabbitMQ's programs.
//!
//! Not those on the PATH: the distribution's are wrappers that insist on a user of their own. The search is the one
//! `make setup` does.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Programs that a usable installation has together.
const NEEDED: [&str; 2] = ["rabbitmq-server", "rabbitmqctl"];

/// The folder with the server's own programs: `DEMAE_RABBITMQ_BIN`, or the newest of the distribution's.
pub(super) fn folder() -> Result<PathBuf> {
    let set = std::env::var_os("DEMAE_RABBITMQ_BIN").map(PathBuf::from);
    set.into_iter()
        .chain(packaged())
        .find(|folder| NEEDED.iter().all(|program| folder.join(program).is_file()))
        .context("no RabbitMQ server programs found: run `make setup`, or set DEMAE_RABBITMQ_BIN")
}

/// Debian's and Ubuntu's folders, newest version first.
fn packaged() -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir("/usr/lib/rabbitmq/lib") else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = found.flatten().map(|entry| entry.path()).collect();
    folders.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    folders.into_iter().map(|folder| folder.join("sbin")).collect()
}

/// `rabbitmq_server-3.10.8` as numbers.
fn version(folder: &Path) -> Vec<u32> {
    let name = folder
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let numbers = name.rsplit('-').next().unwrap_or_default();
    numbers.split('.').filter_map(|part| part.parse().ok()).collect()
}
