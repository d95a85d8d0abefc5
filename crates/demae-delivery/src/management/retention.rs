//! Deletes what is old.
//!
//! # Guarantees
//! - Each table has a timer ([`crate::engine::timers`]), so one process at a time deletes from a table: two that delete the
//!   same rows in different order would wait for each other.
//! - A pass goes through the organizations, and the applications of each, and removes chunk by chunk, in short
//!   transactions. No application gets more than [`CHUNKS`] of them before the next one has its turn.
//! - A pass is cut into runs of at most [`RUN_LIMIT`]; the timer's data says where the next run continues.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use demae_event::{ApplicationId, Clock, OrganizationId, Scope, Timestamp};
use demae_store::{
    Backend, Store, StoreError, Transaction,
    repository::{
        Page, applications, expunge, organizations, rejected, retention,
        timers::{self, INSTALLATION, NewTimer, Timer},
    },
};
use futures::{FutureExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize};

use crate::engine::timers::{Outcome, TimerError, TimerHandler, TimerKind};

/// The kind of the timers; a timer's subject is the name of its table.
const KIND: &str = "retention";
/// From the end of a pass to the next one.
const PERIOD: Duration = Duration::from_mins(1);
/// After that time a run ends, and the next one continues, so that other tables have their turn.
const RUN_LIMIT: Duration = Duration::from_mins(1);
/// The longest run: beyond its limit, the longest chunk.
const DEADLINE: Duration = Duration::from_mins(5);
/// Rows removed per transaction.
const CHUNK: u64 = 500;
/// Chunks per application and pass: at most 100,000 rows of a table. A larger backlog takes several passes.
const CHUNKS: usize = 200;
/// Organizations, or applications, read at once.
const ORGANIZATIONS: u32 = 200;
/// A pass over payloads begins so long before the end of the last one, for messages that were routed late.
const PAYLOAD_OVERLAP: Duration = Duration::from_hours(1);
/// How often a pass over payloads begins with the oldest message.
const PAYLOAD_FULL_PASS: Duration = Duration::from_hours(24);
/// A worker that has been silent for so long is forgotten; its leases were recovered long before.
const WORKERS: Duration = Duration::from_hours(24);

/// How long what is finished is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The history.
    pub attempts: Duration,
    /// Payloads and finished deliveries. Without them an attempt shows what it was about, but not what was sent, and
    /// cannot be repeated.
    pub messages: Duration,
    /// Payloads and their producers' headers, at most as long as messages; as long as those if left out. A delivery that
    /// still waits then is canceled.
    pub payloads: Option<Duration>,
    /// Jobs, and endpoints and applications that were deleted.
    pub jobs: Duration,
    /// What arrived from outside and could not become an event; at most [`rejected::KEPT`] of them.
    pub rejected: Duration,
    /// The audit trail.
    pub audit: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let month = Duration::from_hours(30 * 24);
        Self {
            attempts: month,
            messages: month,
            payloads: None,
            jobs: month,
            rejected: month,
            // A year, and time to look at it.
            audit: Duration::from_hours(400 * 24),
        }
    }
}

/// What is cleaned: a table each, except that messages go with their deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Applications,
    Attempts,
    AuditEntries,
    Endpoints,
    IdempotencyKeys,
    Jobs,
    Messages,
    /// The payloads of messages that stay.
    Payloads,
    RejectedEvents,
    Workers,
}

impl Table {
    const ALL: [Self; 10] = [
        Self::Applications,
        Self::Attempts,
        Self::AuditEntries,
        Self::Endpoints,
        Self::IdempotencyKeys,
        Self::Jobs,
        Self::Messages,
        Self::Payloads,
        Self::RejectedEvents,
        Self::Workers,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Applications => "applications",
            Self::Attempts => "attempts",
            Self::AuditEntries => "audit_entries",
            Self::Endpoints => "endpoints",
            Self::IdempotencyKeys => "idempotency_keys",
            Self::Jobs => "jobs",
            Self::Messages => "messages",
            Self::Payloads => "payloads",
            Self::RejectedEvents => "rejected_events",
            Self::Workers => "workers",
        }
    }

    /// Whether a pass goes through the organizations one by one.
    const fn is_by_organization(self) -> bool {
        !matches!(self, Self::IdempotencyKeys | Self::RejectedEvents | Self::Workers)
    }
}

/// Runs the retention of a process.
pub fn timer_kind(store: Store, retention: Retention, clock: Arc<dyn Clock>) -> TimerKind {
    TimerKind {
        name: KIND,
        handler: Arc::new(Sweeper {
            store,
            retention,
            clock,
        }),
        concurrency: 1,
        deadline: DEADLINE,
    }
}

/// Sets the timer of each table unless it exists.
pub async fn ensure_timers(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    let mut transaction = store.begin().await?;
    for table in Table::ALL {
        let timer = NewTimer {
            kind: KIND,
            subject: table.name().to_owned(),
            organization_id: INSTALLATION,
            due_at: now,
            data: None,
        };
        timers::ensure(&mut transaction, timer, now).await?;
    }
    transaction.commit().await
}

