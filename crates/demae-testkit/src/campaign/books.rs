//! What became of each event: written and committed, taken back, or nobody knows; and what arrived of it.
//!
//! Every event carries a number of its own. The receiver enters arrivals as they come and refuses some of them; writers
//! enter what they learnt. Only digests of bodies and ids are kept, so that a campaign can be as long as anybody likes.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use anyhow::{Result, anyhow, bail, ensure};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    pace::{Moment, Others, Passage, Receipt},
    totals::Totals,
    way::{PATHS, Way},
};
use crate::receiver::{Answer, Gate, ReceivedRequest, Recorder};

const FLAKY: usize = 1;
const REFUSED_ONE_IN: usize = 16;

/// How long nothing may arrive while something is missing.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a writer knows of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is being written, or its writer never learnt what became of it.
    Open,
    /// Its commit was acknowledged.
    Committed,
    /// Its transaction, or its part of one, cannot have been committed.
    RolledBack,
}

/// The books. Clones share them.
#[derive(Clone)]
pub(super) struct Books(Arc<Shared>);

struct Shared {
    receiver: Recorder,
    /// Closed: the receiver holds its answers back.
    gate: Gate,
    pages: Mutex<Pages>,
    arrived: watch::Sender<u64>,
    faults: watch::Sender<Vec<String>>,
    /// Who else is served, if there is anybody to compare with.
    others: OnceLock<Box<dyn Fn() -> Others + Send + Sync>>,
}

#[derive(Default)]
struct Pages {
    events: Vec<Entry>,
    committed: u64,
    arrivals: u64,
    refusals: BTreeMap<String, u64>,
}

struct Entry {
    fate: Fate,
    way: Way,
    /// Events of one transaction share it: the first one's number.
    group: usize,
    /// Before its writer began.
    begun: Moment,
    committed: Option<Moment>,
    endpoints: [Arrivals; PATHS.len()],
}

#[derive(Default, Clone)]
struct Arrivals {
    accepted: u32,
    refused: u32,
    /// Digests of the id and the body, the same at every arrival.
    seen: Option<(u64, u64)>,
    /// Of the first arrival, accepted or not.
    first: Option<Receipt>,
}

impl Books {
    /// Starts the receiver.
    pub(super) async fn start() -> Self {
        let receiver = Recorder::start().await;
        receiver.keep_no_more();
        let gate = Gate::closed();
        gate.open();
        let books = Self(Arc::new(Shared {
            receiver,
            gate,
            pages: Mutex::default(),
            arrived: watch::Sender::default(),
            faults: watch::Sender::default(),
            others: OnceLock::new(),
        }));
        // Weak, or the receiver would own itself and never close.
        let shared = Arc::downgrade(&books.0);
        books.0.receiver.answer_by(move |request| {
            shared
                .upgrade()
                .map_or_else(Answer::ok, |shared| shared.note_arrival(request))
        });
        books
    }

    /// From now on what others got is counted beside each event. Once.
    pub(super) fn compare_with(&self, others: impl Fn() -> Others + Send + Sync + 'static) {
        let first = self.0.others.set(Box::new(others));
        assert!(first.is_ok(), "there is one campaign per book");
    }

    /// The URL of one of [`PATHS`].
    pub(super) fn url(&self, path: &str) -> String {
        self.0.receiver.url(path)
    }

    /// Closed while the receiver is to hold its answers back.
    pub(super) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// Before events are written, together in one transaction: their numbers.
    pub(super) fn begin(&self, way: Way, count: usize) -> Range<usize> {
        let others = self.0.others();
        let mut pages = self.pages();
        let group = pages.events.len();
        let begun = pages.moment(others);
        pages.events.resize_with(group + count, || Entry {
            fate: Fate::Open,
            way,
            group,
            begun,
            committed: None,
            endpoints: Default::default(),
        });
        group..group + count
    }

    /// What a writer learnt of some of its events.
    pub(super) fn decide(&self, events: Range<usize>, fate: Fate) {
        let others = self.0.others();
        let mut pages = self.pages();
        for number in events {
            pages.events[number].fate = fate;
            if fate == Fate::Committed {
                pages.events[number].committed = Some(pages.moment(others));
                pages.committed += 1;
            }
        }
    }

    /// A write was answered otherwise than by success, or not at all.
    pub(super) fn note_refusal(&self, what: &str) {
        *self.pages().refusals.entry(what.to_owned()).or_default() += 1;
    }

