//! Remembers the runs of `demae listen` on this machine, so that a later run deletes the endpoints of a killed one.
//!
//! # Guarantees
//! A run only ever claims endpoints that this user created on this machine. An endpoint of a colleague, of another machine
//! or of a run that is still active is never claimed, whatever address its metadata names.
//!
//! # Design
//! Each run has a random ID, which is also in the metadata of its endpoint, and a file of that name in the user's state
//! folder. The file holds the server's URL. The run keeps the file locked; the kernel releases the lock when the process
//! ends, however it ends. An unlocked file is therefore the record of a run that is over. The file is written before the
//! endpoint is created, so no endpoint of a killed run is missed.
//!
//! # Limits
//! Without a home folder nothing is remembered, and an endpoint that a killed run left stays until it is deleted by hand.

use std::{
    ffi::OsStr,
    fs::{DirBuilder, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use url::Url;
use uuid::Uuid;

/// Files that are read at most. A run leaves one only when it was killed.
const MAX_FILES: usize = 1_000;
/// A file is one URL.
const MAX_FILE_BYTES: u64 = 4_096;

/// This run.
#[derive(Debug)]
pub(super) struct Run {
    id: Uuid,
    /// The locked file, unless there is no place for one.
    file: Option<(PathBuf, File)>,
}

/// A run that is over and may have left an endpoint on the server.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its ID, as in the metadata of its endpoint.
    pub(super) id: String,
    path: PathBuf,
    /// Keeps a third run from claiming the same one meanwhile.
    _lock: File,
}

/// The folder that keeps the files: `$XDG_STATE_HOME/demae/listen`, by default below `~/.local/state`
/// (XDG Base Directory Specification). `None` without a home folder.
pub(super) fn folder() -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .and_then(absolute)
        .or_else(|| {
            std::env::home_dir()
                .and_then(absolute)
                .map(|home| home.join(".local/state"))
        })?;
    Some(state.join("demae/listen"))
}

impl Run {
    /// Begins a run against `server`. It is remembered in `folder` until [`Run::end`].
    pub(super) fn begin(folder: Option<&Path>, server: &Url, id: Uuid) -> anyhow::Result<Self> {
        let file = folder
            .map(|folder| remember(folder, server, id))
            .transpose()
            .context(
                "cannot write the record of this run, by which a later run finds its endpoint\n\
                 make the folder writable, or choose another one: XDG_STATE_HOME",
            )?;
        Ok(Self { id, file })
    }

    /// Its ID, for the metadata of its endpoint.
    pub(super) fn id(&self) -> String {
        self.id.to_string()
    }

    /// Forgets the run: its endpoint is deleted.
    pub(super) fn end(self) -> std::io::Result<()> {
        match self.file {
            Some((path, _lock)) => std::fs::remove_file(path),
            None => Ok(()),
        }
    }
}

impl Ended {
    /// Forgets the run: its endpoint is deleted, or never was created.
    pub(super) fn forget(self) -> std::io::Result<()> {
        std::fs::remove_file(self.path)
    }
}

/// The runs against `server` that are over, and claims them for as long as the result lives.
pub(super) fn ended(folder: &Path, server: &Url) -> std::io::Result<Vec<Ended>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries.take(MAX_FILES) {
        found.extend(claim(&entry?.path(), server));
    }
    Ok(found)
}

/// A file that is locked, unreadable or no record of a run is not claimed.
fn claim(path: &Path, server: &Url) -> Option<Ended> {
    let id: Uuid = path.file_name().and_then(OsStr::to_str)?.parse().ok()?;
    let mut file = File::open(path).ok()?;
    file.try_lock().ok()?;
    let mut text = String::new();
    (&mut file).take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
    (text.trim() == server.as_str()).then(|| Ended {
        id: id.to_string(),
        path: path.to_owned(),
        _lock: file,
    })
}

fn remember(folder: &Path, server: &Url, id: Uuid) -> std::io::Result<(PathBuf, File)> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Locked under a name that `claim` passes over, so that no other run takes it for one that is over.
    let draft = folder.join(format!("{id}.new"));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.try_lock()?;
    writeln!(file, "{server}")?;
    let path = folder.join(id.to_string());
    std::fs::rename(&draft, &path)?;
    Ok((path, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Url {
        "http://127.0.0.1:6060".parse().unwrap()
    }

    fn ids(folder: &Path, server: &Url) -> Vec<String> {
        ended(folder, server)
            .unwrap()
            .into_iter()
            .map(|run| run.id)
            .collect()
    }

    #[test]
    fn only_a_run_that_is_over_is_claimed_and_only_for_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(ids(&path, &server()).is_empty());

        let active = Run::begin(Some(&path), &server(), Uuid::from_u128(1)).unwrap();
        let killed = Run::begin(Some(&path), &server(), Uuid::from_u128(2)).unwrap();
        let expected = killed.id();
        drop(killed);
        assert_eq!(ids(&path, &server()), [expected]);
        assert!(ids(&path, &"http://127.0.0.1:7070".parse().unwrap()).is_empty());

        let claimed = ended(&path, &server()).unwrap();
        assert!(ids(&path, &server()).is_empty(), "two runs claim one");
        for run in claimed {
            run.forget().unwrap();
        }
        assert!(ids(&path, &server()).is_empty());
        active.end().unwrap();
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn a_foreign_file_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes.txt"), server().as_str()).unwrap();
        std::fs::write(folder.path().join(Uuid::nil().to_string()), [0xff, 0xfe]).unwrap();
        assert!(ids(folder.path(), &server()).is_empty());
    }

    #[test]
    fn without_a_folder_nothing_is_remembered() {
        let run = Run::begin(None, &server(), Uuid::from_u128(3)).unwrap();
        run.end().unwrap();
    }
}
