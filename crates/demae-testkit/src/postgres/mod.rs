//! Private Postgres servers for tests.
//!
//! A test never touches the system's Postgres. It asks for a [`TestDatabase`], which is a fresh
//! database in a cluster that belongs to this workspace and this user, or it starts a
//! [`PrivatePostgres`] of its own when it wants to restart or crash the server.
//!
//! Making a cluster takes about a second, and nextest runs every test in a process of its own, so
//! the processes share one cluster: the first that asks starts it, and a supervisor (see
//! `supervised`) stops it and removes its folder once nobody has held it for a few seconds. A
//! test that is killed lets go like any other, because what counts is a file lock that the kernel
//! releases; so nothing is left behind, and nothing relies on `Drop`.
//!
//! The shared cluster gives up durability for speed (`fsync=off`). A test about surviving a crash
//! of the database must use a [`PrivatePostgres`] with [`Durability::Full`].
//!
//! Postgres refuses to run as root. When the tests run as root, all its processes run as `nobody`,
//! who exists on every Unix. Needs Postgres 13 or later, `flock` and `setsid` (util-linux).

mod binaries;
mod cluster;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use rustix::process::Signal;
use tokio::sync::OnceCell;
use uuid::Uuid;

use self::cluster::Cluster;
pub use self::cluster::Durability;
use crate::supervised::{Supervised, blocking};

/// A fresh, empty database in the cluster that all tests of this workspace share.
///
/// Dropped with the value as far as possible; the cluster's end removes what is left.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    shared: Arc<Supervised<Cluster>>,
}

impl TestDatabase {
    /// Makes the database, starting the shared cluster when it does not run.
    pub async fn create() -> Result<Self> {
        // Held until the process ends, so that the cluster outlives every test in it.
        static SHARED: OnceCell<Arc<Supervised<Cluster>>> = OnceCell::const_new();
        let shared = SHARED
            .get_or_try_init(|| async {
                blocking(|| Supervised::shared(Durability::None))
                    .await
                    .map(Arc::new)
            })
            .await?
            .clone();
        let name = format!("test_{}", Uuid::now_v7().simple());
        let (cluster, created) = (shared.clone(), name.clone());
        blocking(move || cluster.server().create_database(&created)).await?;
        Ok(Self { name, shared })
    }

    /// `postgres://user:password@127.0.0.1:port/name`, as a superuser.
    pub fn url(&self) -> String {
        self.shared.server().url(&self.name)
    }

    /// Where the server listens, for a proxy to stand in front of.
    pub fn address(&self) -> SocketAddr {
        self.shared.server().address()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // A failure costs disk space until the cluster ends, and has no one to tell.
        let _ = self.shared.server().drop_database(&self.name);
    }
}

/// A Postgres server of one test's own, to be restarted and crashed. Gone with the value, or with
/// the process.
#[derive(Debug)]
pub struct PrivatePostgres {
    server: Arc<Supervised<Cluster>>,
}

impl PrivatePostgres {
    /// Makes the cluster and starts it.
    pub async fn start(durability: Durability) -> Result<Self> {
        let server = blocking(move || Supervised::own(durability)).await?;
        Ok(Self {
            server: Arc::new(server),
        })
    }

    /// Makes a fresh database and returns its URL.
    pub async fn create_database(&self) -> Result<String> {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let url = self.server.server().url(&name);
        self.run(move |cluster| cluster.create_database(&name)).await?;
        Ok(url)
    }

    /// Where the server listens. Stays the same over restarts.
    pub fn address(&self) -> SocketAddr {
        self.server.server().address()
    }

    /// Stops the server the way a crash does: connections are cut, nothing is flushed, and the next
    /// start recovers from the write-ahead log.
    pub async fn stop_immediate(&self) -> Result<()> {
        self.run(Cluster::stop_immediate).await
    }

    /// Starts the server after [`stop_immediate`](Self::stop_immediate); returns when it accepts
    /// connections.
    pub async fn start_again(&self) -> Result<()> {
        self.run(Cluster::start).await
    }

    /// An administrator's restart: connections are cut, everything is flushed.
    pub async fn restart(&self) -> Result<()> {
        self.run(|cluster| {
            cluster.stop_fast()?;
            cluster.start()
        })
        .await
    }

    /// Makes this server a standby of another one, with all that it has, also its users and their passwords. Both run
    /// afterwards; the other one is stopped while it is copied. `settings` are lines of a configuration.
    pub async fn follow(&self, primary: &Self, settings: &'static str) -> Result<()> {
        let primary = primary.server.clone();
        self.run(move |cluster| cluster.follow(primary.server(), settings))
            .await
    }

    /// Sends SIGSTOP to all of the server: connections stay open and nothing is answered.
    pub fn freeze(&self) -> Result<()> {
        self.server.server().signal(Signal::STOP)
    }

    /// Sends SIGCONT after [`freeze`](Self::freeze).
    pub fn thaw(&self) -> Result<()> {
        self.server.server().signal(Signal::CONT)
    }

    async fn run(&self, action: impl FnOnce(&Cluster) -> Result<()> + Send + 'static) -> Result<()> {
        let server = self.server.clone();
        blocking(move || action(server.server())).await
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        // The supervisor does the same a moment later; this only makes it prompt.
        let _ = self.server.server().stop_immediate();
    }
}
