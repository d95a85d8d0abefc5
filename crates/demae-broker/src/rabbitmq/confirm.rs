//! Publishing with confirms, many messages at a time.

use std::{collections::VecDeque, pin::Pin};

use futures::{FutureExt as _, future::BoxFuture};
use lapin::{BasicProperties, Confirmation, options::BasicPublishOptions, options::ConfirmSelectOptions};

use super::link::{Link, lost};
use crate::{BrokerError, Message, metric};

/// Bounds of what is published and not yet confirmed. More would not be faster: the broker confirms in groups.
const MAX_MESSAGES: usize = 2_000;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// What bodies are in this system (CloudEvents 1.0, JSON event format).
const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Written to disk by durable queues.
const PERSISTENT: u8 = 2;

/// Asks the broker to confirm what is published on the link's channel.
pub(super) async fn prepare(link: &Link) -> Result<(), BrokerError> {
    let selected = link.channel.confirm_select(ConfirmSelectOptions::default());
    link.answer(selected).await?.map_err(lost)
}

/// Publishes in order and returns when every message is confirmed.
///
/// Must have the channel to itself: the library hands a returned message to *a* confirmation, not to its own, so that
/// returns can be counted among the messages of one call only.
pub(super) async fn publish(
    link: &Link,
    exchange: &str,
    routing_key: &str,
    messages: impl ExactSizeIterator<Item = &Message>,
) -> Result<(), BrokerError> {
    let mut batch = Batch::new(exchange, messages.len());
    for message in messages {
        batch.make_room(link, message.body().len()).await?;
        batch.send(link, exchange, routing_key, message)?;
    }
    batch.finish(link).await
}

/// What was published and not yet confirmed, oldest first, and what came of the rest.
struct Batch<'a> {
    under_way: VecDeque<(usize, BoxFuture<'a, lapin::Result<Confirmation>>)>,
    bytes: usize,
    exchange: String,
    of: usize,
    returned: usize,
    refused: usize,
}

impl<'a> Batch<'a> {
    fn new(exchange: &str, of: usize) -> Self {
        Self {
            under_way: VecDeque::new(),
            bytes: 0,
            exchange: exchange.to_owned(),
            of,
            returned: 0,
            refused: 0,
        }
    }

    /// Waits for confirmations until another message fits.
    async fn make_room(&mut self, link: &Link, bytes: usize) -> Result<(), BrokerError> {
        while self.under_way.len() >= MAX_MESSAGES
            || (self.bytes + bytes > MAX_BYTES && !self.under_way.is_empty())
        {
            self.settle_oldest(link).await?;
        }
        Ok(())
    }

    fn send(
        &mut self,
        link: &'a Link,
        exchange: &str,
        routing_key: &str,
        message: &'a Message,
    ) -> Result<(), BrokerError> {
        let sent = link.channel.basic_publish(
            exchange.into(),
            routing_key.into(),
            BasicPublishOptions {
                mandatory: true,
                ..BasicPublishOptions::default()
            },
            message.body(),
            properties(message),
        );
        let mut confirmed = async move { sent.await?.await }.boxed();
        // The first poll hands the message to the library, so that messages leave in this order. None of them can be
        // confirmed yet; but the library may know that the connection is gone.
        match Pin::new(&mut confirmed).now_or_never() {
            Some(Err(error)) => return Err(lost(error)),
            Some(Ok(confirmation)) => self.count(&confirmation),
            None => {
                self.bytes += message.body().len();
                self.under_way.push_back((message.body().len(), confirmed));
            }
        }
        Ok(())
    }

    async fn settle_oldest(&mut self, link: &Link) -> Result<(), BrokerError> {
        if let Some((bytes, confirmed)) = self.under_way.pop_front() {
            let confirmation = link.answer(confirmed).await?.map_err(lost)?;
            self.bytes -= bytes;
            self.count(&confirmation);
        }
        Ok(())
    }

    fn count(&mut self, confirmation: &Confirmation) {
        let (returned, refused) = match confirmation {
            Confirmation::Ack(returned) => (returned.is_some(), false),
            Confirmation::Nack(returned) => (returned.is_some(), true),
            // Confirms were asked for; a broker that gives none has promised nothing.
            Confirmation::NotRequested => (false, true),
        };
        self.returned += usize::from(returned);
        self.refused += usize::from(refused);
    }

    async fn finish(mut self, link: &Link) -> Result<(), BrokerError> {
        while !self.under_way.is_empty() {
            self.settle_oldest(link).await?;
        }
        if self.returned > 0 {
            return Err(BrokerError::Unroutable {
                count: self.returned,
                of: self.of,
                exchange: self.exchange,
            });
        }
        if self.refused > 0 {
            return Err(BrokerError::Refused {
                count: self.refused,
                of: self.of,
            });
        }
        metrics::counter!(metric::PUBLISHED).increment(self.of as u64);
        Ok(())
    }
}

fn properties(message: &Message) -> BasicProperties {
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(CONTENT_TYPE.into());
    if message.id().is_empty() {
        properties
    } else {
        properties.with_message_id(message.id().into())
    }
}
