//! Taking in events that come with no other change.
//!
//! [`EventSink`] is the seam, [`GroupCommit`] what stands behind it: what arrived while the last commit ran goes into the
//! next one, so that a disk that can sync a thousand times a second still takes ten thousand events in it, and a lone
//! event never waits for company.
//!
//! # Contract
//!
//! - `Ok` means committed, in a commit that survives power loss. `Err` means that the outcome is unknown, except for
//!   [`IngestError::Full`] and [`IngestError::TooMany`]: then nothing was written.
//! - The events of one call are written together or not at all.
//! - Events with ids that exist already are duplicates and no error: asking again after an unknown outcome is safe for
//!   events whose sender named them.
//! - A caller that goes away does not take its events back: what entered the queue will be written.
//! - Nothing here waits for a batch to fill, and nothing is unbounded: the queue counts events, and what does not fit is
//!   refused at once.

use std::sync::Arc;

use async_trait::async_trait;
use demae_event::Event;
use demae_store::{Engine, StoreError, engine::Appended};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
};

/// Where an application's events go.
#[async_trait]
pub trait EventSink: Send + Sync + 'static {
    /// Writes `events` durably; answers in their order. See the module's contract.
    async fn publish(&self, events: Vec<Event>) -> Result<Vec<Appended>, IngestError>;
}

/// Why events were not taken in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IngestError {
    /// The queue is full: more arrives than can be committed.
    #[error("the queue is full")]
    Full,
    /// More events in one call than [`GroupCommitOptions::batch`].
    #[error("too many events at once")]
    TooMany,
    /// The process is stopping.
    #[error("the process is stopping")]
    Stopped,
    /// The commit failed; shared by every caller whose events were in it.
    #[error("the events could not be written")]
    Store(#[source] Arc<StoreError>),
}

/// Bounds of [`GroupCommit`].
#[derive(Debug, Clone, Copy)]
pub struct GroupCommitOptions {
    /// Events waiting or being written, at most.
    pub queue: usize,
    /// Events in one call, at most. A commit takes no further call once it has so many, so it holds less than twice
    /// as many.
    pub batch: usize,
    /// Commits under way at the same time. One is right for SQLite, which has one writer; on Postgres a second one
    /// uses the time the first waits for the disk.
    pub committers: usize,
}

impl Default for GroupCommitOptions {
    fn default() -> Self {
        Self {
            queue: 8_192,
            batch: 512,
            committers: 1,
        }
    }
}

/// The one thing that is wanted of an engine.
#[async_trait]
trait Append: Send + Sync {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, StoreError>;
}

#[async_trait]
impl Append for Arc<dyn Engine> {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, StoreError> {
        self.as_ref().append(events).await
    }
}

/// A caller's events on their way to a commit.
struct Submission {
    events: Vec<Event>,
    answer: oneshot::Sender<Result<Vec<Appended>, IngestError>>,
    /// Room in the queue, given back when the answer is out.
    room: OwnedSemaphorePermit,
}

/// Many callers' events in one commit.
#[derive(Debug)]
pub struct GroupCommit {
    queue: mpsc::Sender<Submission>,
    room: Arc<Semaphore>,
    batch: usize,
}

/// The committing tasks of a [`GroupCommit`].
#[derive(Debug)]
pub struct Committers(JoinSet<()>);

