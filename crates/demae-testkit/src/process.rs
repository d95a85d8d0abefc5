//! The `demae` binary as a child process: started, waited for, signalled, restarted.
//!
//! Knows the command line and the fixed settings, nothing of what the program does. Output goes to
//! files, so that a child can neither block on a full pipe nor lose its last words when killed; they are
//! printed when the test fails.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::ports::free_port;

/// How long a start may take; a debug build that migrates a database on a busy machine is slow.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How long a stop by SIGTERM may take before it counts as hanging.
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// How often readiness is asked while the child starts. It has no signal to wait on.
const READINESS_INTERVAL: Duration = Duration::from_millis(10);

/// Lines of each program that a failed test prints.
const LAST_WORDS: usize = 100;

/// How to start `demae`: the same port and data folder each time, so that a restart finds what the
/// last run left. Cloning shares the folder, which goes with the last clone.
#[derive(Debug, Clone)]
pub struct DemaeCommand {
    binary: PathBuf,
    arguments: Vec<OsString>,
    settings: BTreeMap<String, String>,
    address: SocketAddr,
    folder: Arc<Folder>,
    /// Bytes of memory that the program may have.
    memory: Option<u64>,
}

impl DemaeCommand {
    /// `demae SUBCOMMAND` on a free port, with a data folder of its own.
    pub fn new(subcommand: &str) -> Result<Self> {
        Self::of(find_binary()?, subcommand)
    }

    /// As [`new`](Self::new), with the binary given, for example by `env!("CARGO_BIN_EXE_demae")`.
    pub fn of(binary: impl Into<PathBuf>, subcommand: &str) -> Result<Self> {
        let folder = Folder(TempDir::with_prefix("demae-process-")?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let data = folder.0.path().join("data");
        let settings = BTreeMap::from([
            ("DEMAE_LISTEN".to_owned(), address.to_string()),
            ("DEMAE_DATA_DIR".to_owned(), data.display().to_string()),
        ]);
        Ok(Self {
            binary: binary.into(),
            arguments: vec![subcommand.into()],
            settings,
            address,
            folder: Arc::new(folder),
            memory: None,
        })
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable, such as `DEMAE_DATABASE_URL`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.insert(name.to_owned(), value.into());
        self
    }

    /// Limits the program's own memory (`RLIMIT_DATA`: heap, anonymous mappings and the stacks of its threads; not the program
    /// itself). A program that asks for more is refused, and aborts.
    #[must_use]
    pub fn limited_to(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        // By default the allocator reserves a gigabyte at once, which counts whether it is used or not.
        self.settings
            .insert("MIMALLOC_ARENA_RESERVE".to_owned(), "16384".to_owned());
        self
    }

    /// Where the server will listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The folder given as `DEMAE_DATA_DIR`.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.0.path().join("data")
    }

    /// Everything written to standard output so far, by every start.
    pub fn stdout(&self) -> Result<String> {
        read(&self.log("stdout"))
    }

    /// Everything written to standard error so far, by every start.
    pub fn stderr(&self) -> Result<String> {
        read(&self.log("stderr"))
    }

    /// Starts the program and returns once `/readyz` answers 200.
    pub async fn start(&self) -> Result<DemaeProcess> {
        let mut process = self.spawn()?;
        let ready = timeout(START_LIMIT, process.ready()).await;
        match ready {
            Ok(Ok(())) => Ok(process),
            Ok(Err(error)) => Err(error.context(self.stderr()?)),
            Err(_) => bail!("not ready within {START_LIMIT:?}: {}", self.stderr()?),
        }
    }

    /// Starts the program and does not wait for it to be ready: it may be meant to fail.
    pub fn spawn(&self) -> Result<DemaeProcess> {
        let mut command = match self.memory {
            None => Command::new(&self.binary),
            // It becomes the program, so the child is the program itself.
            Some(bytes) => {
                let mut limited = Command::new("prlimit");
                limited.arg(format!("--data={bytes}")).arg(&self.binary);
                limited
            }
        };
        // Settings of the person who runs the tests must not leak in, nor a demae.toml beside them.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DEMAE_") {
                command.env_remove(name);
            }
        }
        command
            .args(&self.arguments)
            .envs(&self.settings)
            .current_dir(self.folder.0.path())
            .stdin(Stdio::null())
            .stdout(append_to(&self.log("stdout"))?)
            .stderr(append_to(&self.log("stderr"))?)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        Ok(DemaeProcess {
            child,
            command: self.clone(),
        })
    }

    fn log(&self, stream: &str) -> PathBuf {
        self.folder.0.path().join(stream)
    }
}