/// How far a pass is, as the timer's data.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
struct Progress {
    /// The last organization that is done.
    after: Option<OrganizationId>,
    /// Of the organization after it, the last application that is done.
    within: Option<ApplicationId>,
    /// An application had more than one pass removes.
    more: bool,
    /// Of payloads only.
    #[serde(default)]
    payloads: PayloadProgress,
}

/// Which messages a pass over payloads looks at, in microseconds. Without it each pass would look at all messages: those
/// whose payloads are gone are in no index of their own.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
struct PayloadProgress {
    /// Messages before are done.
    floor: Option<i64>,
    /// The end of the pass in progress.
    until: Option<i64>,
    /// When a pass over all messages began.
    full_at: Option<i64>,
}

impl PayloadProgress {
    /// Begins a pass, or continues the one in progress. Returns its window.
    fn window(&mut self, kept: Duration, now: Timestamp) -> (Timestamp, Timestamp) {
        let is_full_due = |full_at| now.since(Timestamp::from_micros(full_at)) >= PAYLOAD_FULL_PASS;
        if self.until.is_none() && self.full_at.is_none_or(is_full_due) {
            self.floor = None;
            self.full_at = Some(now.as_micros());
        }
        let until = *self.until.get_or_insert((now - kept).as_micros());
        let floor = self.floor.unwrap_or(i64::MIN);
        (Timestamp::from_micros(floor), Timestamp::from_micros(until))
    }

    /// Ends the pass, unless it left something.
    fn end(self, more: bool) -> Self {
        let until = self.until.map(Timestamp::from_micros);
        let floor = until.map(|until| (until - PAYLOAD_OVERLAP).as_micros());
        Self {
            floor: if more { self.floor } else { floor },
            until: None,
            full_at: self.full_at,
        }
    }
}

/// How a part of a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swept {
    /// Nothing old is left.
    All,
    /// So much was removed that something may be left.
    Part,
    /// The run has used up its time.
    OutOfTime,
}

struct Sweeper {
    store: Store,
    retention: Retention,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl TimerHandler for Sweeper {
    async fn run(&self, timer: &Timer, now: Timestamp) -> Result<Outcome, TimerError> {
        let table = Table::ALL.into_iter().find(|table| table.name() == timer.subject);
        let Some(table) = table else {
            // Of another version.
            return Ok(Outcome::Done);
        };
        let progress = timer.data.as_deref().map(serde_json::from_str);
        let progress = progress.and_then(Result::ok).unwrap_or_default();
        let run = Run {
            sweeper: self,
            timer,
            table,
            now,
        };
        run.pass(progress).await
    }
}

/// One run of a table's timer.
struct Run<'a> {
    sweeper: &'a Sweeper,
    timer: &'a Timer,
    table: Table,
    now: Timestamp,
}

