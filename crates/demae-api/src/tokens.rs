//! Looks up what tokens stand for.
//!
//! # Guarantees
//! - An answer is at most [`FRESH_FOR`] old when a request uses it, counted from the moment the question was put to the
//!   database. After [`TokenLookup::expire`] every request asks anew.
//! - A client drives no question: a task with a deadline does, and requests only wait for its answer. A client that hangs
//!   up, or never reads, keeps no connection of the database.
//! - At most one question per token is in flight. Requests that may not use its answer share the next question.
//! - A flood of unknown tokens uses at most one in [`UNKNOWN_SHARE`] connections of the pool. A token that was valid at its
//!   last question has a budget of its own, so such a flood does not delay it.
//!
//! # Limits
//! At most [`MAX_UNKNOWN`] unknown tokens wait at a time, each for at most [`TURN_LIMIT`]; requests beyond these bounds get
//! [`LookupError::Busy`]. Tokens that open nothing are not remembered: a token that was created a moment ago is valid at
//! once.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use demae_control_plane::token::{self, Credential};
use demae_store::{Store, StoreError};
use futures::FutureExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, timeout},
};

/// How long the answer to "what does this token stand for" is used again.
pub const FRESH_FOR: Duration = Duration::from_millis(10);

/// Questions about unknown tokens use one in so many connections, and at least one connection.
const UNKNOWN_SHARE: u32 = 5;
/// Questions about known tokens use one in so many connections, and at least one connection.
const KNOWN_SHARE: u32 = 2;
/// Unknown tokens that are looked up or wait for their turn.
const MAX_UNKNOWN: usize = 1_024;
/// Known tokens. At this number, the less recently used half is forgotten.
const MAX_KNOWN: usize = 4_096;
/// The longest wait of an unknown token for its turn.
const TURN_LIMIT: Duration = Duration::from_secs(2);
/// The longest wait of a known token for its turn: as long as a request waits for a connection.
const KNOWN_TURN_LIMIT: Duration = Duration::from_secs(10);
/// The longest question, including the wait for a connection.
const QUESTION_LIMIT: Duration = Duration::from_secs(15);

/// SHA-256 of a token.
type Digest = [u8; 32];

/// What the token stands for; none if it is unknown.
pub type Found = Result<Option<Arc<Credential>>, LookupError>;

/// Why a token could not be looked up.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LookupError {
    /// Too many tokens wait for their turn.
    #[error("too many tokens are being looked up")]
    Busy,
    /// The database failed.
    #[error("the token could not be looked up")]
    Store(#[source] Arc<StoreError>),
    /// The question panicked; the panic's own message is in the log.
    #[error("the look-up of a token panicked")]
    Panicked,
}

/// Who knows tokens.
#[async_trait]
trait Questioned: Send + Sync {
    async fn find(&self, digest: &Digest) -> Result<Option<Credential>, StoreError>;
}

#[async_trait]
impl Questioned for Store {
    async fn find(&self, digest: &Digest) -> Result<Option<Credential>, StoreError> {
        token::find_credential(self, digest).await
    }
}

/// See the module's documentation.
pub struct TokenLookup(Arc<Shared>);

struct Shared {
    source: Arc<dyn Questioned>,
    tokens: Mutex<Tokens>,
    known_turns: Turns,
    unknown_turns: Turns,
}

/// How many questions may be with the database at a time.
#[derive(Clone)]
struct Turns {
    free: Arc<Semaphore>,
    /// The longest wait for one.
    limit: Duration,
}

impl Turns {
    fn new(count: u32, limit: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count.max(1) as usize)),
            limit,
        }
    }
}

#[derive(Default)]
struct Tokens {
    /// Valid at their last question.
    known: HashMap<Digest, Entry>,
    /// Being looked up for the first time.
    unknown: HashMap<Digest, Entry>,
}

#[derive(Default)]
struct Entry {
    /// The last question that was put to the database.
    asked: Option<Asked>,
    /// The question that is put next.
    next: Option<Answer>,
    /// Whether a task looks after this entry.
    driven: bool,
}

struct Asked {
    at: Instant,
    /// Whether nothing has made its answer obsolete since.
    usable: bool,
    answer: Answer,
}

type Answer = Arc<watch::Sender<Option<Found>>>;

/// How a request gets its answer.
enum Joined {
    At(Arc<Credential>),
    Later(watch::Receiver<Option<Found>>),
    Refused,
}

