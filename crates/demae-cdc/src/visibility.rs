//! Waits until others can see what the log says is committed.
//!
//! Postgres writes a commit into its log first and shows it to other sessions afterwards (`RecordTransactionCommit`, then
//! `ProcArrayEndTransaction`), and the stream of the log can be faster: by microseconds as a rule, by more when the process
//! that commits is not given the processor just then, and by as long as a synchronous standby takes to confirm. An event
//! that is offered in between is known before its cause: a receiver who asks the application finds nothing, whoever deletes
//! the outbox row deletes nothing, and the row stays for ever. And a standby that never confirmed may be the one that takes
//! over, without the transaction.
//!
//! So a change is offered once a snapshot sees its transaction. That costs one small question for each batch, and none for
//! the parts of a large transaction after the first.

use std::{sync::Arc, time::Duration};

use sqlx::PgConnection;
use tokio::time::{Instant, sleep, timeout};

use crate::{Fault, SourceConfig, catalog, pgoutput::Xid};

/// Before the second question; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// For the answer of a session that was quiet: its line may have been forgotten.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);
/// Longer than a commit takes that nothing holds up.
const UNUSUAL: Duration = Duration::from_secs(10);

/// Asks one server.
pub(crate) struct Visibility {
    /// `None` while it is asked, and if it did not answer.
    sql: Option<PgConnection>,
    config: Arc<SourceConfig>,
    latest: Option<Snapshot>,
}

impl Visibility {
    /// `sql` is used for nothing else from here on.
    pub(crate) fn new(sql: PgConnection, config: Arc<SourceConfig>) -> Self {
        Self {
            sql: Some(sql),
            config,
            latest: None,
        }
    }

    /// Returns when all these transactions can be seen. Cancel-safe.
    pub(crate) async fn reached(&mut self, transactions: &[Xid]) -> Result<(), Fault> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        if self.sees(transactions) {
            return Ok(());
        }
        loop {
            self.ask().await?;
            if self.sees(transactions) {
                return Ok(());
            }
            if !told && begun.elapsed() > UNUSUAL {
                told = true;
                tracing::warn!(
                    source = self.config.name,
                    "a transaction is in the log and nobody can see it yet, so its events and those behind it wait: does a \
                     synchronous standby not confirm it?"
                );
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn sees(&self, transactions: &[Xid]) -> bool {
        let latest = self.latest.as_ref();
        transactions.is_empty() || latest.is_some_and(|latest| latest.sees_all(transactions))
    }

    /// A session that does nothing for hours may be gone, with or without a word; that is no reason to begin the stream anew.
    async fn ask(&mut self) -> Result<(), Fault> {
        let kept = match self.sql.take() {
            Some(sql) => timeout(SIGN_OF_LIFE, question(&self.config, sql)).await.ok(),
            None => None,
        };
        let (sql, snapshot) = match kept {
            Some(Ok(answered)) => answered,
            Some(Err(_)) | None => question(&self.config, catalog::connect(&self.config).await?).await?,
        };
        self.sql = Some(sql);
        self.latest = Some(snapshot);
        Ok(())
    }
}

/// Gives the session back if it answers.
async fn question(config: &SourceConfig, mut sql: PgConnection) -> Result<(PgConnection, Snapshot), Fault> {
    let question = sqlx::query_scalar("SELECT pg_current_snapshot()::text").fetch_one(&mut sql);
    let text: String = catalog::ask(config, question).await?;
    let snapshot = Snapshot::read(&text).ok_or_else(|| Fault::Protocol {
        reason: format!("{text:?} is no snapshot"),
    })?;
    Ok((sql, snapshot))
}

/// Which transactions had ended at a moment: all below `xmax` that are not in `running` (Postgres's documentation,
/// "Transaction ID and Snapshot Information Functions"). Only the lower half of each number: that is what the log has.
#[derive(Debug, PartialEq, Eq)]
struct Snapshot {
    xmax: Xid,
    running: Vec<Xid>,
}

impl Snapshot {
    /// From `xmin:xmax:xip,…`.
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':').skip(1);
        let xmax = lower_half(parts.next()?)?;
        let running = parts.next()?;
        let running = running.split(',').filter(|xid| !xid.is_empty());
        Some(Self {
            xmax,
            running: running.map(lower_half).collect::<Option<_>>()?,
        })
    }

    fn sees_all(&self, transactions: &[Xid]) -> bool {
        transactions.iter().all(|transaction| self.sees(*transaction))
    }

    fn sees(&self, transaction: Xid) -> bool {
        // The numbers go round; what is less than half a round ahead is later.
        let ended = transaction.wrapping_sub(self.xmax).cast_signed() < 0;
        ended && !self.running.contains(&transaction)
    }
}

fn lower_half(text: &str) -> Option<Xid> {
    text.parse::<u64>().ok().map(|full| full as Xid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_what_has_ended_and_not_what_runs_or_has_not_begun() {
        let snapshot = Snapshot::read("10:20:10,14").unwrap();
        assert!(snapshot.sees_all(&[9, 11, 13, 19]));
        for unseen in [10, 14, 20, 21] {
            assert!(!snapshot.sees(unseen), "{unseen}");
            assert!(!snapshot.sees_all(&[9, unseen]));
        }
        assert!(Snapshot::read("10:10:").unwrap().sees_all(&[9]));
    }

    #[test]
    fn numbers_go_round() {
        let round = 1_u64 << 32;
        let text = format!("{}:{}:{}", round - 2, round + 3, round - 1);
        let snapshot = Snapshot::read(&text).unwrap();
        assert!(snapshot.sees_all(&[Xid::MAX - 1, 0, 2]));
        assert!(!snapshot.sees(Xid::MAX));
        assert!(!snapshot.sees(3));
    }

    #[test]
    fn other_texts_are_no_snapshots() {
        for text in ["", "1", "1:2", "1:x:", "1:2:x", "1:2:3,-4"] {
            assert_eq!(Snapshot::read(text), None, "{text:?}");
        }
    }
}