    /// How many were, at paths that begin with `start`.
    pub(super) fn refused(&self, start: &str) -> u64 {
        let pages = self.pages();
        let refusals = pages.refusals.iter().filter(|(what, _)| what.starts_with(start));
        refusals.map(|(_, times)| times).sum()
    }

    /// Something that must never happen.
    pub(super) fn note_fault(&self, fault: String) {
        self.0.note_fault(fault);
    }

    /// Waits for the first such thing.
    pub(super) async fn fault(&self) -> anyhow::Error {
        let mut faults = self.0.faults.subscribe();
        match faults.wait_for(|faults| !faults.is_empty()).await {
            Ok(faults) => anyhow!("{} faults, the first: {}", faults.len(), faults[0]),
            Err(_) => anyhow!("the books are closed"),
        }
    }

    /// Committed events that one of the endpoints has not accepted yet, roughly.
    pub(super) fn outstanding(&self) -> u64 {
        let arrived = *self.0.arrived.borrow() / PATHS.len() as u64;
        self.pages().committed.saturating_sub(arrived)
    }

    /// How many events were begun.
    pub(super) fn begun(&self) -> usize {
        self.pages().events.len()
    }

    /// How long some of the committed events took to their endpoints, in time and in places.
    pub(super) fn passages(&self, events: Range<usize>) -> Vec<Passage> {
        let pages = self.pages();
        let events = &pages.events[events];
        events
            .iter()
            .flat_map(|event| {
                event
                    .endpoints
                    .iter()
                    .enumerate()
                    .filter_map(|(endpoint, arrivals)| {
                        Some(Passage {
                            way: event.way,
                            endpoint,
                            begun: event.begun,
                            committed: event.committed?,
                            receipt: arrivals.first?,
                        })
                    })
            })
            .collect()
    }

    /// Where the campaign stands, for people.
    pub(super) fn progress(&self) -> String {
        let committed = self.pages().committed;
        format!(
            "{committed} events committed, {} arrivals",
            *self.0.arrived.borrow()
        )
    }

    /// Waits until every committed event has been accepted by every endpoint.
    pub(super) async fn all_arrived(&self) -> Result<()> {
        let mut arrivals = self.0.arrived.subscribe();
        let mut missing = self.missing();
        while let Some((number, path)) = missing.last() {
            self.no_faults()?;
            if self.accepted(*number, path).is_some_and(|times| times > 0) {
                missing.pop();
            } else if timeout(PATIENCE, arrivals.changed()).await.is_err() {
                let lost = self.missing();
                bail!(
                    "{} committed events are lost: nothing arrived for {PATIENCE:?}; the first is {:?}",
                    lost.len(),
                    lost.first()
                );
            }
        }
        Ok(())
    }

    /// What holds whatever happened.
    pub(super) fn judge(&self) -> Result<Totals> {
        self.no_faults()?;
        let pages = self.pages();
        pages.judge_identity()?;
        pages.judge_groups()?;
        Ok(pages.totals())
    }

    /// How often each event was accepted at each endpoint.
    pub(super) fn accepted(&self, number: usize, path: &str) -> Option<u32> {
        let at = PATHS.iter().position(|known| *known == path)?;
        Some(self.pages().events.get(number)?.endpoints[at].accepted)
    }

    fn missing(&self) -> Vec<(usize, &'static str)> {
        let pages = self.pages();
        let committed = pages.events.iter().enumerate();
        committed
            .filter(|(_, event)| event.fate == Fate::Committed)
            .flat_map(|(number, event)| {
                let missing = PATHS.into_iter().zip(&event.endpoints);
                missing.filter_map(move |(path, arrivals)| (arrivals.accepted == 0).then_some((number, path)))
            })
            .collect()
    }

    fn no_faults(&self) -> Result<()> {
        let faults = self.0.faults.borrow();
        ensure!(
            faults.is_empty(),
            "{} faults, the first: {:?}",
            faults.len(),
            faults.first()
        );
        Ok(())
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.pages()
    }
}

impl Shared {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        // A failure elsewhere must keep its own message.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_fault(&self, fault: String) {
        self.faults.send_modify(|faults| faults.push(fault));
    }

    fn others(&self) -> Others {
        self.others.get().map_or_else(Others::default, |count| count())
    }

    fn note_arrival(&self, request: &ReceivedRequest) -> Answer {
        let others = self.others();
        let noted = self.pages().note_arrival(request, others);
        let answer = noted.unwrap_or_else(|fault| {
            self.note_fault(fault);
            Answer::ok()
        });
        self.arrived.send_modify(|count| *count += 1);
        answer.held_by(&self.gate)
    }
}

