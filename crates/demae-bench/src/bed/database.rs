//! The database under the measured server: durable, private, fresh.

use std::fmt;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use demae_testkit::{
    postgres::{Durability, PrivatePostgres},
    process::DemaeCommand,
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};
use serde::Serialize;

use crate::usage;

/// Postgres's memory for pages. The default of 128 MB is smaller than the indexes of a million deliveries with
/// everything else; a production server has far more than this.
const SHARED_BUFFERS: &str = "512MB";

/// Which store is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    /// The embedded store.
    Sqlite,
    /// A cluster of its own, flushing every commit.
    Postgres,
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "Postgres",
        })
    }
}

/// A fresh database.
#[derive(Debug)]
pub(crate) enum Database {
    /// The file that `demae` makes in its data folder.
    Sqlite,
    /// A running cluster; gone with the value.
    Postgres {
        /// Keeps it running.
        _cluster: PrivatePostgres,
        /// The database in it.
        url: String,
        /// The parent of all its processes.
        postmaster: u32,
    },
}

impl Database {
    pub(crate) async fn create(store: StoreKind) -> Result<Self> {
        if store == StoreKind::Sqlite {
            return Ok(Self::Sqlite);
        }
        let cluster = PrivatePostgres::start(Durability::Full).await?;
        let url = cluster.create_database().await?;
        let connection = sea_orm::Database::connect(&url).await?;
        connection
            .execute_unprepared(&format!("ALTER SYSTEM SET shared_buffers = '{SHARED_BUFFERS}'"))
            .await?;
        connection.close().await?;
        cluster.restart().await?;
        let connection = sea_orm::Database::connect(&url).await?;
        let session: i32 = value(&connection, "SELECT pg_backend_pid() AS value").await?;
        let postmaster = usage::of_process(u32::try_from(session)?)?.parent;
        connection.close().await?;
        Ok(Self::Postgres {
            _cluster: cluster,
            url,
            postmaster,
        })
    }

    /// `DEMAE_DATABASE_URL`, unless the default is meant.
    pub(crate) fn url(&self) -> Option<&str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres { url, .. } => Some(url),
        }
    }

    /// A connection of the harness's own.
    pub(crate) async fn connect(&self, command: &DemaeCommand) -> Result<DatabaseConnection> {
        let url = match self {
            Self::Sqlite => format!("sqlite:{}", command.data_folder().join("demae.db").display()),
            Self::Postgres { url, .. } => url.clone(),
        };
        // One connection: what is set for the session must hold for what follows.
        let options = sea_orm::ConnectOptions::new(url)
            .max_connections(1)
            .sqlx_logging(false)
            .to_owned();
        Ok(sea_orm::Database::connect(options).await?)
    }

    /// Processor time of the database's own processes, if it has any.
    pub(crate) fn cpu_seconds(&self) -> Result<Option<f64>> {
        match self {
            Self::Sqlite => Ok(None),
            Self::Postgres { postmaster, .. } => usage::of_family(*postmaster).map(Some),
        }
    }

    /// Does now what the database would otherwise do during the measurement.
    pub(crate) async fn settle(&self, command: &DemaeCommand) -> Result<()> {
        let statements: &[&str] = match self {
            Self::Sqlite => &["PRAGMA wal_checkpoint(TRUNCATE)"],
            Self::Postgres { .. } => &["VACUUM ANALYZE", "CHECKPOINT"],
        };
        let connection = self.connect(command).await?;
        for statement in statements {
            connection.execute_unprepared(statement).await?;
        }
        connection
            .close()
            .await
            .context("cannot close the harness's connection")
    }
}

/// What Postgres calls itself; starts a cluster for the question.
pub(crate) async fn postgres_version() -> Result<String> {
    let cluster = PrivatePostgres::start(Durability::Full).await?;
    let connection = sea_orm::Database::connect(cluster.create_database().await?).await?;
    let version = value(&connection, "SELECT current_setting('server_version') AS value").await?;
    connection.close().await?;
    Ok(version)
}

/// The version of the SQLite that is compiled in, here as in `demae`.
pub(crate) async fn sqlite_version() -> Result<String> {
    let connection = sea_orm::Database::connect("sqlite::memory:").await?;
    value(&connection, "SELECT sqlite_version() AS value").await
}

/// Microseconds that a small write takes to be on the disk: the median of many, where the databases' files are.
pub(crate) fn sync_micros() -> Result<u64> {
    use std::io::Write as _;
    const WRITES: usize = 200;
    let mut file = tempfile::tempfile()?;
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let before = crate::clock::now();
        file.write_all(&[7; 8192])?;
        file.sync_data()?;
        times.push(crate::clock::now() - before);
    }
    times.sort_unstable();
    Ok(times[WRITES / 2])
}

/// The one value of a query that names it `value`.
pub(super) async fn value<T: sea_orm::TryGetable>(connection: &DatabaseConnection, query: &str) -> Result<T> {
    let backend: DbBackend = connection.get_database_backend();
    let row = connection
        .query_one_raw(Statement::from_string(backend, query))
        .await?
        .context("no row")?;
    Ok(row.try_get("", "value")?)
}
