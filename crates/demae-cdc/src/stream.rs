//! The stream of a slot, read ahead of whoever takes its changes, so that the next batch fills while the last one is
//! being written.
//!
//! - *Bounded*: what waits is bounded by its bytes. A count of messages would have to be short, each may be as large as a
//!   row can be, and a short one means batches of ten events with a flush of the disk for each.
//! - *In order*: an error comes where it happened, behind everything that was read before it.
//! - *Alive*: what was confirmed reaches the server within a second also while nothing is taken. While there is no room to
//!   read the server's questions, it gets signs of life unasked.
//! - *Never in the way*: a server that shuts down is let go at once, see `lookout`.

use std::{fmt, future, sync::Arc, time::Duration};

use bytes::Bytes;
use demae_event::{Clock as _, SystemClock};
use pgwire_replication::protocol::{BackendMessage, ReplicationCopyData, parse_copy_data};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    Fault, SourceConfig,
    connection::{Connection, FAREWELL, Purpose, Trouble},
    error,
    lookout::Lookout,
};

/// Bytes that wait to be taken. A message that is larger waits alone.
const MAX_BYTES: u32 = 8 * 1024 * 1024;
/// Messages that wait to be taken: a transaction of one row is three of them.
const MAX_MESSAGES: usize = 4_096;
/// How often a confirmed position is told to the server, at most.
const STATUS: Duration = Duration::from_secs(1);

/// A piece of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// What the output plugin wrote.
    Written(Bytes),
    /// Everything before this position of the log was sent.
    Sent(u64),
}

/// A stream that is being read. Dropped, it ends.
pub(crate) struct Stream {
    waiting: mpsc::Receiver<Waiting>,
    confirmed: watch::Sender<u64>,
    config: Arc<SourceConfig>,
}

/// A piece, or what ended the stream; and the room that it takes.
type Waiting = (Result<Piece, Fault>, Option<OwnedSemaphorePermit>);

impl Stream {
    /// Begins to follow the slot.
    pub(crate) async fn start(config: Arc<SourceConfig>) -> Result<Self, Fault> {
        let fault = |trouble: Trouble| trouble.fault(&config);
        let lookout = Lookout::post(&config).await.map_err(fault)?;
        let mut connection = Connection::open(&config, Purpose::Replication)
            .await
            .map_err(fault)?;
        connection.follow().await.map_err(fault)?;
        let (sender, waiting) = mpsc::channel(MAX_MESSAGES);
        let (confirmed, confirmations) = watch::channel(0);
        let pump = Pump {
            connection,
            waiting: sender.clone(),
            room: Arc::new(Semaphore::new(MAX_BYTES as usize)),
            confirmed: confirmations,
            told: 0,
            told_at: Instant::now(),
            sign_of_life: config.silence / 3,
        };
        tokio::spawn(run(pump, lookout, sender, config.clone()));
        Ok(Self {
            waiting,
            confirmed,
            config,
        })
    }

