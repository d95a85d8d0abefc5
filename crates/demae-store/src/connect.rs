//! Opening the database.
//!
//! SQLite gets one connection for writing and a few for reading: it has one writer at a time anyway, and a queue in
//! this process is fairer and quicker than its busy handler. Few requests at a time stand in that queue, so that the engine
//! writes between any two of them and does not wait for all. Postgres gets a pool for ordinary queries, one for
//! the engine, whose sessions are told not to plan whole-table joins (see [`engine_session`]), and a small one for what
//! processes tell each other. On both, what the engine looks up beside its hot path has connections of its own
//! ([`Store::apart`]): requests may take all of theirs.
//!
//! A database whose encoding is not UTF-8 is refused: one letter that it lacks would make every write fail that shares a
//! commit with it. An SQLite file is created for its owner alone, and one that other users can read is refused.

use std::{str::FromStr, sync::Arc, time::Duration};

use sea_orm::{
    DatabaseConnection, SqliteTransactionMode, TransactionOptions, TransactionTrait,
    sqlx::{
        self, ConnectOptions as _, Connection as _, PgPool,
        postgres::{PgConnectOptions, PgPoolOptions},
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    Backend, Engine, StoreError, Transaction, Vault, engine,
    error::ENCODING,
    migration,
    signals::{Board, Herald},
    silence, sqlite_file,
};

/// How long a query waits for a free connection before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long SQLite waits for another process's write transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause within a transaction on Postgres: milliseconds.
const IDLE_IN_TRANSACTION_TIMEOUT: &str = "30000";
/// The longest statement of the engine on Postgres: milliseconds.
const STATEMENT_TIMEOUT: &str = "15000";
/// How long the end waits for queries under way. Everything that matters has its answer by then.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// Connections to tell other processes something. (Listening has one of its own.)
const SIGNAL_CONNECTIONS: u32 = 1;
/// Write connections to SQLite, which has one writer at a time.
const SQLITE_WRITERS: u32 = 1;
/// Read connections to SQLite.
const SQLITE_READERS: u32 = 4;
/// Requests that hold SQLite's writer or come next: with one, the writer would rest between two of them.
const REQUESTS_AT_WRITER: usize = 2;
/// Connections of [`Store::apart`], on SQLite for reading.
const APART_CONNECTIONS: u32 = 4;
/// Statements kept prepared per connection: the engine's multi-row statements come in about a dozen lengths each.
const STATEMENT_CACHE: usize = 256;

/// How to open the database.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// `sqlite:…` or `postgres://…`.
    pub url: String,
    /// Connections for ordinary queries on Postgres; the engine has [`StoreOptions::engine_connections`] more.
    pub connections: u32,
    /// Connections for the engine on Postgres.
    pub engine_connections: u32,
    /// Certificate authorities (PEM) that are trusted on Postgres besides the public ones, unless the URL names a file
    /// (`sslrootcert`).
    pub authorities: Option<String>,
    /// Seals and opens secrets at rest.
    pub vault: Vault,
}

impl StoreOptions {
    /// The defaults for `url`.
    pub fn new(url: impl Into<String>, vault: Vault) -> Self {
        Self {
            url: url.into(),
            connections: 10,
            engine_connections: 8,
            authorities: None,
            vault,
        }
    }
}