impl Run<'_> {
    async fn pass(&self, mut progress: Progress) -> Result<Outcome, TimerError> {
        if !self.table.is_by_organization() {
            let more = self.of_installation().await? != Swept::All;
            return Ok(self.again(more, None));
        }
        let payloads = match (self.table, self.sweeper.retention.payloads) {
            (Table::Payloads, None) => return Ok(self.again(false, None)),
            (Table::Payloads, Some(kept)) => Some(progress.payloads.window(kept, self.now)),
            _ => None,
        };
        let reader = self.sweeper.store.reader();
        loop {
            let page = Page {
                limit: ORGANIZATIONS,
                after: progress.after,
            };
            let organizations = organizations::list(reader, page).await?;
            for organization in organizations.items {
                let organization = OrganizationId(organization.id);
                match self
                    .of_organization(organization, payloads, &mut progress)
                    .await?
                {
                    Swept::All => {}
                    Swept::Part => progress.more = true,
                    Swept::OutOfTime => {
                        return Ok(Outcome::Again {
                            at: self.now,
                            data: serde_json::to_string(&progress).ok(),
                        });
                    }
                }
                progress.after = Some(organization);
                progress.within = None;
            }
            if organizations.next.is_none() {
                let next = Progress {
                    payloads: progress.payloads.end(progress.more),
                    ..Progress::default()
                };
                return Ok(self.again(progress.more, payloads.map(|_| next)));
            }
        }
    }

    /// The next pass.
    fn again(&self, more: bool, progress: Option<Progress>) -> Outcome {
        let now = self.sweeper.clock.now();
        Outcome::Again {
            at: if more { now } else { now + PERIOD },
            data: progress.and_then(|progress| serde_json::to_string(&progress).ok()),
        }
    }

    /// Cleans the table of an organization, from the application on that `progress` names.
    async fn of_organization(
        &self,
        organization: OrganizationId,
        payloads: Option<(Timestamp, Timestamp)>,
        progress: &mut Progress,
    ) -> Result<Swept, TimerError> {
        let (retention, now) = (self.sweeper.retention, self.now);
        match self.table {
            Table::AuditEntries => {
                let before = now - retention.audit;
                self.in_chunks(|t| retention::audit_entries(t, organization, before, CHUNK).boxed())
                    .await
            }
            Table::Applications => {
                let before = now - retention.jobs;
                self.in_chunks(|t| retention::applications(t, organization, before, CHUNK).boxed())
                    .await
            }
            Table::Attempts | Table::Endpoints | Table::Jobs | Table::Messages | Table::Payloads => {
                self.of_applications(organization, payloads, progress).await
            }
            Table::IdempotencyKeys | Table::RejectedEvents | Table::Workers => Ok(Swept::All),
        }
    }

    async fn of_applications(
        &self,
        organization: OrganizationId,
        payloads: Option<(Timestamp, Timestamp)>,
        progress: &mut Progress,
    ) -> Result<Swept, TimerError> {
        loop {
            let page = Page {
                limit: ORGANIZATIONS,
                after: progress.within,
            };
            let scopes = applications::scopes(self.sweeper.store.reader(), organization, page).await?;
            for scope in scopes.items {
                match self.of_application(scope, payloads).await? {
                    Swept::All => {}
                    Swept::Part => progress.more = true,
                    Swept::OutOfTime => return Ok(Swept::OutOfTime),
                }
                progress.within = Some(scope.application);
            }
            if scopes.next.is_none() {
                return Ok(Swept::All);
            }
        }
    }

    async fn of_application(
        &self,
        scope: Scope,
        payloads: Option<(Timestamp, Timestamp)>,
    ) -> Result<Swept, TimerError> {
        let (retention, now) = (self.sweeper.retention, self.now);
        match self.table {
            Table::Attempts => {
                let before = now - retention.attempts;
                self.in_chunks(|t| retention::attempts(t, scope, before, CHUNK).boxed())
                    .await
            }
            Table::Jobs => {
                let before = now - retention.jobs;
                self.in_chunks(|t| retention::jobs(t, scope, before, CHUNK).boxed())
                    .await
            }
            Table::Endpoints => {
                let before = now - retention.jobs;
                self.in_chunks(|t| retention::endpoints(t, scope, before, CHUNK).boxed())
                    .await
            }
            Table::Messages => self.messages(scope, now - retention.messages).await,
            Table::Payloads => match payloads {
                Some(window) => {
                    self.in_chunks(|t| expunge::expunge_old(t, scope, window, CHUNK, now).boxed())
                        .await
                }
                None => Ok(Swept::All),
            },
            _ => Ok(Swept::All),
        }
    }

    async fn of_installation(&self) -> Result<Swept, TimerError> {
        let now = self.now;
        match self.table {
            Table::IdempotencyKeys => {
                self.in_chunks(|t| retention::idempotency_keys(t, now, CHUNK).boxed())
                    .await
            }
            Table::RejectedEvents => {
                let before = now - self.sweeper.retention.rejected;
                self.in_chunks(|t| retention::rejected(t, before, rejected::KEPT, CHUNK).boxed())
                    .await
            }
            // The one process of an SQLite file gives no heartbeats; its start removes the rows of earlier ones.
            Table::Workers if self.sweeper.store.backend() == Backend::Sqlite => Ok(Swept::All),
            Table::Workers => {
                let mut transaction = self.begin().await?;
                retention::workers(&mut transaction, now - WORKERS).await?;
                transaction.commit().await?;
                Ok(Swept::All)
            }
            _ => Ok(Swept::All),
        }
    }

    async fn messages(&self, scope: Scope, before: Timestamp) -> Result<Swept, TimerError> {
        let (mut after, mut removed) = (None, 0);
        for _ in 0..CHUNKS {
            if self.is_out_of_time() {
                return Ok(Swept::OutOfTime);
            }
            let mut transaction = self.begin().await?;
            let swept = retention::messages(&mut transaction, scope, before, after, CHUNK).await?;
            transaction.commit().await?;
            (after, removed) = (swept.next, removed + swept.removed);
            if after.is_none() {
                return Ok(Swept::All);
            }
        }
        // Messages with open deliveries stay, so a pass that removed nothing would not remove more at once.
        Ok(if removed > 0 { Swept::Part } else { Swept::All })
    }

    /// Repeats `piece`, which returns how many rows of at most [`CHUNK`] it removed, until there are no more, the
    /// organization has had its share or the run its time.
    async fn in_chunks(
        &self,
        piece: impl for<'t> Fn(&'t mut Transaction) -> BoxFuture<'t, Result<u64, StoreError>> + Send + Sync,
    ) -> Result<Swept, TimerError> {
        for _ in 0..CHUNKS {
            if self.is_out_of_time() {
                return Ok(Swept::OutOfTime);
            }
            let mut transaction = self.begin().await?;
            let removed = piece(&mut transaction).await?;
            transaction.commit().await?;
            if removed < CHUNK {
                return Ok(Swept::All);
            }
        }
        Ok(Swept::Part)
    }

    fn is_out_of_time(&self) -> bool {
        self.sweeper.clock.now().since(self.now) >= RUN_LIMIT
    }

    /// Begins the transaction of a piece. Fails if another process has the table now.
    async fn begin(&self) -> Result<Transaction, TimerError> {
        let mut transaction = self.sweeper.store.begin().await?;
        if timers::hold(&mut transaction, self.timer).await? {
            Ok(transaction)
        } else {
            Err(TimerError::LeaseLost)
        }
    }
}
