//! Reads the stream ahead of whoever takes its changes, so that the next batch fills while the last one is being written.
//!
//! The client's own buffer counts messages, each of which may be as large as a row can be, so it has to be short; a
//! short one means batches of ten events, and a flush of the disk for each. Here what waits is bounded by its bytes. The
//! order is the stream's, an error comes where it happened, and what was confirmed reaches the server also while nothing
//! is taken.

use std::{fmt, pin::pin, sync::Arc};

use pgwire_replication::{Lsn, PgWireError, ReplicationClient, client::ReplicationEvent};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// Bytes that wait to be taken. A message that is larger waits alone.
const MAX_BYTES: u32 = 8 * 1024 * 1024;
/// Messages that wait to be taken: a transaction of one row is three of them.
const MAX_MESSAGES: usize = 4_096;

type Received = Result<Option<ReplicationEvent>, PgWireError>;

/// A stream that is being read. Dropped, it ends.
pub(crate) struct ReadAhead {
    waiting: mpsc::Receiver<(Received, OwnedSemaphorePermit)>,
    confirmed: watch::Sender<u64>,
}

impl ReadAhead {
    /// Takes over a client whose stream has started.
    pub(crate) fn start(client: ReplicationClient) -> Self {
        let (sender, waiting) = mpsc::channel(MAX_MESSAGES);
        let (confirmed, confirmations) = watch::channel(0);
        tokio::spawn(read(client, sender, confirmations));
        Self { waiting, confirmed }
    }

    /// The next message; `None` once the server has ended the stream. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Received {
        self.waiting
            .recv()
            .await
            .map_or(Ok(None), |(received, _)| received)
    }

    /// The next message, if it is there already.
    pub(crate) fn try_next(&mut self) -> Option<Received> {
        match self.waiting.try_recv() {
            Ok((received, _)) => Some(received),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(Ok(None)),
        }
    }

    /// Tells the server that it need not keep its log before this position.
    pub(crate) fn confirm(&self, position: u64) {
        self.confirmed.send_replace(position);
    }
}

impl fmt::Debug for ReadAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadAhead").finish_non_exhaustive()
    }
}

async fn read(
    mut client: ReplicationClient,
    sender: mpsc::Sender<(Received, OwnedSemaphorePermit)>,
    mut confirmed: watch::Receiver<u64>,
) {
    let room = Arc::new(Semaphore::new(MAX_BYTES as usize));
    loop {
        let received = tokio::select! {
            changed = confirmed.changed() => Err(changed.is_ok()),
            received = client.recv() => Ok(received),
        };
        let received = match received {
            Ok(received) => received,
            Err(more) => {
                tell(&client, &mut confirmed);
                if more {
                    continue;
                }
                return;
            }
        };
        let over = !matches!(received, Ok(Some(_)));
        let size = size(&received);
        let mut hand_over = pin!(async {
            let Ok(permit) = room.clone().acquire_many_owned(size).await else {
                return;
            };
            // Nobody waits for it if this fails, and then there is nothing to confirm either.
            let _ = sender.send((received, permit)).await;
        });
        loop {
            let changed = tokio::select! {
                () = &mut hand_over => break,
                changed = confirmed.changed() => changed,
            };
            tell(&client, &mut confirmed);
            if changed.is_err() {
                return;
            }
        }
        if over {
            return;
        }
    }
}

fn tell(client: &ReplicationClient, confirmed: &mut watch::Receiver<u64>) {
    client.update_applied_lsn(Lsn(*confirmed.borrow_and_update()));
}

/// What a message weighs, in bytes.
fn size(received: &Received) -> u32 {
    let bytes = match received {
        Ok(Some(ReplicationEvent::XLogData { data, .. })) => data.len(),
        Ok(Some(ReplicationEvent::Message { content, .. })) => content.len(),
        _ => 0,
    };
    u32::try_from(bytes).unwrap_or(MAX_BYTES).clamp(1, MAX_BYTES)
}
