//! The first organization's token in a private file of the data folder.
//!
//! `demae dev` keeps it, so that the other commands work without setting anything. `demae serve` writes it once for its
//! operator, because standard output of a server ends in a log that others read.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{config::Secret, secret_key};

const FILE_NAME: &str = "dev.token";
/// Of `demae serve`.
const FIRST_FILE_NAME: &str = "first.token";

/// Keeps `token` for the other commands, readable by this user only.
pub(crate) fn keep(data_dir: &Path, token: &str) -> anyhow::Result<()> {
    write(&data_dir.join(FILE_NAME), token)
}

/// Hands `token` to the operator in a file that only this user can read. Answers where.
pub(crate) fn hand_over(data_dir: &Path, token: &str) -> anyhow::Result<PathBuf> {
    let path = data_dir.join(FIRST_FILE_NAME);
    write(&path, token).context(
        "the first organization was made, and its token is lost\nmake another one with `demae token create`",
    )?;
    Ok(path)
}

fn write(path: &Path, token: &str) -> anyhow::Result<()> {
    // One of an earlier database in the same folder is of no use any more.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    secret_key::make_file(path, token).with_context(|| format!("cannot write {}", path.display()))
}

/// The token that was kept, if any.
pub(crate) fn read(data_dir: &Path) -> anyhow::Result<Option<Secret>> {
    let path = data_dir.join(FILE_NAME);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
