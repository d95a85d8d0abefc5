//! [`Publisher`] over RabbitMQ.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Shared, confirm, declare, link::Link};
use crate::{BrokerError, Message, Publisher, backoff::Backoff, metric};

const PART: &str = "publisher";

pub(super) struct RabbitPublisher {
    shared: Arc<Shared>,
    /// Taken out while it is used, so that a call that fails or is dropped leaves no connection of unknown state.
    link: Option<Link>,
    backoff: Backoff,
}

impl RabbitPublisher {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            link: None,
            backoff: Backoff::default(),
        }
    }

    async fn connected(&mut self) -> Result<Link, BrokerError> {
        if let Some(link) = self.link.take() {
            return Ok(link);
        }
        self.backoff.wait().await;
        let link = Link::open(&self.shared, PART).await?;
        declare::declare(&link, &self.shared).await?;
        confirm::prepare(&link).await?;
        Ok(link)
    }

    async fn try_publish(&mut self, batch: &[Message]) -> Result<Link, BrokerError> {
        let link = self.connected().await?;
        confirm::publish(&link, &self.shared.topology.exchange, "", batch.iter()).await?;
        Ok(link)
    }
}

#[async_trait]
impl Publisher for RabbitPublisher {
    async fn publish(&mut self, batch: &[Message]) -> Result<(), BrokerError> {
        if batch.is_empty() {
            return Ok(());
        }
        match self.try_publish(batch).await {
            Ok(link) => {
                self.link = Some(link);
                self.backoff.succeeded();
                Ok(())
            }
            Err(error) => {
                // Also after a message that no queue took: connecting again declares the queue again.
                self.backoff.failed();
                metrics::counter!(metric::FAILURES, "part" => PART).increment(1);
                Err(error)
            }
        }
    }

    async fn close(mut self: Box<Self>) {
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }
}