impl Committers {
    /// Waits until everything in the queue is written. It ends when the [`GroupCommit`] has been dropped.
    pub async fn finished(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

impl GroupCommit {
    /// Starts the committing tasks.
    pub fn start(engine: &Arc<dyn Engine>, options: GroupCommitOptions) -> (Self, Committers) {
        Self::over(&(Arc::new(engine.clone()) as Arc<dyn Append>), options)
    }

    fn over(store: &Arc<dyn Append>, options: GroupCommitOptions) -> (Self, Committers) {
        let queue_length = options
            .queue
            .clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        // The semaphore counts events; a submission has at least one, so the channel is never what is full.
        let (queue, submissions) = mpsc::channel(queue_length);
        let batch = options.batch.clamp(1, queue_length);
        let submissions = Arc::new(tokio::sync::Mutex::new(submissions));
        let mut committers = JoinSet::new();
        for _ in 0..options.committers.max(1) {
            committers.spawn(commit_all(store.clone(), submissions.clone(), batch));
        }
        let sink = Self {
            queue,
            room: Arc::new(Semaphore::new(queue_length)),
            batch,
        };
        (sink, Committers(committers))
    }
}

#[async_trait]
impl EventSink for GroupCommit {
    async fn publish(&self, events: Vec<Event>) -> Result<Vec<Appended>, IngestError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        if events.len() > self.batch {
            return Err(IngestError::TooMany);
        }
        let room = self
            .room
            .clone()
            .try_acquire_many_owned(events.len() as u32)
            .map_err(|_| IngestError::Full)?;
        let (answer, answered) = oneshot::channel();
        self.queue
            .try_send(Submission { events, answer, room })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => IngestError::Full,
                mpsc::error::TrySendError::Closed(_) => IngestError::Stopped,
            })?;
        answered.await.map_err(|_| IngestError::Stopped)?
    }
}

/// Commits until every sender is gone and the queue is empty.
async fn commit_all(
    store: Arc<dyn Append>,
    submissions: Arc<tokio::sync::Mutex<mpsc::Receiver<Submission>>>,
    batch: usize,
) {
    loop {
        let group = take_group(&submissions, batch).await;
        if group.is_empty() {
            return;
        }
        commit(&*store, group).await;
    }
}

/// Everything that waits, until it is `batch` events or more; waits only for the first. Empty when every sender is gone.
async fn take_group(
    submissions: &tokio::sync::Mutex<mpsc::Receiver<Submission>>,
    batch: usize,
) -> Vec<Submission> {
    // Held while waiting, on purpose: with several committers the next free one takes the next group whole.
    let mut queue = submissions.lock().await;
    let mut group = Vec::new();
    let mut count = 0;
    let mut next = queue.recv().await;
    while let Some(submission) = next {
        count += submission.events.len();
        group.push(submission);
        next = if count < batch {
            queue.try_recv().ok()
        } else {
            None
        };
    }
    group
}

