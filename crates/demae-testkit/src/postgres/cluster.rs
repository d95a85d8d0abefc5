//! One Postgres cluster in a folder: made, started, stopped, its databases created and dropped.
//!
//! Knows nothing of who shares it or when it ends; that is `supervised`.

use std::{
    ffi::OsString,
    fs,
    io::{ErrorKind, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

use super::binaries;
use crate::{
    ports::free_port,
    supervised::{self, Server, as_owner, give_to_owner},
};

/// The superuser that tests connect as.
const USER: &str = "demae";

/// A start can lose the race for its port; another is drawn this many times.
const START_ATTEMPTS: usize = 3;

/// Seconds that `pg_ctl` waits for a start or stop. Recovery after a crash is the slow case.
const PATIENCE_SECONDS: &str = "60";

/// What every cluster has in common.
///
/// Sockets live beside the data. 200 connections are room for a pool in each of many parallel
/// tests; `logical` and the slots are for the tests of change data capture. A connection whose client froze in its
/// handshake delays others no longer than the authentication's time.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 200
authentication_timeout = 10s
shared_buffers = 64MB
wal_level = logical
max_wal_senders = 20
max_replication_slots = 20
timezone = 'UTC'
log_timezone = 'UTC'
";

/// Whether a commit survives the loss of the machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As in production: every commit is flushed.
    Full,
    /// Nothing is flushed (`fsync=off`): fast, and of no use to a test about crashes.
    None,
}

impl Durability {
    pub(super) fn settings(self) -> &'static str {
        match self {
            Self::Full => "fsync = on\nsynchronous_commit = on\n",
            Self::None => "fsync = off\nfull_page_writes = off\n",
        }
    }
}

/// A cluster and how to reach it.
#[derive(Debug)]
pub(super) struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    password: String,
}

impl Server for Cluster {
    const KIND: &'static str = "pg";
    const SETTINGS: &'static str = SETTINGS;
    type Options = Durability;