/// An open database.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    write: DatabaseConnection,
    read: DatabaseConnection,
    read_connections: u32,
    apart: DatabaseConnection,
    engine: Arc<dyn Engine>,
    board: Arc<Board>,
    /// On SQLite, where requests wait for the only writer: so few at a time come to it ([`REQUESTS_AT_WRITER`]) that the
    /// engine, which does not wait here, soon gets it.
    line: Option<Arc<Semaphore>>,
    /// How to open a session of one's own on Postgres.
    dedicated: Option<PgConnectOptions>,
    vault: Vault,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database. An SQLite file that does not exist is created; nothing is migrated yet.
    pub async fn connect(options: StoreOptions) -> Result<Self, StoreError> {
        let board = Arc::new(Board::default());
        if options.url.starts_with("sqlite:") {
            let (write, [read, apart]) = open_sqlite(&options.url).await?;
            Ok(Self {
                backend: Backend::Sqlite,
                engine: Arc::new(engine::sqlite::SqliteEngine::new(
                    write.clone(),
                    apart.clone(),
                    board.clone(),
                )),
                write: write.into(),
                read: read.into(),
                read_connections: SQLITE_READERS,
                apart: apart.into(),
                line: Some(Arc::new(Semaphore::new(REQUESTS_AT_WRITER))),
                board,
                dedicated: None,
                vault: options.vault,
            })
        } else if options.url.starts_with("postgres:") || options.url.starts_with("postgresql:") {
            let pools = open_postgres(&options).await?;
            let connection = DatabaseConnection::from(pools.ordinary);
            let herald = Herald::start(board.clone(), pools.signals);
            Ok(Self {
                backend: Backend::Postgres,
                engine: Arc::new(engine::postgres::PostgresEngine::new(
                    pools.engine,
                    board.clone(),
                    herald,
                )),
                write: connection.clone(),
                read: connection,
                read_connections: options.connections,
                apart: pools.apart.into(),
                line: None,
                board,
                dedicated: Some(pools.dedicated),
                vault: options.vault,
            })
        } else {
            let scheme = options.url.split(':').next().unwrap_or_default();
            Err(StoreError::UnsupportedUrl(format!(
                "{scheme}: (sqlite: and postgres:// are known)"
            )))
        }
    }

    /// Brings the schema up to date. Safe to call from several processes at once: they take turns.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        migration::run(self.backend, &self.write).await
    }

    /// The names of the migrations that have not been applied yet.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, StoreError> {
        migration::pending(&self.read).await
    }

    /// Begins a write transaction. On SQLite it holds the only writer until it ends: keep it short.
    pub async fn begin(&self) -> Result<Transaction, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let turn = match &self.line {
            Some(line) => Some(turn(line).await?),
            None => None,
        };
        let inner = match self.backend {
            Backend::Sqlite => self.write.begin_with_options(options).await?,
            Backend::Postgres => self.write.begin().await?,
        };
        Ok(Transaction::new(inner, self.board.clone(), turn))
    }

    /// The same database over other connections, and past the line of requests: for what must go on while requests use all
    /// that they may.
    #[must_use]
    pub fn apart(&self) -> Self {
        let mut apart = self.clone();
        if self.backend == Backend::Postgres {
            apart.write = self.apart.clone();
        }
        apart.line = None;
        apart.read = self.apart.clone();
        apart.read_connections = APART_CONNECTIONS;
        apart
    }

    /// For queries outside a transaction.
    pub fn reader(&self) -> &DatabaseConnection {
        &self.read
    }

    /// How many connections [`Store::reader`] has; on Postgres transactions use the same ones.
    pub fn read_connections(&self) -> u32 {
        self.read_connections
    }

    /// How many connections [`Store::begin`] has for ordinary changes.
    pub fn write_connections(&self) -> u32 {
        match self.backend {
            Backend::Sqlite => SQLITE_WRITERS,
            Backend::Postgres => self.read_connections,
        }
    }

    /// The hot path.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Which database this is.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// For a session that is held for long, on Postgres.
    pub(crate) fn dedicated_session(&self) -> Option<PgConnectOptions> {
        self.dedicated.clone()
    }

    /// Seals and opens secrets.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Asks the database for a sign of life.
    pub async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.read.ping().await?)
    }

    /// Closes every connection, after the queries under way; at most [`CLOSE_LIMIT`] passes.
    pub async fn close(&self) {
        let close = async {
            // An error here means that the connections are gone already, which is what was asked for.
            let _ = self.write.close_by_ref().await;
            let _ = self.read.close_by_ref().await;
            let _ = self.apart.close_by_ref().await;
            self.engine.close().await;
        };
        if tokio::time::timeout(CLOSE_LIMIT, close).await.is_err() {
            tracing::warn!("left connections to the database open: it does not answer on them");
        }
    }
}

