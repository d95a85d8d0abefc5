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
        let queue_length = options
            .queue
            .clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        // The semaphore counts events; a submission has at least one, so the channel is never what is full.
        let (queue, submissions) = mpsc::channel(queue_length);
        let batch = options.batch.clamp(1, queue_length);
        let submissions = Arc::new(tokio::sync::Mutex::new(submissions));
        let mut committers = JoinSet::new();
        for _ in 0..options.committers.max(1) {
            committers.spawn(commit_all(engine.clone(), submissions.clone(), batch));
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
    engine: Arc<dyn Engine>,
    submissions: Arc<tokio::sync::Mutex<mpsc::Receiver<Submission>>>,
    batch: usize,
) {
    loop {
        let group = take_group(&submissions, batch).await;
        if group.is_empty() {
            return;
        }
        commit(&*engine, group).await;
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

async fn commit(engine: &dyn Engine, submissions: Vec<Submission>) {
    let mut counts = Vec::with_capacity(submissions.len());
    let mut events = Vec::new();
    let mut answers = Vec::with_capacity(submissions.len());
    for submission in submissions {
        counts.push(submission.events.len());
        events.extend(submission.events);
        answers.push((submission.answer, submission.room));
    }
    metrics::histogram!("demae_ingest_batch_events").record(events.len() as f64);
    match engine.append(&events).await {
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
