//! The events of a source, in the order of its log, again after every trouble.
//!
//! - *Committed*: only what is committed is ever sent by the server, and it is offered once everybody can see it.
//! - *At least once*: what [`Reader::next`] offered is offered again until it is acknowledged; after a reconnection
//!   everything behind the last transaction that was confirmed whole comes again.
//! - *Order*: that of commits, and within a transaction that of statements.
//! - *Bounded*: a batch ends at `limit` changes or 8 MiB; a transaction of any size is given in parts, and the server
//!   keeps what has not been read.
//! - *Reconnection*: a connection that fails is made again, with growing pauses, by [`Reader::next`] itself. Only a fault
//!   that somebody must repair is returned; the next call looks again.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use demae_event::{Clock, Event};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    CdcError, Fault, MissingSlot, SourceConfig,
    ledger::Ledger,
    metric,
    monitor::Monitor,
    row::{Change, Unfit},
    session,
};
use session::Session;

/// The first pause after a failure; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest one after a failure that may pass by itself: nothing is read meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Names an item until it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

/// What the log holds.
#[derive(Debug, Clone)]
pub enum Item {
    /// An event.
    Event {
        /// For [`Reader::acknowledge`].
        position: Position,
        /// The event.
        event: Event,
    },
    /// A row or message that cannot become one. It is acknowledged like an event, once somebody has written it down.
    Rejected(Rejected),
}

impl Item {
    /// For [`Reader::acknowledge`].
    pub fn position(&self) -> Position {
        match self {
            Self::Event { position, .. } => *position,
            Self::Rejected(rejected) => rejected.position,
        }
    }
}

/// A row or message that cannot become an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// For [`Reader::acknowledge`].
    pub position: Position,
    /// What is wrong with it, for people.
    pub reason: String,
    /// What it looks like: at most 64 KiB.
    pub body: String,
    /// What stands in the row's column for the id, if it is a UUID.
    pub row_id: Option<Uuid>,
}

/// Reads one source. One at a time can be active for a slot; the others stand by within [`Reader::next`].
pub struct Reader {
    config: Arc<SourceConfig>,
    clock: Arc<dyn Clock>,
    state: State,
    ledger: Ledger,
    /// The changes of the last batch, and whether each is acknowledged.
    offered: Vec<(Change, bool)>,
    /// They were waited for, and can be given to the caller.
    visible: bool,
    /// The position of the first of them.
    first: u64,
    pause: Duration,
    paused_until: Option<Instant>,
    /// The slot must be made anew.
    renew: bool,
    _monitor: Monitor,
}

enum State {
    Closed,
    /// Kept here, so that a caller that stops waiting does not begin anew.
    Opening(Pin<Box<dyn Future<Output = Result<Session, Fault>> + Send>>),
    Open(Box<Session>),
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("source", &self.config.name)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader that connects when it is first asked. Needs tokio: the slot is measured by a task of its own.
    pub fn start(config: SourceConfig, clock: Arc<dyn Clock>) -> Self {
        let config = Arc::new(config);
        Self {
            _monitor: Monitor::start(config.clone()),
            clock,
            state: State::Closed,
            ledger: Ledger::default(),
            offered: Vec::new(),
            visible: false,
            first: 0,
            pause: FIRST_PAUSE,
            paused_until: None,
            renew: false,
            config,
        }
    }

    /// Whether the server, the user and the table are fit for it; changes nothing.
    pub async fn check(config: &SourceConfig) -> Result<(), CdcError> {
        session::check(config).await.map_err(|fault| fault.of(config))
    }

    /// The next items, at most `limit`, as soon as there is one. Cancel-safe.
    pub async fn next(&mut self, limit: usize) -> Result<Vec<Item>, CdcError> {
        while !self.visible || self.offered.iter().all(|(_, acknowledged)| *acknowledged) {
            if let Err(fault) = self.advance(limit.max(1)).await {
                self.forget();
                self.renew = self.can_renew(&fault);
                self.close(&fault);
                if !fault.is_transient() && !self.renew {
                    return Err(fault.of(&self.config));
                }
                tracing::warn!(source = self.config.name, %fault, "connecting again");
            }
        }
        Ok(self.items())
    }

