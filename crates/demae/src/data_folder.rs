//! The data folder, and who may use the database in it.
//!
//! Two servers on one SQLite file would both deliver, each believing that the other's leases are its own to recover.
//! So a server holds an exclusive lock beside the file for as long as it runs. The kernel releases it with the
//! process, however that ends; the process id inside is only for the message. Short commands (`demae token`, …) do not
//! take it: SQLite itself keeps their writes apart.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

/// Makes the folder, readable by this user only, if it does not exist.
pub(crate) fn prepare(folder: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| {
            format!(
                "cannot make the data folder {} (setting data_dir)",
                folder.display()
            )
        })
}

/// The exclusive use of an SQLite database by a server, until dropped.
#[derive(Debug)]
pub(crate) struct DatabaseLock {
    _file: File,
}

impl DatabaseLock {
    /// Takes the lock, or says which process has it.
    pub(crate) fn take(database: &Path) -> anyhow::Result<Self> {
        let path = lock_path(database);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot open the lock file {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "the database {} is in use by another Demae server ({})\n\
                 stop that one first, or give this one a data folder of its own: DEMAE_DATA_DIR=./other",
                database.display(),
                holder(&mut file),
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .with_context(|| format!("cannot write the lock file {}", path.display()))?;
        Ok(Self { _file: file })
    }

    /// The process that holds the lock, in words; `None` if nobody does.
    pub(crate) fn held_by(database: &Path) -> Option<String> {
        let mut file = File::open(lock_path(database)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(holder(&mut file)),
            _ => None,
        }
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => format!("process {}", text.trim()),
        _ => "process unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_refused_and_told_who_holds_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("demae.db");
        assert_eq!(DatabaseLock::held_by(&database), None);
        let lock = DatabaseLock::take(&database).unwrap();
        let refusal = DatabaseLock::take(&database).unwrap_err().to_string();
        assert!(
            refusal.contains(&format!("process {}", std::process::id())),
            "{refusal}"
        );
        assert_eq!(
            DatabaseLock::held_by(&database),
            Some(format!("process {}", std::process::id()))
        );
        drop(lock);
        DatabaseLock::take(&database).unwrap();
    }
}