/// Waits as long for the turn as for a connection.
async fn turn(line: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, StoreError> {
    match tokio::time::timeout(ACQUIRE_TIMEOUT, line.clone().acquire_owned()).await {
        Ok(Ok(turn)) => Ok(turn),
        // It is never closed.
        Ok(Err(_)) => Err(sqlx::Error::PoolClosed.into()),
        Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
    }
}

/// The writer, and two pools of readers: for requests, and apart from them.
async fn open_sqlite(url: &str) -> Result<(SqlitePool, [SqlitePool; 2]), StoreError> {
    let named = SqliteConnectOptions::from_str(url)?;
    sqlite_file::prepare(named.get_filename())?;
    let options = named
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // FULL: in WAL mode, NORMAL may lose the last commits when the power fails, and their answers are out.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .statement_cache_capacity(STATEMENT_CACHE)
        .pragma("temp_store", "memory")
        .pragma("cache_size", "-16000")
        // Pages of 4 KiB. Checkpoints are made beside the writer (`Engine::upkeep`); under a load that never lets one
        // finish there, the writer makes one itself at this size, which bounds the log.
        .pragma("wal_autocheckpoint", "16000")
        .disable_statement_logging();
    let write = SqlitePoolOptions::new()
        .max_connections(SQLITE_WRITERS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .connect_with(options.clone())
        .await?;
    let encoding: String = sqlx::query_scalar("PRAGMA encoding").fetch_one(&write).await?;
    require_encoding(options.get_filename().display(), encoding)?;
    // Readers look rows up; the operating system caches the file for them.
    let reading = options.pragma("cache_size", "-2000").pragma("query_only", "true");
    let readers = [SQLITE_READERS, APART_CONNECTIONS].map(|connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .connect_lazy_with(reading.clone())
    });
    Ok((write, readers))
}

/// What is open on Postgres.
struct PostgresPools {
    ordinary: PgPool,
    apart: PgPool,
    engine: PgPool,
    signals: PgPool,
    dedicated: PgConnectOptions,
}

/// With the authorities of the options, which the library adds to the public ones.
fn trusting(connect: PgConnectOptions, options: &StoreOptions) -> PgConnectOptions {
    match &options.authorities {
        Some(pem) if !names_authorities(&options.url) => {
            connect.ssl_root_cert_from_pem(pem.clone().into_bytes())
        }
        _ => connect,
    }
}

/// Whether the URL has a parameter that names a file of authorities, by any of the names that the library knows.
fn names_authorities(url: &str) -> bool {
    let (_, query) = url.split_once('?').unwrap_or_default();
    query.split('&').any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        ["sslrootcert", "ssl-root-cert", "ssl-ca"].contains(&name)
    })
}

async fn open_postgres(options: &StoreOptions) -> Result<PostgresPools, StoreError> {
    let connect = trusting(PgConnectOptions::from_str(&options.url)?, options)
        .application_name("demae")
        .statement_cache_capacity(STATEMENT_CACHE)
        // A process that freezes inside a transaction must not keep its locks for ever.
        .options([("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT)])
        .disable_statement_logging();
    let pool = |max: u32| {
        PgPoolOptions::new()
            .max_connections(max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
    };
    // A pool repeats a refused connection until its time is up; whoever waits for a start wants to know at once.
    let mut first = silence::answer_within(ACQUIRE_TIMEOUT, connect.connect()).await?;
    let encoding = sqlx::query_scalar("SELECT current_setting('server_encoding')").fetch_one(&mut first);
    let encoding: String = silence::answer_within(ACQUIRE_TIMEOUT, encoding).await?;
    first.close().await?;
    require_encoding(connect.get_database().unwrap_or_default(), encoding)?;
    let ordinary = silence::watched(pool(options.connections))
        .connect_with(connect.clone())
        .await?;
    let apart = silence::watched(pool(APART_CONNECTIONS)).connect_lazy_with(connect.clone());
    let engine =
        silence::lively(pool(options.engine_connections)).connect_lazy_with(engine_session(connect.clone()));
    // Nothing that is said there has to survive anything.
    let hints = connect.clone().options([("synchronous_commit", "off")]);
    Ok(PostgresPools {
        ordinary,
        apart,
        engine,
        signals: silence::watched(pool(SIGNAL_CONNECTIONS)).connect_lazy_with(hints),
        dedicated: connect,
    })
}

/// SQLite writes the name with a hyphen.
fn require_encoding(database: impl std::fmt::Display, encoding: String) -> Result<(), StoreError> {
    if encoding.replace('-', "") == ENCODING {
        return Ok(());
    }
    Err(StoreError::Encoding {
        database: database.to_string(),
        encoding,
    })
}

/// Planner settings of the engine's sessions.
///
/// The engine joins a few hundred rows sent as arrays with tables of millions, always by index. The planner does not
/// know how long the arrays are and, on a table that has grown since its last `ANALYZE`, may choose to read it whole;
/// a cached plan of that kind would stay. Compiling such short statements (JIT) costs more than running them.
pub(crate) fn engine_session(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("enable_seqscan", "off"),
        // Would collect every waiting delivery of a lane before the first is leased.
        ("enable_bitmapscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("statement_timeout", STATEMENT_TIMEOUT),
        ("jit", "off"),
        ("plan_cache_mode", "force_generic_plan"),
    ])
}