    /// Says that these items, which the last [`Reader::next`] offered, are durable elsewhere. Others are passed over.
    pub fn acknowledge(&mut self, positions: impl IntoIterator<Item = Position>) {
        for position in positions {
            let index = position.0.checked_sub(self.first).map(|index| index as usize);
            if let Some((change, acknowledged @ false)) = index.and_then(|index| self.offered.get_mut(index))
            {
                *acknowledged = true;
                self.ledger.acknowledge(change.stretch);
            }
        }
        if let State::Open(session) = &mut self.state {
            session.confirm(&self.ledger);
        }
    }

    /// Takes the next changes, or waits until those that were taken can be seen. Nobody knows of them before.
    async fn advance(&mut self, limit: usize) -> Result<(), Fault> {
        if self.visible {
            self.forget();
        }
        self.open().await?;
        let State::Open(session) = &mut self.state else {
            return Ok(());
        };
        if self.offered.is_empty() {
            let mut taken = Vec::new();
            session.receive(limit, &mut self.ledger, &mut taken).await?;
            self.offered
                .extend(taken.into_iter().map(|change| (change, false)));
        }
        session
            .visible(self.offered.iter().map(|(change, _)| change))
            .await?;
        self.visible = true;
        self.pause = FIRST_PAUSE;
        Ok(())
    }

    fn forget(&mut self) {
        self.first += self.offered.len() as u64;
        self.offered.clear();
        self.visible = false;
    }

    async fn open(&mut self) -> Result<(), Fault> {
        if let State::Closed = self.state {
            if let Some(until) = self.paused_until {
                tokio::time::sleep_until(until).await;
            }
            self.ledger = Ledger::default();
            self.state = State::Opening(Box::pin(Session::open(self.config.clone(), self.renew)));
        }
        if let State::Opening(opening) = &mut self.state {
            let session = opening.as_mut().await?;
            self.state = State::Open(Box::new(session));
            self.active(true);
            tracing::info!(
                source = self.config.name,
                slot = self.config.slot,
                "reading the write-ahead log"
            );
        }
        Ok(())
    }

    /// A slot that cannot be read any more is no loss where everything is still in the table.
    fn can_renew(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::PublicationTooYoung { .. })
            && self.config.missing_slot == MissingSlot::CreateAndReadTable
    }

    fn close(&mut self, fault: &Fault) {
        if let State::Open(_) = self.state {
            metrics::counter!(metric::DISCONNECTS, "source" => self.config.name.clone()).increment(1);
        }
        self.state = State::Closed;
        self.active(false);
        self.paused_until = Some(Instant::now() + self.pause);
        self.pause = if fault.is_transient() || self.renew {
            (self.pause * 2).min(LONGEST_PAUSE).min(self.config.reconnect)
        } else {
            // Somebody must do something: no hurry, and no line in the log every moment.
            self.config.reconnect
        };
    }

    fn active(&self, active: bool) {
        metrics::gauge!(metric::ACTIVE, "source" => self.config.name.clone())
            .set(f64::from(u8::from(active)));
    }

    fn items(&self) -> Vec<Item> {
        let now = self.clock.now();
        let lag = metrics::histogram!(metric::LAG_SECONDS, "source" => self.config.name.clone());
        let mut rejected = 0;
        let items: Vec<Item> = (self.first..)
            .map(Position)
            .zip(&self.offered)
            .filter(|(_, (_, acknowledged))| !acknowledged)
            .map(|(position, (change, _))| {
                lag.record(now.since(change.place.committed_at).as_secs_f64());
                match change.event() {
                    Ok(event) => Item::Event { position, event },
                    Err(Unfit { reason, body, row_id }) => {
                        rejected += 1;
                        Item::Rejected(Rejected {
                            position,
                            reason,
                            body,
                            row_id,
                        })
                    }
                }
            })
            .collect();
        metrics::counter!(metric::REJECTED, "source" => self.config.name.clone()).increment(rejected);
        metrics::counter!(metric::EVENTS, "source" => self.config.name.clone())
            .increment(items.len() as u64 - rejected);
        items
    }
}