impl Pages {
    fn moment(&self, others: Others) -> Moment {
        Moment {
            at: Instant::now(),
            own: self.committed,
            others,
        }
    }

    fn note_arrival(&mut self, request: &ReceivedRequest, others: Others) -> Result<Answer, String> {
        let at = PATHS
            .iter()
            .position(|path| *path == request.uri.path())
            .ok_or_else(|| format!("a request to {}", request.uri))?;
        let number = number_of(&request.body).ok_or_else(|| format!("not ours: {:?}", request.body))?;
        let id = request.header("webhook-id").ok_or("no webhook-id")?;
        let seen = (digest(id.as_bytes()), digest(&request.body));
        let moment = self.moment(others);
        let event = self
            .events
            .get_mut(number)
            .ok_or_else(|| format!("{number} arrived and was never written"))?;
        if event.fate == Fate::RolledBack {
            return Err(format!("{number} arrived and was rolled back"));
        }
        let arrivals = &mut event.endpoints[at];
        if arrivals.first.is_none() {
            arrivals.first = Some(Receipt {
                order: self.arrivals,
                moment,
            });
            self.arrivals += 1;
        }
        if *arrivals.seen.get_or_insert(seen) != seen {
            return Err(format!(
                "{number} came under another id or with another body: {request:?}"
            ));
        }
        if at == FLAKY && number % REFUSED_ONE_IN == 3 && arrivals.refused == 0 {
            arrivals.refused += 1;
            return Ok(Answer::status(503));
        }
        arrivals.accepted += 1;
        Ok(Answer::ok())
    }

    /// One id per event, the same at all endpoints.
    fn judge_identity(&self) -> Result<()> {
        let mut owners = HashMap::new();
        for (number, event) in self.events.iter().enumerate() {
            let mut ids = event.endpoints.iter().filter_map(|arrivals| arrivals.seen);
            let Some((id, _)) = ids.next() else { continue };
            ensure!(ids.all(|(other, _)| other == id), "{number} came under two ids");
            if let Some(other) = owners.insert(id, number) {
                bail!("{number} and {other} came under one id");
            }
        }
        Ok(())
    }

    /// Committed means everywhere, rolled back nowhere; otherwise all of a transaction or nothing.
    fn judge_groups(&self) -> Result<()> {
        let mut open: HashMap<usize, bool> = HashMap::new();
        for (number, event) in self.events.iter().enumerate() {
            let came = event
                .endpoints
                .iter()
                .filter(|arrivals| arrivals.accepted > 0)
                .count();
            let refused_only = event
                .endpoints
                .iter()
                .any(|arrivals| arrivals.refused > 0 && arrivals.accepted == 0);
            ensure!(!refused_only, "{number} was refused once and never sent again");
            match event.fate {
                Fate::Committed => ensure!(came == PATHS.len(), "{number} was committed and is lost"),
                Fate::RolledBack => ensure!(came == 0, "{number} was rolled back and arrived"),
                Fate::Open => {
                    ensure!(
                        came == 0 || came == PATHS.len(),
                        "{number} came to some of its endpoints"
                    );
                    let whole = *open.entry(event.group).or_insert(came > 0);
                    ensure!(
                        whole == (came > 0),
                        "a part of the transaction of {} arrived",
                        event.group
                    );
                }
            }
        }
        Ok(())
    }

    fn totals(&self) -> Totals {
        let count = |fate| self.events.iter().filter(|event| event.fate == fate).count();
        let arrivals = || self.events.iter().flat_map(|event| &event.endpoints);
        Totals {
            committed: count(Fate::Committed),
            rolled_back: count(Fate::RolledBack),
            unknown: count(Fate::Open),
            unknown_arrived: self
                .events
                .iter()
                .filter(|event| event.fate == Fate::Open && event.endpoints[0].accepted > 0)
                .count(),
            arrivals: arrivals().map(|at| u64::from(at.accepted)).sum(),
            duplicates: arrivals()
                .map(|at| u64::from(at.accepted.saturating_sub(1)))
                .sum(),
            most_of_one: arrivals().map(|at| at.accepted).max().unwrap_or_default(),
            refusals: self.refusals.clone(),
        }
    }
}

/// An own event's `data.number`; of a customer, the end of its slug.
fn number_of(body: &[u8]) -> Option<usize> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let data = &body["data"];
    let slug = || data["slug"].as_str()?.rsplit('-').next()?.parse().ok();
    data["number"]
        .as_u64()
        .map(|number| number as usize)
        .or_else(slug)
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