/// A program's data and output. Goes with the value; a test that fails prints the output's end before.
#[derive(Debug)]
struct Folder(TempDir);

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let path = self.0.path().join("stderr");
        let text = read(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n");
        eprintln!("--- the end of {}:\n{last}", path.display());
    }
}

/// A running `demae`; killed with the value.
#[derive(Debug)]
pub struct DemaeProcess {
    child: Child,
    command: DemaeCommand,
}

impl DemaeProcess {
    /// How it was started: its address, its output, and the way to start it again.
    pub fn command(&self) -> &DemaeCommand {
        &self.command
    }

    /// Sends SIGTERM and waits for the end, which must come within a minute.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        kill_process(self.pid()?, Signal::TERM).context("cannot end the child")?;
        timeout(STOP_LIMIT, self.child.wait())
            .await
            .with_context(|| format!("SIGTERM was not obeyed within {STOP_LIMIT:?}"))?
            .context("cannot wait for the child")
    }

    /// Sends SIGKILL and waits until the process is gone.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("cannot kill the child")
    }

    /// Waits for a program that ends by itself, at most a minute.
    pub async fn wait(mut self) -> Result<ExitStatus> {
        timeout(STOP_LIMIT, self.child.wait())
            .await
            .with_context(|| format!("still running after {STOP_LIMIT:?}"))?
            .context("cannot wait for the child")
    }

    /// Sends SIGSTOP: the process keeps its connections and its leases and does nothing. Returns when
    /// it has stopped.
    pub async fn freeze(&self) -> Result<()> {
        let process = self.pid()?;
        kill_process(process, Signal::STOP).context("cannot stop the child")?;
        // The end counts too, or a child that died would be waited for without end. Nothing is taken
        // from the kernel that tokio waits for.
        let events = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        tokio::task::spawn_blocking(move || waitid(WaitId::Pid(process), events)).await??;
        Ok(())
    }

    /// Sends SIGCONT after [`freeze`](Self::freeze).
    pub fn thaw(&self) -> Result<()> {
        kill_process(self.pid()?, Signal::CONT).context("cannot continue the child")
    }

    /// Waits until the program ends by itself, however long that takes. May be given up and called again.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.context("cannot wait for the child")
    }

    /// The process id, for reading what the system knows of it.
    pub fn id(&self) -> Result<u32> {
        self.child.id().context("the process has ended")
    }

    /// The most physical memory that the program ever had, its own code included: bytes.
    pub fn peak_memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let peak = status.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        });
        Ok(peak.context("the system does not say")? * 1024)
    }

    fn pid(&self) -> Result<Pid> {
        Pid::from_raw(i32::try_from(self.id()?)?).context("no process id")
    }

    /// Asks `/readyz` until it answers 200, however long that takes; fails when the child ends. May be given up and
    /// called again.
    pub async fn ready(&mut self) -> Result<()> {
        let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let uri: http::Uri = format!("{}/readyz", self.command.base_url()).parse()?;
        let mut ticks = interval(READINESS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = self.child.wait() => bail!("ended before it was ready: {}", ended?),
                _ = ticks.tick() => {}
            }
            if client
                .get(uri.clone())
                .await
                .is_ok_and(|answer| answer.status() == 200)
            {
                return Ok(());
            }
        }
    }
}

/// `DEMAE_BIN`, what cargo or nextest built for this test, or the binary beside the test's folder.
pub fn find_binary() -> Result<PathBuf> {
    for variable in ["DEMAE_BIN", "CARGO_BIN_EXE_demae", "NEXTEST_BIN_EXE_demae"] {
        if let Some(binary) = std::env::var_os(variable) {
            return Ok(binary.into());
        }
    }
    std::env::current_exe()?
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("demae"))
        .find(|binary| binary.is_file())
        .context("no demae binary: build it with `cargo build -p demae`, or set DEMAE_BIN")
}

fn append_to(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
