//! Taking in events that come with no other change.
//!
//! [`EventSink`] is the seam, [`GroupCommit`] what stands behind it: what arrived while the last commit ran goes into the
//! next one, so that a disk that can sync a thousand times a second still takes ten thousand events in it, and a lone
//! event never waits for company.
//!
//! # Contract
//!
//! - `Ok` means committed, in a commit that survives power loss. `Err` means that the outcome is unknown, except for
//!   [`IngestError::Full`], [`IngestError::TooMany`] and [`IngestError::Refused`]: then nothing was written.
//! - The events of one call are written together or not at all.
//! - Events with ids that exist already are duplicates and no error: asking again after an unknown outcome is safe for
//!   events whose sender named them.
//! - A caller that goes away does not take its events back: what entered the queue will be written.
//! - Nothing here waits for a batch to fill, and nothing is unbounded: the queue counts events and their bytes, and what does
//!   not fit is refused at once. An organization has at most three quarters of the queue. While the queue is nearly empty nobody
//!   counts whose events they are.
//! - A value that the database refuses fails the call that brought it and no other: a commit that fails for a value is
//!   tried again in halves.
//! - A panic in a commit fails its calls; the next commit goes on.

use std::{panic::AssertUnwindSafe, sync::Arc};

use async_trait::async_trait;
use demae_event::{Event, OrganizationId};
use demae_store::{Engine, StoreError, engine::Appended};
use futures::FutureExt;
use serde_json::value::RawValue;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
};

use crate::shares::{Share, Shares};

/// Where an application's events go.
#[async_trait]
pub trait EventSink: Send + Sync + 'static {
    /// Writes `events` of one organization durably; answers in their order. See the module's contract.
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
    /// The database refuses a value of these events.
    #[error("a value of the events cannot be stored")]
    Refused(#[source] Arc<StoreError>),
    /// The process is stopping.
    #[error("the process is stopping")]
    Stopped,
    /// The commit panicked; the panic's own message is in the log.
    #[error("the commit panicked")]
    Panicked,
    /// The commit failed; shared by every caller whose events were in it.
    #[error("the events could not be written")]
    Store(#[source] Arc<StoreError>),
}

/// Bounds of [`GroupCommit`].
#[derive(Debug, Clone, Copy)]
pub struct GroupCommitOptions {
    /// Events waiting or being written, at most; three quarters of them are one organization's at most.
    pub queue: usize,
    /// Bytes of events waiting or being written, at most; three quarters of them are one organization's at most.
    pub queue_bytes: usize,
    /// Events in one call, at most. A commit takes no further call once it has so many, so it holds less than twice
    /// as many.
    pub batch: usize,
    /// A commit takes no further call once its events have so many bytes.
    pub batch_bytes: usize,
    /// Commits under way at the same time. One is right for SQLite, which has one writer; on Postgres a second one
    /// uses the time the first waits for the disk.
    pub committers: usize,
}

impl Default for GroupCommitOptions {
    fn default() -> Self {
        Self {
            queue: 8_192,
            queue_bytes: 16 * 1024 * 1024,
            batch: 512,
            batch_bytes: 2 * 1024 * 1024,
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

/// What an event counts for besides its texts, in bytes.
const OVERHEAD: usize = 256;

/// A caller's events on their way to a commit.
struct Submission {
    events: Vec<Event>,
    bytes: usize,
    waiting: Waiting,
}

/// A caller.
struct Waiting {
    /// How many events it brought.
    events: usize,
    answer: oneshot::Sender<Result<Vec<Appended>, IngestError>>,
    /// Room in the queue, given back when the answer is out.
    _room: Room,
}

/// What a call holds of the queue.
struct Room {
    _of_all: [OwnedSemaphorePermit; 2],
    /// Of its organization's, unless the queue was nearly empty.
    _of_own: Option<Box<[Share; 2]>>,
}

/// As long as no more than one in so many places is taken, nobody counts whose they are.
const UNCOUNTED: usize = 4;
/// After that, an organization has one in so many places.
const COUNTED: usize = 2;

/// Places of one kind in the queue: for events, or for their bytes.
#[derive(Debug)]
struct Places {
    all: Arc<Semaphore>,
    size: usize,
    shares: Shares,
}

impl Places {
    fn new(size: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(size)),
            size,
            shares: Shares::new(size, size / COUNTED, usize::MAX),
        }
    }

    /// Weights beyond the size are the size: a call that is larger than the whole queue goes alone.
    fn take(&self, weight: usize) -> Result<OwnedSemaphorePermit, IngestError> {
        let weight = weight.min(self.size) as u32;
        let permits = self.all.clone().try_acquire_many_owned(weight);
        permits.map_err(|_| IngestError::Full)
    }

    fn is_nearly_empty(&self) -> bool {
        self.all.available_permits() >= self.size - self.size / UNCOUNTED
    }

    fn take_own(&self, organization: OrganizationId, weight: usize) -> Result<Share, IngestError> {
        let share = self.shares.try_take(organization, weight as u64);
        share.map_err(|_| IngestError::Full)
    }
}

/// Many callers' events in one commit.
#[derive(Debug)]
pub struct GroupCommit {
    queue: mpsc::Sender<Submission>,
    events: Places,
    bytes: Places,
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
        let queue_bytes = options.queue_bytes.clamp(1, u32::MAX as usize);
        let submissions = Arc::new(tokio::sync::Mutex::new(submissions));
        let mut committers = JoinSet::new();
        for _ in 0..options.committers.max(1) {
            let full = Full {
                events: batch,
                bytes: options.batch_bytes,
            };
            committers.spawn(commit_all(store.clone(), submissions.clone(), full));
        }
        let sink = Self {
            queue,
            events: Places::new(queue_length),
            bytes: Places::new(queue_bytes),
            batch,
        };
        (sink, Committers(committers))
    }

    fn room(&self, organization: OrganizationId, count: usize, bytes: usize) -> Result<Room, IngestError> {
        let of_all = [self.events.take(count)?, self.bytes.take(bytes)?];
        let of_own = if self.events.is_nearly_empty() && self.bytes.is_nearly_empty() {
            None
        } else {
            Some(Box::new([
                self.events.take_own(organization, count)?,
                self.bytes.take_own(organization, bytes)?,
            ]))
        };
        Ok(Room {
            _of_all: of_all,
            _of_own: of_own,
        })
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
        let bytes: usize = events.iter().map(size_of).sum();
        let count = events.len();
        let room = self.room(events[0].scope.organization, count, bytes)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            events: count,
            answer,
            _room: room,
        };
        self.queue
            .try_send(Submission {
                events,
                bytes,
                waiting,
            })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => IngestError::Full,
                mpsc::error::TrySendError::Closed(_) => IngestError::Stopped,
            })?;
        answered.await.map_err(|_| IngestError::Stopped)?
    }
}

