//! A statement that may have to wait for other sessions: whom it waits for is told meanwhile, and whoever gives up leaves
//! nothing behind.
//!
//! Making a slot waits for every transaction of the server that writes, and until then the slot is half-made: its name is
//! taken, and nobody can read it. Postgres drops such a slot when the statement fails, but it does not notice by itself
//! that whoever asked for it has gone. So the session lets the server look (`client_connection_check_interval`) and limits
//! the statement (`statement_timeout`); dropping the future closes the connection, and the slot goes with it.

use std::{fmt, time::Duration};

use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{Fault, SourceConfig, catalog, error};

/// How often it is looked whom a statement waits for.
const LOOK: Duration = Duration::from_millis(500);
/// How often the same is told again.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// A statement waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// For how long already, in seconds.
    pub seconds: u64,
    /// For whom.
    pub blockers: Vec<Blocker>,
}

/// Whom a statement waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocker {
    /// A session with an open transaction.
    Session {
        /// The server's process, for `pg_terminate_backend`.
        pid: i32,
        /// Who and what it is, as far as this user may see it.
        what: String,
    },
    /// A prepared transaction.
    Prepared {
        /// Its name, for `ROLLBACK PREPARED`.
        gid: String,
    },
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session { pid, what } if what.is_empty() => write!(f, "pid {pid}"),
            Self::Session { pid, what } => write!(f, "pid {pid} ({what})"),
            Self::Prepared { gid } => write!(f, "the prepared transaction {gid:?}"),
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waiting for {} s for {}", self.seconds, names(&self.blockers))
    }
}

/// All of them in one line.
pub(crate) fn names(blockers: &[Blocker]) -> String {
    let texts: Vec<String> = blockers.iter().map(Blocker::to_string).collect();
    texts.join(", ")
}

/// What a statement that waits is told to.
pub type Tell<'a> = &'a mut (dyn FnMut(&Waiting) + Send);

/// Runs statements in one transaction, or a single one without. Gives up after `limit` each, and when it is dropped.
pub(crate) async fn run(
    config: &SourceConfig,
    statements: &[&str],
    limit: Duration,
    tell: Tell<'_>,
) -> Result<(), Fault> {
    let mut sql = patient_session(config, limit).await?;
    let row = catalog::ask(config, sqlx::query("SELECT pg_backend_pid()").fetch_one(&mut sql)).await?;
    let mut observer = Observer {
        sql: catalog::connect(config).await?,
        config,
        pid: row.get(0),
        begun: Instant::now(),
        last: None,
    };
    let [single] = statements else {
        catalog::run(&mut sql, config, "BEGIN").await?;
        for statement in statements {
            // A failure closes the connection, and with it the transaction.
            observer.follow(&mut sql, statement, tell).await?;
        }
        return catalog::run(&mut sql, config, "COMMIT").await;
    };
    observer.follow(&mut sql, single, tell).await?;
    let _ = sql.close().await;
    Ok(())
}

async fn patient_session(config: &SourceConfig, limit: Duration) -> Result<PgConnection, Fault> {
    let mut sql = catalog::connect(config).await?;
    // Some systems cannot; there the limit ends a statement whose caller is gone.
    let _ = catalog::run(&mut sql, config, "SET client_connection_check_interval = 1000").await;
    let limited = format!("SET statement_timeout = {}", limit.as_millis());
    catalog::run(&mut sql, config, &limited).await?;
    Ok(sql)
}

/// A second session that looks whom the first one waits for.
struct Observer<'a> {
    sql: PgConnection,
    config: &'a SourceConfig,
    pid: i32,
    begun: Instant,
    /// What was told last, and when.
    last: Option<(Instant, Vec<Blocker>)>,
}

impl Observer<'_> {
    async fn follow(&mut self, sql: &mut PgConnection, statement: &str, tell: Tell<'_>) -> Result<(), Fault> {
        self.begun = Instant::now();
        self.last = None;
        let config = self.config;
        let mut running = std::pin::pin!(catalog::execute(sql, statement));
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.tick().await;
        loop {
            tokio::select! {
                done = &mut running => return match done {
                    Ok(()) => Ok(()),
                    Err(error) if is_limit(&error) => Err(self.gave_up(statement)),
                    Err(error) => Err(error::fault(config, &error, Some(statement))),
                },
                _ = looks.tick() => self.look(tell).await?,
            }
        }
    }

    async fn look(&mut self, tell: Tell<'_>) -> Result<(), Fault> {
        let blockers = blockers(&mut self.sql, self.config, self.pid).await?;
        let is_news = self
            .last
            .as_ref()
            .is_none_or(|(at, told)| *told != blockers || at.elapsed() >= TELL_AGAIN);
        if !blockers.is_empty() && is_news {
            tell(&Waiting {
                seconds: self.begun.elapsed().as_secs(),
                blockers: blockers.clone(),
            });
            self.last = Some((Instant::now(), blockers));
        }
        Ok(())
    }

    fn gave_up(&self, statement: &str) -> Fault {
        Fault::Blocked {
            statement: statement.to_owned(),
            seconds: self.begun.elapsed().as_secs(),
            blockers: match &self.last {
                Some((_, blockers)) => names(blockers),
                None => "others".to_owned(),
            },
        }
    }
}

/// `query_canceled`: by the limit, or by somebody.
fn is_limit(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "57014")
}

/// Whom the session `pid` waits for at the moment.
pub(crate) async fn blockers(
    sql: &mut PgConnection,
    config: &SourceConfig,
    pid: i32,
) -> Result<Vec<Blocker>, Fault> {
    let rows = catalog::ask(
        config,
        sqlx::query(
            "SELECT b.pid, '', concat_ws(', ', nullif(a.usename, ''), nullif(a.datname, ''), \
             nullif(a.application_name, ''), a.state) FROM unnest(pg_blocking_pids($1)) AS b(pid) \
             LEFT JOIN pg_stat_activity a ON a.pid = b.pid WHERE b.pid <> 0 \
             UNION ALL SELECT 0, x.gid, '' FROM pg_prepared_xacts x WHERE 0 = ANY(pg_blocking_pids($1)) ORDER BY 1",
        )
        .bind(pid)
        .fetch_all(sql),
    )
    .await?;
    Ok(rows
        .iter()
        .map(|row| match row.get(0) {
            0 => Blocker::Prepared { gid: row.get(1) },
            pid => Blocker::Session {
                pid,
                what: row.get(2),
            },
        })
        .collect())
}
