//! Looks after this process's part in the whole: signs of life, lapsed leases, figures, the database's upkeep.
//!
//! What must happen at a time whichever process does it, is a timer: see [`super::timers`].

use std::{sync::Arc, time::Duration};

use demae_event::{Clock, Timestamp};
use demae_store::{
    Store, StoreError,
    repository::{retention, timers},
    silence::answer_within,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{grants::Grants, life::Life, metric, supervise::caught};

/// How often a worker says that it lives.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// A worker that was silent for so long is taken for dead, and its leases are given to others. It may live after all,
/// cut off from the database: then what it has under way is sent twice, and it can record none of it.
const DEAD_AFTER: Duration = Duration::from_secs(10);
/// A sign of life that is not written within this time is given up for the next one.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(3);
/// The longest turn of anything else; what it did not get done is there at the next one.
const TURN_LIMIT: Duration = Duration::from_mins(5);
/// How often leases are looked for that lapsed, whose workers are gone, or of which this worker may not know.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(2);
/// Leases recovered by one statement.
pub(super) const RECOVER_BATCH: u32 = 2_000;
/// How often the database gets its upkeep.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often the backlog is measured.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct Keeper {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) worker: Uuid,
    pub(super) grants: Arc<Grants>,
    pub(super) alone: bool,
    pub(super) life: Arc<Life>,
}

impl Keeper {
    /// Registers this worker and frees what dead ones left.
    pub(super) async fn take_over(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.sign(now).await?;
        let dead_before = if self.alone { now } else { now - DEAD_AFTER };
        self.recover(now, dead_before).await?;
        if self.alone {
            let mut transaction = self.store.begin().await?;
            retention::workers(&mut transaction, now).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Runs until `stopping`. Each part has its own pace: nothing must keep the signs of life waiting, or the other workers
    /// would take this one for dead.
    pub(super) async fn run(self, stopping: CancellationToken) {
        tokio::join!(
            repeat(
                "heartbeat",
                HEARTBEAT_INTERVAL,
                HEARTBEAT_LIMIT,
                &stopping,
                || self.heartbeat()
            ),
            repeat("recovery", RECOVERY_INTERVAL, TURN_LIMIT, &stopping, || self
                .recover_lapsed()),
            repeat("upkeep", UPKEEP_INTERVAL, TURN_LIMIT, &stopping, || self
                .store
                .engine()
                .upkeep()),
            repeat("backlog", BACKLOG_INTERVAL, TURN_LIMIT, &stopping, || self
                .measure()),
        );
    }

    async fn heartbeat(&self) -> Result<(), StoreError> {
        if self.alone {
            // Nobody else reads it, and our own life needs no proof.
            return Ok(());
        }
        self.sign(self.clock.now()).await
    }

    async fn recover_lapsed(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let unknown = self.grants.give_back(&**self.store.engine(), now).await?;
        count_recovered(unknown, "gave back leases of which the database had not told");
        let dead_before = if self.alone {
            // Nobody else leases: lapsed leases are all that can be found.
            Timestamp::default()
        } else {
            now - DEAD_AFTER
        };
        self.recover(now, dead_before).await
    }

    /// Gives a sign of life. It counts from before it was written, so this worker never believes in itself for longer
    /// than the others do.
    async fn sign(&self, now: Timestamp) -> Result<(), StoreError> {
        self.store.engine().heartbeat(self.worker, now).await?;
        self.life.extend(now + DEAD_AFTER);
        Ok(())
    }

    async fn recover(&self, now: Timestamp, dead_before: Timestamp) -> Result<(), StoreError> {
        loop {
            let recovered = self
                .store
                .engine()
                .recover_leases(now, dead_before, RECOVER_BATCH)
                .await?;
            count_recovered(recovered, "recovered the leases of a worker that is gone");
            if recovered < u64::from(RECOVER_BATCH) {
                break;
            }
        }
        if timers::is_any_abandoned(self.store.reader(), now, dead_before).await? {
            let mut transaction = self.store.begin().await?;
            let recovered = timers::recover(&mut transaction, now, dead_before).await?;
            transaction.commit().await?;
            count_recovered(recovered, "recovered the timers of a worker that is gone");
        }
        Ok(())
    }

    async fn measure(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let backlog = self.store.engine().backlog(now).await?;
        let age = |since: Option<Timestamp>| since.map_or(0.0, |since| now.since(since).as_secs_f64());
        metrics::gauge!(metric::OUTBOX_EVENTS).set(backlog.unrouted as f64);
        metrics::gauge!(metric::OUTBOX_LAG_SECONDS).set(age(backlog.oldest_unrouted));
        metrics::gauge!(metric::DELIVERIES_WAITING).set(backlog.waiting as f64);
        metrics::gauge!(metric::DELIVERIES_LEASED).set(backlog.leased as f64);
        metrics::gauge!(metric::DELIVERY_LAG_SECONDS).set(age(backlog.oldest_due));
        Ok(())
    }
}

fn count_recovered(leases: u64, how: &'static str) {
    metrics::counter!(metric::LEASES_RECOVERED).increment(leases);
    if leases > 0 {
        tracing::info!(leases, "{how}");
    }
}

/// Does one part of the housekeeping every `period`, a turn of which takes at most `limit`, until `stopping`. Both end a
/// turn in the middle: every part is a row of short transactions.
async fn repeat<F>(
    part: &'static str,
    period: Duration,
    limit: Duration,
    stopping: &CancellationToken,
    mut turn: impl FnMut() -> F,
) where
    F: Future<Output = Result<(), StoreError>>,
{
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let result = tokio::select! {
            () = stopping.cancelled() => return,
            result = async {
                ticks.tick().await;
                caught(part, answer_within(limit, turn())).await
            } => result,
        };
        if let Some(Err(error)) = result {
            metrics::counter!(metric::STORE_FAILURES, "part" => part).increment(1);
            tracing::warn!(
                part,
                error = &error as &dyn std::error::Error,
                "housekeeping could not reach the database; trying again"
            );
        }
    }
}