impl TokenLookup {
    /// Over the tokens of `store`.
    pub(crate) fn new(store: &Store) -> Self {
        Self::over(Arc::new(store.clone()), store.read_connections())
    }

    fn over(source: Arc<dyn Questioned>, connections: u32) -> Self {
        Self(Arc::new(Shared {
            source,
            tokens: Mutex::default(),
            known_turns: Turns::new(connections / KNOWN_SHARE, KNOWN_TURN_LIMIT),
            unknown_turns: Turns::new(connections / UNKNOWN_SHARE, TURN_LIMIT),
        }))
    }

    /// What the token of this digest stands for, as of at most [`FRESH_FOR`] ago.
    pub async fn credential(&self, digest: Digest) -> Found {
        let mut answer = match self.join(digest) {
            Joined::At(credential) => return Ok(Some(credential)),
            Joined::Later(answer) => answer,
            Joined::Refused => return Err(LookupError::Busy),
        };
        let answered = answer.wait_for(Option::is_some).await;
        answered
            .ok()
            .and_then(|found| found.clone())
            .unwrap_or(Err(LookupError::Panicked))
    }

    /// Makes every answer so far obsolete: a token was revoked.
    pub fn expire(&self) {
        let mut tokens = self.0.tokens();
        let Tokens { known, unknown } = &mut *tokens;
        for entry in known.values_mut().chain(unknown.values_mut()) {
            if let Some(asked) = &mut entry.asked {
                asked.usable = false;
            }
        }
    }

    fn join(&self, digest: Digest) -> Joined {
        let mut tokens = self.0.tokens();
        let Tokens { known, unknown } = &mut *tokens;
        let entry = match known.get_mut(&digest) {
            Some(entry) => entry,
            None if unknown.len() >= MAX_UNKNOWN && !unknown.contains_key(&digest) => return Joined::Refused,
            None => unknown.entry(digest).or_default(),
        };
        if let Some(asked) = &entry.asked
            && asked.usable
            && asked.at.elapsed() < FRESH_FOR
        {
            return match &*asked.answer.borrow() {
                Some(Ok(Some(credential))) => Joined::At(credential.clone()),
                _ => Joined::Later(asked.answer.subscribe()),
            };
        }
        if let Some(next) = &entry.next {
            return Joined::Later(next.subscribe());
        }
        let (next, answer) = watch::channel(None);
        entry.next = Some(Arc::new(next));
        if !entry.driven {
            entry.driven = true;
            tokio::spawn(drive(self.0.clone(), digest));
        }
        Joined::Later(answer)
    }
}

/// Puts the questions about one token to the database, until no request waits for another.
async fn drive(shared: Arc<Shared>, digest: Digest) {
    while let Some((next, turns)) = shared.next(&digest) {
        match turn(&next, turns).await {
            Turn::Taken(permit) => {
                shared.begin(&digest, &next);
                let found = ask(&*shared.source, &digest).await;
                drop(permit);
                shared.settle(&digest, &next, found);
            }
            Turn::Late => shared.refuse(&digest, &next),
            Turn::NotWanted => shared.forget_unless_wanted(&digest, &next),
        }
    }
}

enum Turn {
    Taken(OwnedSemaphorePermit),
    /// It did not come in time.
    Late,
    /// No request waits for the answer any more.
    NotWanted,
}

async fn turn(next: &Answer, turns: Turns) -> Turn {
    tokio::select! {
        biased;
        () = next.closed() => Turn::NotWanted,
        turn = timeout(turns.limit, turns.free.acquire_owned()) => match turn {
            Ok(Ok(permit)) => Turn::Taken(permit),
            _ => Turn::Late,
        },
    }
}

async fn ask(source: &dyn Questioned, digest: &Digest) -> Found {
    let question = AssertUnwindSafe(source.find(digest)).catch_unwind();
    match timeout(QUESTION_LIMIT, question).await {
        Ok(Ok(Ok(found))) => Ok(found.map(Arc::new)),
        Ok(Ok(Err(error))) => Err(LookupError::Store(Arc::new(error))),
        Ok(Err(_)) => Err(LookupError::Panicked),
        Err(_) => {
            let error = StoreError::Busy("the database did not answer in time".to_owned());
            Err(LookupError::Store(Arc::new(error)))
        }
    }
}

