//! A write transaction that remembers what others must be told once it is committed.

use std::sync::Arc;

use demae_event::{EndpointId, Timestamp};
use sea_orm::DatabaseTransaction;
use tokio::sync::OwnedSemaphorePermit;

use crate::{StoreError, signals::Board};

/// An open write transaction. Dropping it rolls it back.
///
/// Domain functions take `&mut Transaction`: they write their change and their event through it, and whoever began it
/// commits both or neither.
#[derive(Debug)]
pub struct Transaction {
    inner: DatabaseTransaction,
    board: Arc<Board>,
    wrote_event: bool,
    waiting: Vec<EndpointId>,
    timer: Option<Timestamp>,
    /// In the line of requests, until its end.
    _turn: Option<OwnedSemaphorePermit>,
}

impl Transaction {
    pub(crate) fn new(
        inner: DatabaseTransaction,
        board: Arc<Board>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            inner,
            board,
            wrote_event: false,
            waiting: Vec::new(),
            timer: None,
            _turn: turn,
        }
    }

    /// The connection for SeaORM queries within this transaction.
    pub fn connection(&self) -> &DatabaseTransaction {
        &self.inner
    }

    pub(crate) fn note_event(&mut self) {
        self.wrote_event = true;
    }

    /// Deliveries to `endpoint` will wait, due at once.
    pub(crate) fn note_waiting(&mut self, endpoint: EndpointId) {
        if !self.waiting.contains(&endpoint) {
            self.waiting.push(endpoint);
        }
    }

    /// A timer will wake at `at`, before the workers look at the table by themselves.
    pub(crate) fn note_timer(&mut self, at: Timestamp) {
        self.timer = Some(self.timer.map_or(at, |earlier| earlier.min(at)));
    }

    /// Makes everything written durable, then wakes those who wait for what was written, here and in other processes.
    ///
    /// After an error the outcome is unknown, as with any commit: the answer may have been lost after the fact.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await?;
        if self.wrote_event {
            self.board.event_committed();
        }
        self.board.deliveries_wait(&self.waiting);
        if let Some(at) = self.timer {
            self.board.timer_set(at);
        }
        Ok(())
    }

    /// Undoes everything written.
    pub async fn rollback(self) -> Result<(), StoreError> {
        Ok(self.inner.rollback().await?)
    }
}