fn size_of(event: &Event) -> usize {
    let headers = event.headers.as_deref().map_or("", RawValue::get);
    let trace = event.traceparent.as_deref().unwrap_or_default();
    let texts = [event.data.get(), headers, &event.name, &event.event_type, trace];
    OVERHEAD + texts.into_iter().map(str::len).sum::<usize>()
}

/// When a commit takes no further call.
#[derive(Clone, Copy)]
struct Full {
    events: usize,
    bytes: usize,
}

/// The events of one commit and their callers.
#[derive(Default)]
struct Group {
    events: Vec<Event>,
    bytes: usize,
    waiting: Vec<Waiting>,
}

impl Group {
    fn add(&mut self, submission: Submission) {
        self.events.extend(submission.events);
        self.bytes += submission.bytes;
        self.waiting.push(submission.waiting);
    }

    fn is_full(&self, full: Full) -> bool {
        self.events.len() >= full.events || self.bytes >= full.bytes
    }

    /// Its halves, by callers.
    fn split(mut self) -> [Self; 2] {
        let waiting = self.waiting.split_off(self.waiting.len() / 2);
        let before = self.waiting.iter().map(|caller| caller.events).sum();
        let second = Self {
            events: self.events.split_off(before),
            bytes: 0,
            waiting,
        };
        [self, second]
    }

    fn answer(self, outcome: Result<Vec<Appended>, IngestError>) {
        let mut outcomes = outcome.map(Vec::into_iter);
        for caller in self.waiting {
            let own = match &mut outcomes {
                Ok(outcomes) => Ok(outcomes.by_ref().take(caller.events).collect()),
                Err(error) => Err(error.clone()),
            };
            // A caller that went away wants no answer.
            let _ = caller.answer.send(own);
        }
    }
}