impl Shared {
    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        // A map of answers is whole at every moment, also after a panic.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The question that is put next, and whose turns it takes. If there is none, the entry is left to itself.
    fn next(&self, digest: &Digest) -> Option<(Answer, Turns)> {
        let mut tokens = self.tokens();
        if let Some(entry) = tokens.known.get_mut(digest) {
            entry.driven = entry.next.is_some();
            return Some((entry.next.clone()?, self.known_turns.clone()));
        }
        let next = tokens.unknown.get(digest).and_then(|entry| entry.next.clone());
        if next.is_none() {
            tokens.unknown.remove(digest);
        }
        Some((next?, self.unknown_turns.clone()))
    }

    /// From now on the question is with the database.
    fn begin(&self, digest: &Digest, next: &Answer) {
        let mut tokens = self.tokens();
        if let Some(entry) = tokens.entry(digest) {
            entry.next = None;
            entry.asked = Some(Asked {
                at: Instant::now(),
                usable: true,
                answer: next.clone(),
            });
        }
    }

    fn settle(&self, digest: &Digest, question: &Answer, found: Found) {
        let mut tokens = self.tokens();
        if matches!(&found, Ok(Some(credential)) if !credential.revoked) {
            tokens.remember(digest);
        } else if found.is_ok() {
            tokens.distrust(digest);
        } else if let Some(entry) = tokens.entry(digest) {
            // The next request asks again.
            entry.asked = None;
        }
        question.send_replace(Some(found));
    }

    fn refuse(&self, digest: &Digest, next: &Answer) {
        let mut tokens = self.tokens();
        if let Some(entry) = tokens.entry(digest) {
            entry.next = None;
        }
        next.send_replace(Some(Err(LookupError::Busy)));
    }

    fn forget_unless_wanted(&self, digest: &Digest, next: &Answer) {
        let mut tokens = self.tokens();
        // A request joins with the lock in its hands.
        if next.receiver_count() == 0
            && let Some(entry) = tokens.entry(digest)
        {
            entry.next = None;
        }
    }
}

impl Tokens {
    fn entry(&mut self, digest: &Digest) -> Option<&mut Entry> {
        match self.known.get_mut(digest) {
            Some(entry) => Some(entry),
            None => self.unknown.get_mut(digest),
        }
    }

    fn remember(&mut self, digest: &Digest) {
        let Some(entry) = self.unknown.remove(digest) else {
            return;
        };
        if self.known.len() >= MAX_KNOWN {
            self.forget_half();
        }
        self.known.insert(*digest, entry);
    }

    /// The token opens nothing (any more).
    fn distrust(&mut self, digest: &Digest) {
        if let Some(entry) = self.known.remove(digest) {
            self.unknown.insert(*digest, entry);
        }
        if let Some(entry) = self.unknown.get_mut(digest) {
            entry.asked = None;
        }
    }

    fn forget_half(&mut self) {
        let mut times: Vec<Instant> = self
            .known
            .values()
            .filter_map(|entry| Some(entry.asked.as_ref()?.at))
            .collect();
        if times.is_empty() {
            return;
        }
        let middle = times.len() / 2;
        let median = *times.select_nth_unstable(middle).1;
        self.known
            .retain(|_, entry| entry.driven || entry.asked.as_ref().is_some_and(|asked| asked.at > median));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use demae_control_plane::Actor;
    use demae_event::{OrganizationId, Timestamp};
    use uuid::Uuid;

    use super::*;

    /// Answers one question per permit.
    struct Gated {
        gate: Semaphore,
        asked: AtomicUsize,
        in_flight: AtomicUsize,
        most: AtomicUsize,
        revoked: std::sync::atomic::AtomicBool,
    }

    const VALID: Digest = [1; 32];

    #[async_trait]
    impl Questioned for Gated {
        async fn find(&self, digest: &Digest) -> Result<Option<Credential>, StoreError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            assert_ne!(digest, &[99; 32], "on purpose");
            Ok((*digest == VALID).then(|| Credential {
                token_id: Uuid::nil(),
                actor: Actor::operator(OrganizationId::new(Timestamp::from_secs(0))),
                expires_at: None,
                revoked: self.revoked.load(Ordering::SeqCst),
            }))
        }
    }

    fn over(connections: u32, permits: usize) -> (Arc<TokenLookup>, Arc<Gated>) {
        let source = Arc::new(Gated {
            gate: Semaphore::new(permits),
            asked: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            revoked: false.into(),
        });
        (Arc::new(TokenLookup::over(source.clone(), connections)), source)
    }