    fn running_in(folder: &Path) -> Result<Option<Self>> {
        let address = match fs::read_to_string(folder.join("address")) {
            Ok(address) => address,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some((port, password)) = address.split_once(' ') else {
            return Ok(None);
        };
        let cluster = Self {
            programs: binaries::folder()?,
            folder: folder.to_owned(),
            port: port.parse()?,
            password: password.to_owned(),
        };
        Ok(cluster.control(&["status"]).is_ok().then_some(cluster))
    }

    fn create(folder: &Path, durability: Durability) -> Result<Self> {
        let mut cluster = Self {
            programs: binaries::folder()?,
            folder: folder.to_owned(),
            port: free_port()?,
            password: Uuid::new_v4().simple().to_string(),
        };
        cluster.initialise(durability)?;
        let mut attempt = 1;
        while let Err(error) = cluster.start() {
            if attempt == START_ATTEMPTS {
                return Err(error.context(cluster.log()));
            }
            attempt += 1;
            cluster.port = free_port()?;
            cluster.write_port()?;
        }
        fs::write(
            cluster.folder.join("address"),
            format!("{} {}", cluster.port, cluster.password),
        )?;
        Ok(cluster)
    }

    fn end_command(_: &Path) -> Result<Vec<OsString>> {
        let mut command = vec![binaries::folder()?.join("pg_ctl").into_os_string()];
        let arguments = ["--pgdata=data", "--silent", "--mode=immediate", "--wait", "stop"];
        command.extend(arguments.map(OsString::from));
        Ok(command)
    }
}

impl Cluster {
    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(super) fn url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}:{}@{}/{database}",
            self.password,
            self.address()
        )
    }

    pub(super) fn create_database(&self, name: &str) -> Result<()> {
        let mut command = self.client("createdb");
        command.arg(name);
        supervised::run(command)
    }

    /// Begins to drop a database and does not wait for the end: whoever drops a test's value stands on the thread that
    /// drives the test's connections, and a connection that is left in the middle of its handshake holds up every
    /// `DROP DATABASE` of the cluster until it is gone.
    pub(super) fn drop_database(&self, name: &str) -> Result<()> {
        let mut command = self.client("dropdb");
        command
            .args(["--if-exists", "--force", name])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut program = command.spawn().context("dropdb does not start")?;
        std::thread::spawn(move || program.wait());
        Ok(())
    }

    pub(super) fn start(&self) -> Result<()> {
        self.control(&["--log=log", "start"])
    }

    pub(super) fn stop_fast(&self) -> Result<()> {
        self.control(&["--mode=fast", "stop"])
    }

    pub(super) fn stop_immediate(&self) -> Result<()> {
        self.control(&["--mode=immediate", "stop"])
    }

    /// Becomes a standby of `primary`, which is stopped for as long as it is copied.
    pub(super) fn follow(&self, primary: &Self, settings: &str) -> Result<()> {
        self.stop_fast()?;
        primary.stop_fast()?;
        fs::remove_dir_all(self.folder.join("data"))?;
        let mut copy = as_owner("cp", &self.folder);
        copy.arg("--archive").arg(primary.folder.join("data")).arg("data");
        supervised::run(copy)?;
        primary.start()?;
        self.write_sockets()?;
        self.write_port()?;
        self.append(&format!(
            "primary_conninfo = 'host={} port={} user={USER} password={} dbname=postgres'\n{settings}\n",
            Ipv4Addr::LOCALHOST,
            primary.port,
            primary.password
        ))?;
        let signal = self.folder.join("data/standby.signal");
        fs::write(&signal, "")?;
        give_to_owner(&signal)?;
        self.start().with_context(|| self.log())
    }

    /// Signals the server and then every process it has. The server comes first: stopped, it starts no others.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let written =
            fs::read_to_string(self.folder.join("data/postmaster.pid")).context("the server does not run")?;
        let server = written.lines().next().unwrap_or_default();
        kill_process(process(server)?, signal).context("cannot signal the server")?;
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children"))?;
        for child in children.split_whitespace() {
            // One that has just ended is no failure.
            let _ = kill_process(process(child)?, signal);
        }
        Ok(())
    }

    fn initialise(&self, durability: Durability) -> Result<()> {
        for left in ["data", "log", "address"] {
            let left = self.folder.join(left);
            if left.is_dir() {
                fs::remove_dir_all(left)?;
            } else if left.exists() {
                fs::remove_file(left)?;
            }
        }
        // The password keeps other users of the machine out of a superuser's account.
        let password = self.folder.join("password");
        fs::write(&password, &self.password)?;
        give_to_owner(&password)?;
        let mut initdb = self.program("initdb");
        initdb.args([
            "--pgdata=data",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]);
        initdb.args(["--auth=scram-sha-256", "--pwfile=password", "--username", USER]);
        supervised::run(initdb)?;
        fs::remove_file(password)?;
        self.append(SETTINGS)?;
        self.append(durability.settings())?;
        self.write_sockets()?;
        self.write_port()
    }

    /// Quotes cannot occur: the name is made of the temporary folder, letters and digits.
    fn write_sockets(&self) -> Result<()> {
        self.append(&format!(
            "unix_socket_directories = '{}'\n",
            self.folder.display()
        ))
    }

    /// The last setting of a name wins, so a port drawn later is simply appended.
    fn write_port(&self) -> Result<()> {
        self.append(&format!("port = {}\n", self.port))
    }

    fn append(&self, settings: &str) -> Result<()> {
        let file = self.folder.join("data/postgresql.conf");
        fs::OpenOptions::new()
            .append(true)
            .open(file)?
            .write_all(settings.as_bytes())?;
        Ok(())
    }

    fn control(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.program("pg_ctl");
        command
            .args([
                "--pgdata=data",
                "--silent",
                "--wait",
                "--timeout",
                PATIENCE_SECONDS,
            ])
            .args(arguments);
        supervised::run(command)
    }

    fn client(&self, program: &str) -> Command {
        let mut command = self.program(program);
        command.arg(format!("--maintenance-db={}", self.url("postgres")));
        command
    }

    fn program(&self, name: &str) -> Command {
        as_owner(self.programs.join(name), &self.folder)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

fn process(id: &str) -> Result<Pid> {
    Pid::from_raw(id.parse()?).context("no process id")
}
