//! One of several processes does what only one should do at a time; the others stand by.
//!
//! On Postgres this is an advisory lock, held by a session of its own for as long as that lives. A process that ends,
//! or whose machine does, loses its session and with it the lock, and another one has it within [`STANDBY_PAUSE`]. One
//! that freezes keeps its connection, so the session is told to end itself after [`SILENCE_LIMIT`] without a sign of
//! life (`idle_session_timeout`, Postgres 14).
//!
//! A process that froze may believe for a moment after it woke up that it still leads, so nothing may depend on there
//! being exactly one: this saves work, it does not make anything correct. On SQLite the one process always leads.

use std::time::Duration;

use sea_orm::sqlx::{self, ConnectOptions as _, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::Store;

/// How often a process that stands by tries.
const STANDBY_PAUSE: Duration = Duration::from_millis(500);
/// How often the leader gives a sign of life.
const SIGN_INTERVAL: Duration = Duration::from_secs(1);
/// A session that was silent for so long is ended by Postgres: milliseconds.
const SILENCE_LIMIT: &str = "SET idle_session_timeout = 5000";
/// A database that does not answer for so long is taken for gone.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// What one process does for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum Task {
    /// Reading the outbox table. The number is "demae-ob" in ASCII.
    Outbox = 0x6465_6d61_652d_6f62,
}

/// A process's standing for a task, given up when this is dropped.
#[derive(Debug)]
pub struct Leadership {
    leads: watch::Receiver<bool>,
    campaign: Option<AbortHandle>,
}

impl Leadership {
    /// Stands for `task`, from now on and again after each loss.
    pub fn stand(store: &Store, task: Task) -> Self {
        let Some(options) = store.dedicated_session() else {
            return Self {
                leads: watch::channel(true).1,
                campaign: None,
            };
        };
        let (tell, leads) = watch::channel(false);
        let campaign = tokio::spawn(campaign(options, task, tell));
        Self {
            leads,
            campaign: Some(campaign.abort_handle()),
        }
    }

    /// Whether this process leads.
    pub fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// Waits until this process leads.
    pub async fn won(&mut self) {
        self.until(true).await;
    }

    /// Waits until it does not (any more).
    pub async fn lost(&mut self) {
        self.until(false).await;
    }

    async fn until(&mut self, wanted: bool) {
        if self.leads.wait_for(|leads| *leads == wanted).await.is_err() {
            // Nobody will change it any more (SQLite).
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        if let Some(campaign) = &self.campaign {
            campaign.abort();
        }
    }
}

async fn campaign(options: PgConnectOptions, task: Task, tell: watch::Sender<bool>) {
    loop {
        if let Ok(Ok(mut session)) = timeout(ANSWER_LIMIT, options.connect()).await
            && win(&mut session, task).await.is_ok()
        {
            tell.send_replace(true);
            while answers(&mut session).await {
                sleep(SIGN_INTERVAL).await;
            }
            tell.send_replace(false);
            tracing::warn!(
                ?task,
                "lost the lead: the database ended the session that held it"
            );
        }
        sleep(STANDBY_PAUSE).await;
    }
}

/// Returns once the lock is held.
async fn win(session: &mut PgConnection, task: Task) -> Result<(), sqlx::Error> {
    // Not known to old versions: there a frozen leader leads until its connection breaks.
    let _ = timeout(ANSWER_LIMIT, sqlx::raw_sql(SILENCE_LIMIT).execute(&mut *session)).await;
    // Not the call that waits: its statement would keep the database from cleaning up for as long.
    loop {
        let attempt = sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_lock($1)")
            .bind(task as i64)
            .fetch_one(&mut *session);
        let held = timeout(ANSWER_LIMIT, attempt)
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??;
        if held {
            return Ok(());
        }
        sleep(STANDBY_PAUSE).await;
    }
}

async fn answers(session: &mut PgConnection) -> bool {
    let sign = sqlx::query("SELECT 1").execute(session);
    matches!(timeout(ANSWER_LIMIT, sign).await, Ok(Ok(_)))
}
