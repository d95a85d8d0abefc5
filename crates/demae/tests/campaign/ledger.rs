//! What was tried, what was acknowledged, what arrived.
//!
//! Every event carries a key of its client's own, by which it is found again at the receiver. Only keys, message ids and
//! digests of bodies are kept, so that a campaign can be as long as anybody likes.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use demae_testkit::receiver::{Answer, ReceivedRequest, Recorder};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

/// An endpoint that takes everything.
pub(crate) const STEADY: &str = "/steady";
/// An endpoint that refuses one event in [`REFUSED_ONE_IN`] when it comes for the first time, so that retries are under
/// way when a disaster comes.
pub(crate) const FLAKY: &str = "/flaky";
/// Both.
pub(crate) const PATHS: [&str; 2] = [STEADY, FLAKY];

const REFUSED_ONE_IN: u64 = 16;

/// Asked by the test itself.
const BARRIER: &str = "/barrier";

/// How long the last event may take. Leases of a process that is gone are given to others after 10 s; the rest is for a
/// busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The books. Clones share them.
#[derive(Clone)]
pub(crate) struct Ledger(Arc<Shared>);

struct Shared {
    receiver: Recorder,
    books: Mutex<Books>,
    acknowledged: watch::Sender<usize>,
    arrived: watch::Sender<usize>,
    refused: watch::Sender<usize>,
    /// What must never happen and did.
    faults: watch::Sender<Vec<String>>,
}

#[derive(Default)]
struct Books {
    /// How often the process was killed so far.
    run: usize,
    attempted: HashSet<String>,
    acknowledged: Vec<String>,
    arrivals: HashMap<(&'static str, String), Arrivals>,
    refusals: HashMap<String, usize>,
}

/// One event at one endpoint.
struct Arrivals {
    webhook_id: String,
    body: u64,
    /// The run of each arrival that was answered 200.
    accepted: Vec<usize>,
    refused: usize,
}

/// What the campaign came to.
pub(crate) struct Summary {
    /// Writes that were tried.
    attempted: usize,
    /// Writes that were answered 2xx.
    acknowledged: usize,
    /// Events that arrived; the same at both endpoints.
    events: usize,
    /// Arrivals beyond the first accepted one, over both endpoints.
    pub(crate) duplicates: usize,
    /// The most of these that were accepted before in the same run.
    pub(crate) most_per_run: usize,
    /// What the clients were answered when it was not 2xx, and how often.
    refusals: HashMap<String, usize>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            attempted,
            acknowledged,
            events,
            duplicates,
            most_per_run,
            refusals,
        } = self;
        write!(
            f,
            "{attempted} writes tried, {acknowledged} acknowledged, {events} arrived, {duplicates} duplicates \
             (at most {most_per_run} of one run); refused: {refusals:?}"
        )
    }
}

impl Ledger {
    /// Starts the receiver.
    pub(crate) async fn start() -> Self {
        let receiver = Recorder::start().await;
        receiver.keep_no_more();
        let ledger = Self(Arc::new(Shared {
            receiver,
            books: Mutex::default(),
            acknowledged: watch::Sender::default(),
            arrived: watch::Sender::default(),
            refused: watch::Sender::default(),
            faults: watch::Sender::default(),
        }));
        // Weak, or the receiver would own itself and never close.
        let shared = Arc::downgrade(&ledger.0);
        ledger.0.receiver.answer_by(move |request| {
            shared
                .upgrade()
                .map_or_else(Answer::ok, |shared| shared.note_arrival(request))
        });
        ledger
    }

    /// The URL of one of [`PATHS`].
    pub(crate) fn url(&self, path: &str) -> String {
        self.0.receiver.url(path)
    }

    /// Before a write is sent.
    pub(crate) fn note_attempt(&self, key: &str) {
        self.books().attempted.insert(key.to_owned());
    }

    /// After it was answered 2xx.
    pub(crate) fn note_acknowledged(&self, key: &str) {
        self.books().acknowledged.push(key.to_owned());
        self.0.acknowledged.send_modify(|count| *count += 1);
    }

    /// After it was answered otherwise, or not at all.
    pub(crate) fn note_refusal(&self, what: String) {
        *self.books().refusals.entry(what).or_default() += 1;
        self.0.refused.send_modify(|count| *count += 1);
    }