/// Commits until every sender is gone and the queue is empty.
async fn commit_all(
    store: Arc<dyn Append>,
    submissions: Arc<tokio::sync::Mutex<mpsc::Receiver<Submission>>>,
    full: Full,
) {
    loop {
        let group = take_group(&submissions, full).await;
        if group.waiting.is_empty() {
            return;
        }
        metrics::histogram!("demae_ingest_batch_events").record(group.events.len() as f64);
        commit(&*store, group).await;
    }
}

/// Everything that waits, until it is `full`; waits only for the first. Empty when every sender is gone.
async fn take_group(submissions: &tokio::sync::Mutex<mpsc::Receiver<Submission>>, full: Full) -> Group {
    // Held while waiting, on purpose: with several committers the next free one takes the next group whole.
    let mut queue = submissions.lock().await;
    let mut group = Group::default();
    let mut next = queue.recv().await;
    while let Some(submission) = next {
        group.add(submission);
        next = if group.is_full(full) {
            None
        } else {
            queue.try_recv().ok()
        };
    }
    group
}

async fn commit(store: &dyn Append, group: Group) {
    let mut groups = vec![group];
    while let Some(group) = groups.pop() {
        match AssertUnwindSafe(store.append(&group.events)).catch_unwind().await {
            Ok(Ok(outcomes)) => group.answer(Ok(outcomes)),
            // Nothing of it was written: everybody else's events go on without the one.
            Ok(Err(error)) if error.is_data_error() && group.waiting.len() > 1 => {
                groups.extend(group.split().into_iter().rev());
            }
            Ok(Err(error)) if error.is_data_error() => {
                group.answer(Err(IngestError::Refused(Arc::new(error))));
            }
            Ok(Err(error)) => group.answer(Err(IngestError::Store(Arc::new(error)))),
            Err(_) => group.answer(Err(IngestError::Panicked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use demae_event::{EventId, Scope, Timestamp};
    use serde_json::value::RawValue;
    use tokio::sync::Notify;

    use super::*;

    /// Commits one batch per permit, and remembers how large they were.
    struct Gated {
        gate: Semaphore,
        arrived: Notify,
        batches: std::sync::Mutex<Vec<usize>>,
        fails: Fails,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Fails {
        Never,
        Always,
        /// For events with this name.
        For(&'static str),
        Panics,
    }

    impl Gated {
        fn new(permits: usize, fails: Fails) -> Arc<Self> {
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
                ..GroupCommitOptions::default()
            };
            self.start_with(options)
        }

        fn start_with(self: &Arc<Self>, options: GroupCommitOptions) -> (Arc<GroupCommit>, Committers) {
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
            assert!(self.fails != Fails::Panics, "on purpose");
            match self.fails {
                Fails::Always => return Err(StoreError::Busy("on purpose".to_owned())),
                Fails::For(name) if events.iter().any(|event| event.name == name) => {
                    return Err(StoreError::refusal("on purpose"));
                }
                _ => {}
            }
            Ok(events.iter().map(|_| Appended::New).collect())
        }
    }

    fn events(count: usize) -> Vec<Event> {
        named("A", count)
    }

    fn named(name: &str, count: usize) -> Vec<Event> {
        let now = Timestamp::from_secs(1_790_000_000);
        let event = |_| Event {
            id: EventId::new(now),
            scope: Scope::default_of(OrganizationId::new(now)),
            name: name.to_owned(),
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
        submit_these(sink, events(count)).await
    }

    async fn submit_these(
        sink: &Arc<GroupCommit>,
        events: Vec<Event>,
    ) -> tokio::task::JoinHandle<Result<usize, IngestError>> {
        let room = sink.events.all.available_permits();
        let publisher = sink.clone();
        let task =
            tokio::spawn(async move { publisher.publish(events).await.map(|outcomes| outcomes.len()) });
        while sink.events.all.available_permits() == room {
            tokio::task::yield_now().await;
        }
        task
    }

    #[tokio::test]
    async fn what_arrives_during_a_commit_shares_the_next_one() {
        let store = Gated::new(0, Fails::Never);
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
        let store = Gated::new(0, Fails::Never);
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
        let store = Gated::new(0, Fails::Never);
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
        let store = Gated::new(0, Fails::Always);
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
        let store = Gated::new(0, Fails::Never);
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

    #[tokio::test]
    async fn a_value_that_the_database_refuses_fails_its_own_call_only() {
        let store = Gated::new(0, Fails::For("BAD"));
        let (sink, _committers) = store.start(100, 100);
        let first = submit(&sink, 1).await;
        store.arrived.notified().await;
        let mut calls = Vec::new();
        for place in 0..16 {
            let events = named(if [3, 11].contains(&place) { "BAD" } else { "GOOD" }, 2);
            calls.push((place, submit_these(&sink, events).await));
        }
        store.gate.add_permits(100);
        first.await.unwrap().unwrap();
        for (place, call) in calls {
            let outcome = call.await.unwrap();
            if [3, 11].contains(&place) {
                assert!(matches!(outcome, Err(IngestError::Refused(_))), "{place}");
            } else {
                assert_eq!(outcome.unwrap(), 2, "{place}");
            }
        }
        // One, sixteen, then twice: four halvings of eight calls.
        assert_eq!(store.batches.lock().unwrap().len(), 2 + 2 * 7);
    }

    #[tokio::test]
    async fn a_panic_fails_its_commit_and_the_next_one_goes_on() {
        let store = Gated::new(2, Fails::Panics);
        let (sink, _committers) = store.start(100, 10);
        for _ in 0..2 {
            assert!(matches!(
                sink.publish(events(1)).await,
                Err(IngestError::Panicked)
            ));
        }
        assert_eq!(*store.batches.lock().unwrap(), [1, 1]);
    }

    #[tokio::test]
    async fn an_organization_leaves_a_quarter_of_the_queue_to_another() {
        let of = |number: u128, count: usize, size: usize| {
            let mut events = events(count);
            for event in &mut events {
                event.scope = Scope::default_of(OrganizationId(uuid::Uuid::from_u128(number)));
                event.data = RawValue::from_string(format!("\"{}\"", "x".repeat(size))).unwrap();
            }
            events
        };
        let store = Gated::new(100, Fails::Never);
        let (sink, _committers) = store.start_with(GroupCommitOptions {
            queue: 40,
            queue_bytes: 40_000,
            batch: 10,
            ..GroupCommitOptions::default()
        });
        // Many events, then few with many bytes. No commit begins before this test waits.
        for size in [0, 4_000] {
            let call = |number| sink.publish(of(number, 1, size));
            let refused = loop {
                if let Some(outcome) = call(1).now_or_never() {
                    break outcome;
                }
            };
            assert!(matches!(refused, Err(IngestError::Full)));
            let free = |places: &Places| places.all.available_permits() as f64 / places.size as f64;
            let (events, bytes) = (free(&sink.events), free(&sink.bytes));
            assert!(events >= 0.25 && bytes >= 0.25, "{events} {bytes}");
            assert!(events < 0.45 || bytes < 0.45, "{events} {bytes}");
            assert_eq!(call(2).await.unwrap().len(), 1);
            while free(&sink.events) < 1.0 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn bytes_are_bounded_in_the_queue_and_in_a_commit() {
        let store = Gated::new(0, Fails::Never);
        let one = size_of(&events(1)[0]);
        let (sink, _committers) = store.start_with(GroupCommitOptions {
            queue_bytes: 6 * one,
            batch_bytes: 2 * one,
            ..GroupCommitOptions::default()
        });
        let first = submit(&sink, 1).await;
        store.arrived.notified().await;
        let others = [
            submit(&sink, 1).await,
            submit(&sink, 3).await,
            submit(&sink, 1).await,
        ];
        assert!(matches!(sink.publish(events(1)).await, Err(IngestError::Full)));
        store.gate.add_permits(10);
        first.await.unwrap().unwrap();
        for task in others {
            task.await.unwrap().unwrap();
        }
        assert_eq!(*store.batches.lock().unwrap(), [1, 4, 1]);
        // Larger than the queue: alone, rather than never.
        assert_eq!(sink.publish(events(7)).await.unwrap().len(), 7);
    }
}
