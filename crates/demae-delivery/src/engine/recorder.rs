//! Writes outcomes back, many at a time.
//!
//! It takes whatever arrived while the last batch was written, never waiting for a batch to fill, and from each organization
//! in turn ([`super::outcomes`]). While the database is away it keeps trying; the room for outcomes fills, lanes wait, and
//! nothing more is sent than can be remembered.

use std::{collections::HashMap, sync::Arc, time::Duration};

use demae_event::{Clock, EndpointId};
use demae_store::{
    Engine, StoreError,
    engine::{AttemptRecord, AttemptStatus, Disposition, Release, STATEMENT_BYTES},
};
use tokio::time::Instant;

use super::{
    health::Health, lanes::Outcome, metric, outcomes, scheduler::DueNotes, sender::Attempted,
    supervise::caught,
};

/// Outcomes written at once.
const BATCH: usize = 512;
/// First wait before a failed write is repeated; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);

pub(super) struct Recorder {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) notes: Arc<DueNotes>,
    pub(super) health: Health,
    pub(super) clock: Arc<dyn Clock>,
}

impl Recorder {
    /// Runs until every sender of outcomes is gone and everything is written.
    pub(super) async fn run(mut self, mut outcomes: outcomes::Receiver<Outcome>) {
        while let Some((batch, held)) = outcomes.take(BATCH).await {
            let mut attempted = Vec::with_capacity(batch.len());
            let mut released = Vec::new();
            for outcome in batch {
                match outcome {
                    Outcome::Attempted(one) => attempted.push(*one),
                    Outcome::Released(one) => released.push(one),
                }
            }
            // After a panic the leases of what was not written end by themselves.
            caught("recorder", self.record(attempted)).await;
            caught("recorder", self.release(released)).await;
            // What lanes may keep in memory comes back when it is written.
            drop(held);
        }
    }

    async fn record(&mut self, attempted: Vec<Attempted>) {
        if attempted.is_empty() {
            return;
        }
        let began = Instant::now();
        let (records, rest): (Vec<AttemptRecord>, Vec<_>) = attempted
            .into_iter()
            .map(|one| (one.record, (one.endpoint, one.ending, one.queued)))
            .unzip();
        let mut moved = Vec::with_capacity(records.len());
        for part in parts(&records) {
            moved.extend(until_written(|| self.engine.record(part)).await);
        }
        metrics::histogram!(metric::STAGE_SECONDS, "stage" => "record").record(began.elapsed().as_secs_f64());
        for ((record, (endpoint, ending, queued)), moved) in records.iter().zip(rest).zip(moved) {
            count(record, queued);
            if !moved {
                metrics::counter!(metric::LEASES_LOST).increment(1);
            } else if let Disposition::Retry(due_at) = record.disposition {
                self.notes.add(record.endpoint_id, due_at);
            }
            if let (Some(endpoint), Some(ending)) = (endpoint, ending) {
                self.health.observe(&endpoint, ending, record);
            }
        }
        self.health.settle(self.clock.now()).await;
    }

    /// Gives leases back.
    async fn release(&self, released: Vec<Release>) {
        if released.is_empty() {
            return;
        }
        until_written(|| self.engine.release(&released)).await;
        let mut soonest: HashMap<EndpointId, _> = HashMap::new();
        for release in released {
            soonest.entry(release.endpoint_id).or_insert(release.due_at);
        }
        for (endpoint, due_at) in soonest {
            self.notes.add(endpoint, due_at);
        }
    }
}

/// The records in order, in parts that end once they hold [`STATEMENT_BYTES`].
fn parts(records: &[AttemptRecord]) -> impl Iterator<Item = &[AttemptRecord]> {
    let mut bytes = 0;
    records.split_inclusive(move |record| {
        bytes += record.size();
        let is_full = bytes >= STATEMENT_BYTES;
        if is_full {
            bytes = 0;
        }
        is_full
    })
}

/// Repeats a write until the database takes it. Both writes may be repeated: they hold only under their leases.
async fn until_written<T, F>(mut write: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match write().await {
            Ok(answer) => return answer,
            Err(error) => {
                metrics::counter!(metric::STORE_FAILURES, "part" => "recorder").increment(1);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "outcomes could not be recorded; trying again"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

fn count(record: &AttemptRecord, queued: Duration) {
    let outcome = match record.status {
        AttemptStatus::Success => "success",
        AttemptStatus::Failing => "failing",
        AttemptStatus::Failed => "failed",
        AttemptStatus::Canceled => "canceled",
    };
    let kind = record.error_kind.unwrap_or("none");
    metrics::counter!(metric::ATTEMPTS, "outcome" => outcome, "kind" => kind).increment(1);
    metrics::histogram!(metric::STAGE_SECONDS, "stage" => "queue").record(queued.as_secs_f64());
    metrics::histogram!(metric::STAGE_SECONDS, "stage" => "exchange")
        .record(f64::from(record.duration_ms) / 1_000.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::health::tests::any_record;

    #[test]
    fn outcomes_are_written_in_parts_of_bounded_size() {
        let lengths = |sizes: &[usize]| {
            let records: Vec<AttemptRecord> = sizes
                .iter()
                .map(|bytes| AttemptRecord {
                    response_body: "x".repeat(*bytes),
                    ..any_record()
                })
                .collect();
            parts(&records).map(<[AttemptRecord]>::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&[1_000; BATCH]), [BATCH]);
        assert_eq!(lengths(&[STATEMENT_BYTES / 2; 5]), [2, 2, 1]);
        assert_eq!(lengths(&[STATEMENT_BYTES * 2, 10, 10]), [1, 2]);
    }
}