    /// The next piece. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Piece, Fault> {
        match self.waiting.recv().await {
            Some((piece, _)) => piece,
            None => Err(self.over()),
        }
    }

    /// The next piece, if it is there already.
    pub(crate) fn try_next(&mut self) -> Option<Result<Piece, Fault>> {
        match self.waiting.try_recv() {
            Ok((piece, _)) => Some(piece),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(Err(self.over())),
        }
    }

    /// Tells the server that it need not keep its log before this position.
    pub(crate) fn confirm(&self, position: u64) {
        self.confirmed.send_if_modified(|confirmed| {
            let further = position > *confirmed;
            *confirmed = position.max(*confirmed);
            further
        });
    }

    fn over(&self) -> Fault {
        error::connection(&self.config, "the stream is over")
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// Pumps until there is nothing more to pump, and leaves what ended it behind what was read.
async fn run(
    mut pump: Pump,
    mut lookout: Lookout,
    waiting: mpsc::Sender<Waiting>,
    config: Arc<SourceConfig>,
) {
    let end = tokio::select! {
        end = pump.run() => end,
        end = lookout.shutdown() => End::Trouble(end),
    };
    // First of all the connection: the server may be waiting for nothing else.
    let farewell = async {
        if pump.has_news() {
            // Saves the repetition of what was confirmed within the last second.
            let _ = timeout(FAREWELL, pump.tell()).await;
        }
        pump.connection.close().await;
    };
    tokio::join!(farewell, lookout.close());
    if let End::Trouble(trouble) = end {
        // Nobody waits for it if this fails.
        let _ = waiting.send((Err(trouble.fault(&config)), None)).await;
    }
}

enum End {
    Trouble(Trouble),
    /// The [`Stream`] is gone.
    Abandoned,
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

struct Pump {
    connection: Connection,
    waiting: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    confirmed: watch::Receiver<u64>,
    /// What the server was told last, and when.
    told: u64,
    told_at: Instant,
    sign_of_life: Duration,
}

impl Pump {
    async fn run(&mut self) -> End {
        loop {
            let handed_over = match self.read().await {
                Ok(Some(piece)) => self.hand_over(piece).await,
                Ok(None) => Ok(()),
                Err(end) => Err(end),
            };
            if let Err(end) = handed_over {
                return end;
            }
        }
    }

    /// The next piece, if the next message is one.
    async fn read(&mut self) -> Result<Option<Piece>, End> {
        let message = loop {
            // Unasked signs of life would keep the server from asking, and so from being heard itself.
            tokio::select! {
                biased;
                message = self.connection.read() => break message?,
                due = due(&mut self.confirmed, self.told, self.told_at, None) => {
                    due?;
                    self.tell().await?;
                }
            }
        };
        // A busy stream never comes to the second branch.
        if self.told_at.elapsed() >= STATUS && self.has_news() {
            self.tell().await?;
        }
        self.understand(message).await
    }

    async fn understand(&mut self, message: BackendMessage) -> Result<Option<Piece>, End> {
        if message.tag == b'c' {
            return Err(Trouble::Refused {
                code: String::new(),
                message: "the server ended the stream".to_owned(),
            }
            .into());
        }
        if !message.is_copy_data() {
            return Ok(None);
        }
        Ok(Some(
            match parse_copy_data(message.payload).map_err(Trouble::from)? {
                ReplicationCopyData::XLogData { data, .. } => Piece::Written(data),
                ReplicationCopyData::KeepAlive {
                    wal_end,
                    reply_requested,
                    ..
                } => {
                    if reply_requested {
                        self.tell().await?;
                    }
                    Piece::Sent(wal_end.0)
                }
            },
        ))
    }

    /// Waits for room, and keeps the server informed meanwhile.
    async fn hand_over(&mut self, piece: Piece) -> Result<(), End> {
        let size = size(&piece);
        let Self { waiting, room, .. } = &*self;
        let (waiting, room) = (waiting.clone(), room.clone());
        let mut place = std::pin::pin!(async move {
            let permit = room.acquire_many_owned(size).await.map_err(|_| End::Abandoned)?;
            let sent = waiting.send((Ok(piece), Some(permit))).await;
            sent.map_err(|_| End::Abandoned)
        });
        loop {
            tokio::select! {
                biased;
                placed = &mut place => return placed,
                due = due(&mut self.confirmed, self.told, self.told_at, Some(self.sign_of_life)) => {
                    due?;
                    self.tell().await?;
                }
            }
        }
    }

    fn has_news(&self) -> bool {
        *self.confirmed.borrow() != self.told
    }

    async fn tell(&mut self) -> Result<(), Trouble> {
        self.told = *self.confirmed.borrow_and_update();
        self.told_at = Instant::now();
        let now = SystemClock.now().as_micros();
        self.connection.confirm(self.told, now).await
    }
}

/// Returns when the server should hear of us: soon if there is news, otherwise after so long, or never.
async fn due(
    confirmed: &mut watch::Receiver<u64>,
    told: u64,
    told_at: Instant,
    otherwise: Option<Duration>,
) -> Result<(), End> {
    loop {
        let news = *confirmed.borrow_and_update() != told;
        let pause = if news { Some(STATUS) } else { otherwise };
        let pause = async {
            match pause {
                Some(pause) => sleep_until(told_at + pause).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            () = pause => return Ok(()),
            changed = confirmed.changed() => changed.map_err(|_| End::Abandoned)?,
        }
    }
}

/// What a piece weighs, in bytes.
fn size(piece: &Piece) -> u32 {
    let bytes = match piece {
        Piece::Written(data) => data.len(),
        Piece::Sent(_) => 0,
    };
    u32::try_from(bytes).unwrap_or(MAX_BYTES).clamp(1, MAX_BYTES)
}