async fn commit(store: &dyn Append, submissions: Vec<Submission>) {
    let mut counts = Vec::with_capacity(submissions.len());
    let mut events = Vec::new();
    let mut answers = Vec::with_capacity(submissions.len());
    for submission in submissions {
        counts.push(submission.events.len());
        events.extend(submission.events);
        answers.push((submission.answer, submission.room));
    }
    metrics::histogram!("demae_ingest_batch_events").record(events.len() as f64);
    match store.append(&events).await {
        Ok(outcomes) => {
            let mut outcomes = outcomes.into_iter();
            for ((answer, _room), count) in answers.into_iter().zip(counts) {
                // A caller that went away wants no answer.
                let _ = answer.send(Ok(outcomes.by_ref().take(count).collect()));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for (answer, _room) in answers {
                let _ = answer.send(Err(IngestError::Store(error.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use demae_event::{EventId, OrganizationId, Timestamp};
    use serde_json::value::RawValue;
    use tokio::sync::Notify;

    use super::*;

    /// Commits one batch per permit, and remembers how large they were.
    struct Gated {
        gate: Semaphore,
        arrived: Notify,
        batches: std::sync::Mutex<Vec<usize>>,
        fails: bool,
    }

    impl Gated {
        fn new(permits: usize, fails: bool) -> Arc<Self> {
            let batches = std::sync::Mutex::default();
            Arc::new(Self {
                gate: Semaphore::new(permits),
                arrived: Notify::new(),
                batches,
                fails,
            })
        }

        fn start(self: &Arc<Self>, queue: usize, batch: usize) -> (Arc<GroupCommit>, Committers) {
            let options = GroupCommitOptions {
                queue,
                batch,
                committers: 1,
            };
            let (sink, committers) = GroupCommit::over(&(self.clone() as Arc<dyn Append>), options);
            (Arc::new(sink), committers)
        }
    }

    #[async_trait]
    impl Append for Gated {
        async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, StoreError> {
            self.arrived.notify_one();
            self.gate.acquire().await.unwrap().forget();
            self.batches.lock().unwrap().push(events.len());
            if self.fails {
                return Err(StoreError::Busy("on purpose".to_owned()));
            }
            Ok(events.iter().map(|_| Appended::New).collect())
        }
    }

    fn events(count: usize) -> Vec<Event> {
        let now = Timestamp::from_secs(1_790_000_000);
        let event = |_| Event {
            id: EventId::new(now),
            organization_id: OrganizationId::new(now),
            name: "A".to_owned(),
            event_type: "a".to_owned(),
            data: RawValue::from_string("{}".to_owned()).unwrap(),
            headers: None,
            traceparent: None,
            created_at: now,
        };
        (0..count).map(event).collect()
    }

    /// Publishes from a task of its own, and returns when the events are in the queue.
    async fn submit(
        sink: &Arc<GroupCommit>,
        count: usize,
    ) -> tokio::task::JoinHandle<Result<usize, IngestError>> {
        let room = sink.room.available_permits();
        let publisher = sink.clone();
        let task = tokio::spawn(async move {
            publisher
                .publish(events(count))
                .await
                .map(|outcomes| outcomes.len())
        });
        while sink.room.available_permits() == room {
            tokio::task::yield_now().await;
        }
        task
    }

    #[tokio::test]
    async fn what_arrives_during_a_commit_shares_the_next_one() {
        let store = Gated::new(0, false);
        let (sink, committers) = store.start(100, 10);
        let first = submit(&sink, 1).await;
        store.arrived.notified().await;
        let others = [
            submit(&sink, 1).await,
            submit(&sink, 3).await,
            submit(&sink, 2).await,
        ];
        store.gate.add_permits(2);
        assert_eq!(first.await.unwrap().unwrap(), 1);
        for (task, count) in others.into_iter().zip([1, 3, 2]) {
            assert_eq!(task.await.unwrap().unwrap(), count);
        }
        assert_eq!(*store.batches.lock().unwrap(), [1, 6]);
        drop(sink);
        committers.finished().await;
    }

    #[tokio::test]
    async fn a_commit_is_bounded_and_never_splits_a_call() {
        let store = Gated::new(0, false);
        let (sink, _committers) = store.start(100, 4);
        let first = submit(&sink, 1).await;
        store.arrived.notified().await;
        let others = [
            submit(&sink, 3).await,
            submit(&sink, 4).await,
            submit(&sink, 1).await,
        ];
        store.gate.add_permits(10);
        first.await.unwrap().unwrap();
        for task in others {
            task.await.unwrap().unwrap();
        }
        assert_eq!(*store.batches.lock().unwrap(), [1, 7, 1]);
        assert!(matches!(sink.publish(events(5)).await, Err(IngestError::TooMany)));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_has_room_again_after_the_commit() {
        let store = Gated::new(0, false);
        let (sink, _committers) = store.start(4, 4);
        let waiting = [submit(&sink, 3).await, submit(&sink, 1).await];
        assert!(matches!(sink.publish(events(1)).await, Err(IngestError::Full)));
        store.gate.add_permits(10);
        for task in waiting {
            task.await.unwrap().unwrap();
        }
        assert_eq!(sink.publish(events(4)).await.unwrap().len(), 4);
    }

    #[tokio::test]
    async fn a_failed_commit_is_told_to_everybody_in_it() {
        let store = Gated::new(0, true);
        let (sink, _committers) = store.start(100, 10);
        let first = submit(&sink, 1).await;
        store.arrived.notified().await;
        let others = [submit(&sink, 1).await, submit(&sink, 1).await];
        store.gate.add_permits(10);
        for task in others.into_iter().chain([first]) {
            assert!(matches!(task.await.unwrap(), Err(IngestError::Store(_))));
        }
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_does_not_take_its_events_back() {
        let store = Gated::new(0, false);
        let (sink, committers) = store.start(100, 10);
        let first = submit(&sink, 1).await;
        store.arrived.notified().await;
        submit(&sink, 2).await.abort();
        store.gate.add_permits(10);
        first.await.unwrap().unwrap();
        drop(sink);
        committers.finished().await;
        assert_eq!(*store.batches.lock().unwrap(), [1, 2]);
    }
}
