//! The token that `demae dev` made for its first organization, kept so that the other commands work without setting
//! anything. `demae serve` keeps none.

use std::{io::ErrorKind, path::Path};

use anyhow::Context as _;

use crate::{config::Secret, secret_key};

const FILE_NAME: &str = "dev.token";

/// Keeps `token`, readable by this user only.
pub(crate) fn keep(data_dir: &Path, token: &str) -> anyhow::Result<()> {
    let path = data_dir.join(FILE_NAME);
    // One of an earlier database in the same folder is of no use any more.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    secret_key::make_file(&path, token).with_context(|| format!("cannot write {}", path.display()))
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
