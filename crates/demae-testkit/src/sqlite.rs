//! SQLite files for tests.

use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;

/// A fresh, not yet existing database file in a folder of its own, which goes with the value.
#[derive(Debug)]
pub struct SqliteFile {
    folder: TempDir,
}

impl SqliteFile {
    /// Makes the folder; the file is made by the first who opens the URL.
    pub fn create() -> Result<Self> {
        Ok(Self {
            folder: TempDir::with_prefix("demae-sqlite-")?,
        })
    }

    /// `/…/demae.db`
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("demae.db")
    }

    /// `sqlite:/…/demae.db?mode=rwc`
    pub fn url(&self) -> String {
        format!("sqlite:{}?mode=rwc", self.path().display())
    }
}
