//! The seam without a broker: everything in memory, for one process and for tests.
//!
//! *Durable* means here: until the process ends. Everything else of the contract holds, and the same tests check it.

mod state;

use std::sync::Arc;

use async_trait::async_trait;

use self::state::Shared;
use crate::{
    Broker, BrokerError, Consumer, DeadLetters, Delivery, Judge, Message, Publisher, Rejection, Tag,
};

/// A queue in memory.
#[derive(Debug, Clone)]
pub struct InProcess {
    shared: Arc<Shared>,
}

impl InProcess {
    /// A queue for `capacity` messages and 32 MiB of them, acknowledged or not; publishing waits while it is full. A message that was given
    /// back more than `delivery_limit` times becomes a dead letter.
    pub fn new(capacity: usize, delivery_limit: u32) -> Self {
        Self {
            shared: Arc::new(Shared::new(capacity, delivery_limit)),
        }
    }
}

impl Broker for InProcess {
    fn publisher(&self) -> Box<dyn Publisher> {
        Box::new(Sender(self.shared.clone()))
    }

    fn consumer(&self, prefetch: u16) -> Box<dyn Consumer> {
        Box::new(Receiver {
            number: self.shared.new_consumer(),
            prefetch: prefetch.max(1).into(),
            shared: self.shared.clone(),
        })
    }

    fn dead_letters(&self) -> Box<dyn DeadLetters> {
        Box::new(Letters(self.shared.clone()))
    }
}

struct Sender(Arc<Shared>);

#[async_trait]
impl Publisher for Sender {
    async fn publish(&mut self, batch: &[Message]) -> Result<(), BrokerError> {
        for message in batch {
            self.0.push(message.clone()).await;
        }
        Ok(())
    }

    async fn close(self: Box<Self>) {}
}

struct Receiver {
    shared: Arc<Shared>,
    /// Tells this consumer's deliveries from the others'.
    number: u64,
    prefetch: usize,
}

#[async_trait]
impl Consumer for Receiver {
    async fn next(&mut self, limit: usize) -> Result<Vec<Delivery>, BrokerError> {
        Ok(self.shared.take(self.number, self.prefetch, limit.max(1)).await)
    }

    async fn acknowledge(&mut self, tags: &[Tag]) -> Result<(), BrokerError> {
        self.shared.acknowledge(self.number, tags);
        Ok(())
    }

    async fn reject(&mut self, tags: &[Tag], rejection: Rejection) -> Result<(), BrokerError> {
        self.shared.reject(self.number, tags, rejection);
        Ok(())
    }

    async fn close(self: Box<Self>) {}
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.give_back(self.number);
    }
}

struct Letters(Arc<Shared>);

#[async_trait]
impl DeadLetters for Letters {
    async fn count(&mut self) -> Result<u64, BrokerError> {
        Ok(self.0.dead_letters())
    }

    async fn examine(&mut self, limit: u64, judge: &mut Judge<'_>) -> Result<(), BrokerError> {
        for letter in self.0.judge(limit, judge) {
            self.0.redrive(letter).await;
        }
        Ok(())
    }
}
