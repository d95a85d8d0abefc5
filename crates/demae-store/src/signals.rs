//! What processes tell each other, so that nobody has to look for it: "an event was committed", "deliveries to these
//! endpoints wait", "a timer was set for this time".
//!
//! A signal is a hint and nothing more. It is sent after the commit that it tells of, may be lost (a connection that
//! breaks, a process that dies in between) and may come without a reason; whoever acts on signals also looks from time
//! to time. That is why sending them costs the commit nothing.
//!
//! Within the process signals pass through memory. To other processes they go by Postgres's `NOTIFY`, on a connection
//! of their own and gathered for [`PAUSE`]: a `NOTIFY` inside the transaction would make all commits of the database
//! take turns, because Postgres holds one lock for all of them until the commit is durable. SQLite has one process.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use demae_event::{EndpointId, Timestamp};
use sea_orm::sqlx::{
    self, PgPool,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::{sync::Notify, task::AbortHandle, time::timeout};
use uuid::Uuid;

use crate::{StoreError, silence::answer};

/// The channel of `LISTEN` and `NOTIFY`.
const CHANNEL: &str = "demae";
/// After a signal was sent to other processes, what follows is gathered for so long.
const PAUSE: Duration = Duration::from_millis(10);
/// A listener that heard nothing for so long asks whether the line still stands.
const SILENCE: Duration = Duration::from_secs(15);
/// Before a broken connection is made again.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// Endpoints remembered; more are found by the next look at the table.
const ENDPOINTS_LIMIT: usize = 10_000;
/// Endpoints in one notification: Postgres takes less than 8,000 bytes, and each is 36 characters and a comma.
const ENDPOINTS_PER_NOTE: usize = 200;

const OUTBOX: &str = "outbox";
const WAITING: &str = "waiting";
const TIMER: &str = "timer";

/// What other processes are to be told.
#[derive(Debug, Default)]
struct Pending {
    endpoints: HashSet<EndpointId>,
    outbox: bool,
    /// The earliest time for which a timer was set.
    timer: Option<Timestamp>,
}

impl Pending {
    fn add(&mut self, endpoints: impl IntoIterator<Item = EndpointId>) {
        for endpoint in endpoints {
            if self.endpoints.len() >= ENDPOINTS_LIMIT {
                return;
            }
            self.endpoints.insert(endpoint);
        }
    }

    fn add_timer(&mut self, at: Timestamp) {
        self.timer = earlier(self.timer, at);
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is the next value of an option")]
fn earlier(known: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    Some(known.map_or(at, |known| known.min(at)))
}

/// The signals of one process: those that its parts wait for, and those that others are to hear.
#[derive(Debug, Default)]
pub(crate) struct Board {
    outbox: Notify,
    waiting: Mutex<HashSet<EndpointId>>,
    waiting_changed: Notify,
    /// The earliest time for which a timer was set since somebody asked.
    timer: Mutex<Option<Timestamp>>,
    timer_changed: Notify,
    outgoing: Mutex<Pending>,
    outgoing_changed: Notify,
}

impl Board {
    /// An event was committed here.
    pub(crate) fn event_committed(&self) {
        self.outbox.notify_one();
        self.outgoing().outbox = true;
        self.outgoing_changed.notify_one();
    }

    /// Deliveries that wait were committed here, and the scheduler of this process does not know it.
    pub(crate) fn deliveries_wait(&self, endpoints: &[EndpointId]) {
        if !endpoints.is_empty() {
            self.heard(endpoints.iter().copied());
            self.tell_others(endpoints.iter().copied());
        }
    }

    /// Deliveries that wait were committed here; this process knows.
    pub(crate) fn tell_others(&self, endpoints: impl IntoIterator<Item = EndpointId>) {
        let mut endpoints = endpoints.into_iter().peekable();
        if endpoints.peek().is_some() {
            self.outgoing().add(endpoints);
            self.outgoing_changed.notify_one();
        }
    }

    /// Waits for an event that was committed here or elsewhere.
    pub(crate) async fn outbox_changed(&self) {
        self.outbox.notified().await;
    }

    /// Waits for deliveries that this process's scheduler does not know of.
    pub(crate) async fn deliveries_changed(&self) -> HashSet<EndpointId> {
        loop {
            let endpoints = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            if !endpoints.is_empty() {
                return endpoints;
            }
            self.waiting_changed.notified().await;
        }
    }

    /// A timer that wakes at `at` was committed here.
    pub(crate) fn timer_set(&self, at: Timestamp) {
        self.timer_heard(at);
        self.outgoing().add_timer(at);
        self.outgoing_changed.notify_one();
    }

    /// Waits for a timer that was set here or elsewhere. Returns the earliest time since the last call.
    pub(crate) async fn timers_changed(&self) -> Timestamp {
        loop {
            let at = self.timer.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(at) = at {
                return at;
            }
            self.timer_changed.notified().await;
        }
    }

    fn timer_heard(&self, at: Timestamp) {
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        *timer = earlier(*timer, at);
        drop(timer);
        self.timer_changed.notify_one();
    }

    fn heard(&self, endpoints: impl Iterator<Item = EndpointId>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = ENDPOINTS_LIMIT.saturating_sub(waiting.len());
        waiting.extend(endpoints.take(room));
        drop(waiting);
        self.waiting_changed.notify_one();
    }

    fn outgoing(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries signals between this process's [`Board`] and those of others, until it is dropped.
#[derive(Debug)]
pub(crate) struct Herald {
    board: Arc<Board>,
    pool: PgPool,
    /// Tells our own notifications from those of others.
    process: Uuid,
    listening: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Herald {
    /// Connections are made when they are needed first.
    pub(crate) fn start(board: Arc<Board>, pool: PgPool) -> Self {
        let process = Uuid::new_v4();
        let speaking = tokio::spawn(speak(board.clone(), pool.clone(), process));
        Self {
            board,
            pool,
            process,
            listening: AtomicBool::new(false),
            tasks: Mutex::new(vec![speaking.abort_handle()]),
        }
    }

    /// From now on what others say arrives at the board. Most users of a database never need it.
    pub(crate) fn listen(&self) {
        if !self.listening.swap(true, Ordering::Relaxed) {
            let listening = tokio::spawn(listen(self.board.clone(), self.pool.clone(), self.process));
            self.tasks().push(listening.abort_handle());
        }
    }

    pub(crate) async fn close(&self) {
        self.stop();
        self.pool.close().await;
    }

    fn stop(&self) {
        for task in self.tasks().drain(..) {
            task.abort();
        }
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<AbortHandle>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn speak(board: Arc<Board>, pool: PgPool, process: Uuid) {
    loop {
        board.outgoing_changed.notified().await;
        let pending = std::mem::take(&mut *board.outgoing());
        let notes = notes(&pending, process);
        let tell = sqlx::query("SELECT pg_notify($1, note) FROM UNNEST($2::text[]) AS note")
            .bind(CHANNEL)
            .bind(notes)
            .execute(&pool);
        let told = answer(tell).await;
        match told {
            Ok(_) => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                tracing::debug!(%error, "other processes could not be told of new work; they will find it");
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
        }
    }
}

async fn listen(board: Arc<Board>, pool: PgPool, process: Uuid) {
    loop {
        if let Err(error) = hear(&board, &pool, process).await {
            tracing::debug!(%error, "cannot listen to other processes; looking for new work from time to time");
        }
        tokio::time::sleep(FAILURE_PAUSE).await;
    }
}

async fn hear(board: &Board, pool: &PgPool, process: Uuid) -> Result<(), StoreError> {
    // A connection outside the pool: a listener says goodbye when it is dropped, and over a line that went silent that
    // takes as long as TCP tries.
    let own = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with((*pool.connect_options()).clone());
    let mut listener = answer(PgListener::connect_with(&own)).await?;
    answer(listener.listen(CHANNEL)).await?;
    // Whatever was said before.
    board.outbox.notify_one();
    loop {
        let Ok(note) = timeout(SILENCE, listener.recv()).await else {
            answer(sqlx::query("SELECT 1").execute(&mut listener)).await?;
            continue;
        };
        match read(note?.payload()) {
            Some((from, _)) if from == process => {}
            Some((_, Note::Outbox)) => board.outbox.notify_one(),
            Some((_, Note::Waiting(endpoints))) => board.heard(endpoints.into_iter()),
            Some((_, Note::Timer(at))) => board.timer_heard(at),
            // Of a later version.
            None => {}
        }
    }
}

/// What a notification says.
#[derive(Debug, PartialEq, Eq)]
enum Note {
    Outbox,
    Waiting(Vec<EndpointId>),
    Timer(Timestamp),
}

fn notes(pending: &Pending, process: Uuid) -> Vec<String> {
    let mut notes = Vec::new();
    if pending.outbox {
        notes.push(format!("{process} {OUTBOX}"));
    }
    let endpoints: Vec<String> = pending.endpoints.iter().map(|id| id.0.to_string()).collect();
    for some in endpoints.chunks(ENDPOINTS_PER_NOTE) {
        notes.push(format!("{process} {WAITING} {}", some.join(",")));
    }
    if let Some(at) = pending.timer {
        notes.push(format!("{process} {TIMER} {}", at.as_micros()));
    }
    notes
}

fn read(note: &str) -> Option<(Uuid, Note)> {
    let mut words = note.split(' ');
    let process = words.next()?.parse().ok()?;
    let note = match (words.next()?, words.next()) {
        (OUTBOX, None) => Note::Outbox,
        (WAITING, Some(list)) => {
            let endpoints = list.split(',').map(|id| id.parse().map(EndpointId));
            Note::Waiting(endpoints.collect::<Result<_, _>>().ok()?)
        }
        (TIMER, Some(at)) => Note::Timer(Timestamp::from_micros(at.parse().ok()?)),
        _ => return None,
    };
    Some((process, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written_and_fit() {
        let process = Uuid::new_v4();
        let mut pending = Pending::default();
        pending.add((0..=ENDPOINTS_PER_NOTE).map(|_| EndpointId(Uuid::new_v4())));
        pending.outbox = true;
        let [early, late] = [1, 2].map(Timestamp::from_secs);
        pending.add_timer(late);
        pending.add_timer(early);
        let notes = notes(&pending, process);
        assert_eq!(notes.len(), 4);
        assert_eq!(read(&notes[3]), Some((process, Note::Timer(early))));
        assert!(notes.iter().all(|note| note.len() < 8_000));
        let mut found = HashSet::new();
        for note in &notes[1..3] {
            let Some((from, Note::Waiting(endpoints))) = read(note) else {
                panic!("{note}");
            };
            assert_eq!(from, process);
            found.extend(endpoints);
        }
        assert_eq!(found, pending.endpoints);
        assert_eq!(read(&notes[0]), Some((process, Note::Outbox)));
    }

    #[test]
    fn what_others_write_on_the_channel_is_ignored() {
        let id = Uuid::new_v4();
        for note in [
            "",
            "x outbox",
            "waiting",
            &format!("{id} waiting x"),
            &format!("{id} later"),
            &format!("{id} timer soon"),
        ] {
            assert_eq!(read(note), None, "{note}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut pending = Pending::default();
        pending.add((0..2 * ENDPOINTS_LIMIT).map(|_| EndpointId(Uuid::new_v4())));
        assert_eq!(pending.endpoints.len(), ENDPOINTS_LIMIT);
    }
}
