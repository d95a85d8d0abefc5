//! Who holds a test server (a Postgres cluster, a RabbitMQ node), and its end.
//!
//! A server's folder holds two lock files. `holders` is locked *shared* by every process that uses
//! the server, for as long as it lives; `gate` is locked *exclusively* by whoever starts the
//! server or ends it, so the two never overlap. The supervisor ends the server when it gets the
//! gate and then `holders` exclusively: that is, when nobody is left. Kernel locks end with their
//! process however it ends, so a killed test needs no clean-up of its own.
//!
//! The end removes the folder with the lock files in it. A newcomer may have opened the gate just
//! before: having locked it, it looks whether the file is still the one at that path, and begins
//! again if not.

mod owner;

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::{self, Stdio},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::geteuid;
use uuid::Uuid;

pub(crate) use self::owner::{as_owner, blocking, give_to_owner, run};

/// The script that waits for the last holder and then removes everything.
const SUPERVISOR: &str = include_str!("supervise.sh");

/// Seconds without a holder until the shared server ends: longer than the gaps between the
/// processes of a test run, so that it is not made anew for each.
const SHARED_LINGER_SECONDS: u32 = 5;

/// How often the folder may be swept away between opening the gate and locking it.
const GATE_ATTEMPTS: usize = 10;

/// What can be supervised.
pub(crate) trait Server: Sized {
    /// Part of the folder's name, e.g. `pg`.
    const KIND: &'static str;
    /// What all shared servers have in common: another text, another server.
    const SETTINGS: &'static str;
    /// What differs between servers.
    type Options: Copy;

    /// The server in that folder, if one runs there.
    fn running_in(folder: &Path) -> Result<Option<Self>>;

    /// Makes a server in that folder, which belongs to its owner, and starts it. What an earlier, dead
    /// one left there is removed.
    fn create(folder: &Path, options: Self::Options) -> Result<Self>;

    /// The command that ends what runs in the folder, run there by the owner.
    fn end_command(folder: &Path) -> Result<Vec<OsString>>;
}

/// A running server, held until the value or the process is gone.
#[derive(Debug)]
pub(crate) struct Supervised<S> {
    server: S,
    /// Locked shared; closing it lets go.
    _holders: File,
}

impl<S: Server> Supervised<S> {
    /// The server of this workspace and user; started when it does not run.
    pub(crate) fn shared(options: S::Options) -> Result<Self> {
        let mut key = DefaultHasher::new();
        (env!("CARGO_MANIFEST_DIR"), S::SETTINGS, SUPERVISOR).hash(&mut key);
        let name = format!("demae-{}-{}-{:016x}", S::KIND, geteuid().as_raw(), key.finish());
        Self::hold(&std::env::temp_dir().join(name), options, SHARED_LINGER_SECONDS)
    }

    /// A new server for one holder.
    pub(crate) fn own(options: S::Options) -> Result<Self> {
        let name = format!("demae-{}-own-{}", S::KIND, Uuid::new_v4().simple());
        Self::hold(&std::env::temp_dir().join(name), options, 0)
    }

    pub(crate) fn server(&self) -> &S {
        &self.server
    }

    fn hold(folder: &Path, options: S::Options, linger_seconds: u32) -> Result<Self> {
        let gate = pass_gate(folder)?;
        let mut holders = open(&folder.join("holders"))?;
        holders.lock_shared().context("cannot hold the server")?;
        // The file's age tells the supervisor when somebody last came, even if they left at once.
        writeln!(holders, "{}", process::id())?;
        if supervisor_is_missing(folder)? {
            start_supervisor(folder, linger_seconds, S::end_command(folder)?)?;
        }
        let server = match S::running_in(folder)? {
            Some(server) => server,
            None => S::create(folder, options)?,
        };
        drop(gate);
        Ok(Self {
            server,
            _holders: holders,
        })
    }
}

/// Makes the folder if need be and locks its gate. Waits while another process starts the server,
/// which is bounded.
fn pass_gate(folder: &Path) -> Result<File> {
    for _ in 0..GATE_ATTEMPTS {
        make_folder(folder)?;
        let path = folder.join("gate");
        let gate = match open(&path) {
            Ok(gate) => gate,
            Err(error) if is_not_found(&error) => continue,
            Err(error) => return Err(error),
        };
        gate.lock().context("cannot lock the gate")?;
        let mine = gate.metadata()?.ino();
        if fs::metadata(&path).is_ok_and(|there| there.ino() == mine) {
            return Ok(gate);
        }
    }
    bail!("{} was removed again and again", folder.display())
}

/// Only its owner may look into the folder: it holds the password and the server's socket.
fn make_folder(folder: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => give_to_owner(folder),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check_owner(folder),
        Err(error) => Err(error).with_context(|| format!("cannot make {}", folder.display())),
    }
}

/// The temporary folder is everybody's: somebody else could have made our folder first. Ours for a
/// moment is also one that a parallel root process made and has not handed over yet.
fn check_owner(folder: &Path) -> Result<()> {
    let found = match fs::symlink_metadata(folder) {
        Ok(found) => found,
        // Swept away meanwhile; the caller tries again.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let ours = [Some(geteuid().as_raw()), owner::owner()];
    if !found.is_dir() || !ours.contains(&Some(found.uid())) {
        bail!("{} belongs to somebody else", folder.display());
    }
    Ok(())
}

fn open(path: &PathBuf) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    give_to_owner(path).or_else(|error| if path.exists() { Err(error) } else { Ok(()) })?;
    Ok(file)
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

/// The supervisor keeps a lock of its own while it lives. If it was killed, the next holder starts
/// another.
fn supervisor_is_missing(folder: &Path) -> Result<bool> {
    Ok(open(&folder.join("supervisor"))?.try_lock().is_ok())
}

/// In a session of its own, so that neither Ctrl-C nor the end of a test's process group reaches it.
fn start_supervisor(folder: &Path, linger_seconds: u32, end: Vec<OsString>) -> Result<()> {
    let mut command = as_owner("setsid", folder);
    command
        .args(["--fork", "sh", "-c", SUPERVISOR, "demae-test-supervisor"])
        .arg(folder)
        .arg(linger_seconds.to_string())
        .args(end)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = command.status().context("cannot run setsid (util-linux)")?;
    if !status.success() {
        bail!("the test server's supervisor did not start: {status}");
    }
    Ok(())
}