    fn stranger(number: u16) -> Digest {
        let mut digest = [7; 32];
        digest[..2].copy_from_slice(&number.to_be_bytes());
        digest
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_ends_though_every_client_is_gone() {
        let (tokens, source) = over(5, 0);
        let mut first = Box::pin(tokens.credential(stranger(0)));
        assert!((&mut first).now_or_never().is_none());
        until(|| source.in_flight.load(Ordering::SeqCst) == 1).await;
        // The clients hang up: one with its question at the database, the others while they wait for their turn.
        drop(first);
        for number in 1..300 {
            assert!(tokens.credential(stranger(number)).now_or_never().is_none());
        }
        source.gate.add_permits(300);
        until(|| tokens.0.tokens().unknown.is_empty()).await;
        assert_eq!(tokens.0.unknown_turns.free.available_permits(), 1);
        // A question that no client waits for is not begun.
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_unknown_tokens_keeps_to_its_share_and_known_tokens_pass_it() {
        let (tokens, source) = over(10, 1);
        assert!(tokens.credential(VALID).await.unwrap().is_some());
        tokio::time::advance(FRESH_FOR).await;
        let flood = futures::future::join_all(
            (0..MAX_UNKNOWN as u16).map(|number| tokens.credential(stranger(number))),
        );
        let mut flood = Box::pin(flood);
        assert!((&mut flood).now_or_never().is_none());
        until(|| source.in_flight.load(Ordering::SeqCst) == 2).await;
        let one_more = tokens.credential(stranger(u16::MAX)).now_or_never().unwrap();
        assert!(matches!(one_more, Err(LookupError::Busy)));
        // Not from memory: its answer is too old.
        let known = tokens.credential(VALID);
        let mut known = Box::pin(known);
        assert!((&mut known).now_or_never().is_none());
        until(|| source.in_flight.load(Ordering::SeqCst) == 3).await;
        source.gate.add_permits(3);
        assert!(known.await.unwrap().is_some());
        assert_eq!(source.most.load(Ordering::SeqCst), 3);
        // Whoever waits too long hears that it is the server's load, not the token.
        let busy = flood
            .await
            .into_iter()
            .filter(|found| matches!(found, Err(LookupError::Busy)));
        assert!(busy.count() >= MAX_UNKNOWN - 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_has_one_question_in_flight_and_late_requests_share_the_next() {
        let (tokens, source) = over(10, 0);
        let ask = || {
            let tokens = tokens.clone();
            tokio::spawn(async move { tokens.credential(VALID).await.unwrap().is_some() })
        };
        let first = [ask(), ask()];
        until(|| source.in_flight.load(Ordering::SeqCst) == 1).await;
        tokio::time::advance(FRESH_FOR).await;
        let late = [ask(), ask(), ask()];
        until(|| tokens.0.tokens().unknown[&VALID].next.is_some()).await;
        source.gate.add_permits(2);
        for request in first.into_iter().chain(late) {
            assert!(request.await.unwrap());
        }
        let counts = (
            source.asked.load(Ordering::SeqCst),
            source.most.load(Ordering::SeqCst),
        );
        assert_eq!(counts, (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_revocation_no_earlier_answer_is_used() {
        let (tokens, source) = over(10, 1);
        assert!(!tokens.credential(VALID).await.unwrap().unwrap().revoked);
        source.revoked.store(true, Ordering::SeqCst);
        source.gate.add_permits(1);
        tokens.expire();
        assert!(tokens.credential(VALID).await.unwrap().unwrap().revoked);
        until(|| tokens.0.tokens().known.is_empty() && tokens.0.tokens().unknown.is_empty()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_panics_is_an_error_and_the_next_one_is_asked() {
        let (tokens, source) = over(10, 2);
        for asked in 1..=2 {
            assert!(matches!(
                tokens.credential([99; 32]).await,
                Err(LookupError::Panicked)
            ));
            assert_eq!(source.asked.load(Ordering::SeqCst), asked);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn known_tokens_are_bounded_and_the_latest_stay() {
        let mut tokens = Tokens::default();
        let digest = |number: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            digest
        };
        for number in 0..2 * MAX_KNOWN {
            tokio::time::advance(Duration::from_millis(1)).await;
            let asked = Asked {
                at: Instant::now(),
                usable: true,
                answer: Arc::new(watch::channel(None).0),
            };
            tokens.unknown.insert(
                digest(number),
                Entry {
                    asked: Some(asked),
                    ..Entry::default()
                },
            );
            tokens.remember(&digest(number));
            assert!(tokens.known.len() <= MAX_KNOWN);
        }
        assert!(tokens.known.contains_key(&digest(2 * MAX_KNOWN - 1)));
        assert!(!tokens.known.contains_key(&digest(0)));
    }
}
