//! On what was measured.

use std::{fmt, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::bed::{self, StoreKind};

/// The machine and the versions of what is not ours.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// Of the first processor.
    pub(crate) processor: String,
    /// Processors usable by a process.
    pub(crate) cores: usize,
    /// GiB.
    pub(crate) memory: f64,
    /// `uname -r`.
    pub(crate) kernel: String,
    /// Median time for 8 KiB to be on the disk, in microseconds.
    pub(crate) sync_micros: u64,
    /// The databases' files are in memory, so that "durable" means nothing.
    pub(crate) in_memory: bool,
    /// SQLite's version, if measured.
    pub(crate) sqlite: Option<String>,
    /// Postgres's version, if measured.
    pub(crate) postgres: Option<String>,
    /// The commit of the checkout, if it is one.
    pub(crate) commit: Option<String>,
    /// The day, in UTC.
    pub(crate) day: String,
}

impl Machine {
    /// Looks around.
    pub(crate) async fn look(stores: &[StoreKind]) -> Result<Self> {
        Ok(Self {
            processor: processor(&fs::read_to_string("/proc/cpuinfo")?),
            cores: std::thread::available_parallelism()?.get(),
            memory: rustix::system::sysinfo().totalram as f64 / 1_073_741_824.0,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            sync_micros: bed::sync_micros().context("cannot measure the disk")?,
            in_memory: folder_is_in_memory(&std::env::temp_dir()),
            sqlite: if stores.contains(&StoreKind::Sqlite) {
                Some(bed::sqlite_version().await?)
            } else {
                None
            },
            // Where Postgres is not installed, its rows say so.
            postgres: if stores.contains(&StoreKind::Postgres) {
                bed::postgres_version().await.ok()
            } else {
                None
            },
            commit: commit(),
            day: day(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}, {} cores, {:.0} GiB, Linux {}, 8 KiB on the disk in {} µs (median)",
            self.day, self.processor, self.cores, self.memory, self.kernel, self.sync_micros
        )?;
        for (name, version) in [
            ("SQLite", &self.sqlite),
            ("Postgres", &self.postgres),
            ("commit", &self.commit),
        ] {
            if let Some(version) = version {
                write!(f, ", {name} {version}")?;
            }
        }
        if self.in_memory {
            f.write_str("; **the databases' files are in memory: nothing is durable**")?;
        }
        Ok(())
    }
}

fn processor(cpuinfo: &str) -> String {
    let model = |line: &str| {
        Some(
            line.strip_prefix("model name")?
                .split_once(':')?
                .1
                .trim()
                .to_owned(),
        )
    };
    cpuinfo
        .lines()
        .find_map(model)
        .unwrap_or_else(|| "unknown processor".to_owned())
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    // What is measured is what was built, which is the commit only if nothing has been changed since.
    let changed = !git(&["status", "--porcelain", "--", "crates", "Cargo.lock"])?.is_empty();
    Some(if changed {
        format!("{commit} with changes")
    } else {
        commit
    })
}

fn day() -> String {
    use demae_event::Clock as _;
    let now = demae_event::SystemClock.now().to_string();
    now.split('T').next().unwrap_or(&now).to_owned()
}

fn folder_is_in_memory(folder: &Path) -> bool {
    /// `TMPFS_MAGIC` of `statfs(2)`.
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::statfs(folder).is_ok_and(|system| system.f_type as u64 == TMPFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_by_its_model() {
        let cpuinfo = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: A Processor\n";
        assert_eq!(processor(cpuinfo), "A Processor");
        assert_eq!(processor(""), "unknown processor");
    }
}