    /// Something that must never happen.
    pub(crate) fn note_fault(&self, fault: String) {
        self.0.note_fault(fault);
    }

    /// Waits for the first such thing.
    pub(crate) async fn fault(&self) {
        let mut faults = self.0.faults.subscribe();
        // The sender lives in `self`, so the wait cannot end by its closing.
        let _ = faults.wait_for(|faults| !faults.is_empty()).await;
    }

    /// Waits until so many more writes were acknowledged.
    pub(crate) async fn more_acknowledged(&self, more: usize) {
        more_of(&self.0.acknowledged, more, "acknowledgements").await;
    }

    /// Waits until so many more requests went wrong.
    pub(crate) async fn more_refused(&self, more: usize) {
        more_of(&self.0.refused, more, "failed requests").await;
    }

    /// Waits until so many more deliveries arrived.
    pub(crate) async fn more_arrived(&self, more: usize) {
        more_of(&self.0.arrived, more, "arrivals").await;
    }

    /// After a kill: what the dead process had sent is read to its end and belongs to its run; what comes later belongs
    /// to the next one.
    pub(crate) async fn begin_run(&self) {
        // The queue of connections not yet accepted is in order: when this one was served, all of the dead process'
        // were accepted, and as its sockets are closed each ends when it was read.
        let mut stream = TcpStream::connect(self.0.receiver.address()).await.unwrap();
        let request = format!("GET {BARRIER} HTTP/1.1\r\nhost: receiver\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        timeout(PATIENCE, stream.read_to_end(&mut Vec::new()))
            .await
            .expect("the receiver answers")
            .unwrap();
        drop(stream);
        self.0.receiver.open_connections().wait_for_at_most(0).await;
        self.books().run += 1;
    }

    /// Waits until the event has been accepted at [`STEADY`].
    pub(crate) async fn arrival(&self, key: &str) {
        let wanted = (STEADY, key.to_owned());
        let mut arrivals = self.0.arrived.subscribe();
        while !self.books().is_accepted(&wanted) {
            let arrived = timeout(PATIENCE, arrivals.changed()).await;
            assert!(arrived.is_ok(), "{key} was acknowledged and did not arrive");
        }
    }

    /// Waits until every acknowledged event has been accepted by both endpoints.
    pub(crate) async fn all_arrived(&self) {
        let acknowledged = self.books().acknowledged.clone();
        let mut arrivals = self.0.arrived.subscribe();
        let mut left = acknowledged
            .iter()
            .flat_map(|key| PATHS.map(|path| (path, key.clone())))
            .collect::<Vec<_>>();
        while let Some(wanted) = left.last() {
            if self.books().is_accepted(wanted) {
                left.pop();
                continue;
            }
            if timeout(PATIENCE, arrivals.changed()).await.is_err() {
                left.retain(|wanted| !self.books().is_accepted(wanted));
                panic!(
                    "{} acknowledged events never arrived, e.g. {:?}",
                    left.len(),
                    left.last()
                );
            }
        }
    }

    /// How many events an endpoint accepted.
    pub(crate) fn accepted(&self, path: &str) -> usize {
        let books = self.books();
        books
            .arrivals
            .iter()
            .filter(|((at, _), arrivals)| *at == path && !arrivals.accepted.is_empty())
            .count()
    }

    /// What holds whatever happened; panics with what does not.
    pub(crate) fn judge(&self) -> Summary {
        self.no_faults();
        let books = self.books();
        let mut keys = HashMap::new();
        let mut message_ids = HashMap::new();
        let mut firsts: HashMap<usize, usize> = HashMap::new();
        let mut duplicates = 0;
        for ((path, key), arrivals) in &books.arrivals {
            assert!(
                !arrivals.accepted.is_empty(),
                "{key} was refused at {path} and not sent again"
            );
            *keys.entry(key).or_insert(0) += 1;
            let owner = message_ids.entry(&arrivals.webhook_id).or_insert(key);
            assert_eq!(*owner, key, "two events share the id {}", arrivals.webhook_id);
            // Each arrival after the first is due to the end of the run of the one before.
            for run in &arrivals.accepted[..arrivals.accepted.len() - 1] {
                *firsts.entry(*run).or_default() += 1;
                duplicates += 1;
            }
        }
        assert_eq!(message_ids.len(), keys.len(), "an event arrived under two ids");
        for (key, endpoints) in &keys {
            assert_eq!(*endpoints, PATHS.len(), "{key} did not reach both endpoints");
        }
        for key in &books.acknowledged {
            assert!(keys.contains_key(key), "{key} was acknowledged and never arrived");
        }
        Summary {
            attempted: books.attempted.len(),
            acknowledged: books.acknowledged.len(),
            events: keys.len(),
            duplicates,
            most_per_run: firsts.values().copied().max().unwrap_or_default(),
            refusals: books.refusals.clone(),
        }
    }

    /// One process never sends an accepted event twice; only its death makes another one repeat it.
    pub(crate) fn judge_runs(&self) {
        for ((path, key), arrivals) in &self.books().arrivals {
            let runs: HashSet<_> = arrivals.accepted.iter().collect();
            assert_eq!(
                runs.len(),
                arrivals.accepted.len(),
                "{key} was accepted at {path} twice by one process: {:?}",
                arrivals.accepted
            );
        }
    }

    fn no_faults(&self) {
        let faults = self.0.faults.borrow();
        let first = faults.first();
        assert!(faults.is_empty(), "{} faults, the first: {first:?}", faults.len());
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books()
    }
}

impl Shared {
    fn note_fault(&self, fault: String) {
        self.faults.send_modify(|faults| faults.push(fault));
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // A failed assertion elsewhere must keep its own message.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_arrival(&self, request: &ReceivedRequest) -> Answer {
        if request.uri.path() == BARRIER {
            return Answer::ok();
        }
        let noted = self.books().note_arrival(request);
        let answer = noted.unwrap_or_else(|fault| {
            self.note_fault(fault);
            Answer::ok()
        });
        self.arrived.send_modify(|count| *count += 1);
        answer
    }
}

impl Books {
    fn is_accepted(&self, wanted: &(&'static str, String)) -> bool {
        self.arrivals
            .get(wanted)
            .is_some_and(|arrivals| !arrivals.accepted.is_empty())
    }

    fn note_arrival(&mut self, request: &ReceivedRequest) -> Result<Answer, String> {
        let path = PATHS
            .into_iter()
            .find(|path| *path == request.uri.path())
            .ok_or_else(|| format!("a request to {}", request.uri))?;
        let webhook_id = request.header("webhook-id").ok_or("no webhook-id")?.to_owned();
        let key = key_of(&request.body).ok_or_else(|| format!("not ours: {:?}", request.body))?;
        if !self.attempted.contains(&key) {
            return Err(format!("{key} arrived and was never written"));
        }
        let body = digest(&request.body);
        let refuses = path == FLAKY && digest(key.as_bytes()).is_multiple_of(REFUSED_ONE_IN);
        let run = self.run;
        let arrivals = self
            .arrivals
            .entry((path, key.clone()))
            .or_insert_with(|| Arrivals {
                webhook_id: webhook_id.clone(),
                body,
                accepted: Vec::new(),
                refused: 0,
            });
        if arrivals.webhook_id != webhook_id {
            return Err(format!(
                "{key} came as {} and as {webhook_id}",
                arrivals.webhook_id
            ));
        }
        if arrivals.body != body {
            return Err(format!(
                "{key} came with two bodies; the later: {:?}",
                request.body
            ));
        }
        if refuses && arrivals.refused == 0 {
            arrivals.refused += 1;
            return Ok(Answer::status(503));
        }
        arrivals.accepted.push(run);
        Ok(Answer::ok())
    }
}

/// The client's key: an own event's `data.key`, a customer's slug.
fn key_of(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let data = &body["data"];
    data["key"].as_str().or(data["slug"].as_str()).map(str::to_owned)
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

async fn more_of(count: &watch::Sender<usize>, more: usize, what: &str) {
    let mut counts = count.subscribe();
    let wanted = *counts.borrow() + more;
    let reached = timeout(PATIENCE, counts.wait_for(|count| *count >= wanted)).await;
    assert!(reached.is_ok(), "waited for {more} more {what} in vain");
}
