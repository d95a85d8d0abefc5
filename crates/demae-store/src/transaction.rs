//! A write transaction that remembers whether it wrote to the outbox.

use std::sync::Arc;

use sea_orm::DatabaseTransaction;
use tokio::sync::Notify;

use crate::StoreError;

/// An open write transaction. Dropping it rolls it back.
///
/// Domain functions take `&mut Transaction`: they write their change and their event through it, and whoever began it
/// commits both or neither.
#[derive(Debug)]
pub struct Transaction {
    inner: DatabaseTransaction,
    outbox_wake: Arc<Notify>,
    wrote_event: bool,
}

impl Transaction {
    pub(crate) fn new(inner: DatabaseTransaction, outbox_wake: Arc<Notify>) -> Self {
        Self {
            inner,
            outbox_wake,
            wrote_event: false,
        }
    }

    /// The connection for SeaORM queries within this transaction.
    pub fn connection(&self) -> &DatabaseTransaction {
        &self.inner
    }

    pub(crate) fn note_event(&mut self) {
        self.wrote_event = true;
    }

    /// Makes everything written durable, then wakes the outbox source of this process if there is an event.
    ///
    /// After an error the outcome is unknown, as with any commit: the answer may have been lost after the fact.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await?;
        if self.wrote_event {
            self.outbox_wake.notify_one();
        }
        Ok(())
    }

    /// Undoes everything written.
    pub async fn rollback(self) -> Result<(), StoreError> {
        Ok(self.inner.rollback().await?)
    }
}
