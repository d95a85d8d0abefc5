//! [`DeadLetters`] over RabbitMQ: letters are taken without acknowledgement and go back when the channel ends.

use std::sync::Arc;

use async_trait::async_trait;
use lapin::{
    message::BasicGetMessage,
    options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use super::{
    Shared, confirm,
    consumer::message,
    declare,
    link::{Link, lost},
};
use crate::{BrokerError, DeadLetter, DeadLetters, Judge, Verdict};

const PART: &str = "dead_letters";

/// Letters, and bytes of them, redriven with one wait for the broker.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

pub(super) struct RabbitDeadLetters {
    shared: Arc<Shared>,
}

impl RabbitDeadLetters {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn connect(&self) -> Result<Link, BrokerError> {
        let link = Link::open(&self.shared, PART).await?;
        declare::declare(&link, &self.shared).await?;
        Ok(link)
    }

    async fn waiting(&self, link: &Link) -> Result<u64, BrokerError> {
        let look = link.channel.queue_declare(
            self.shared.topology.dead_letter_queue.as_str().into(),
            QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            },
            FieldTable::default(),
        );
        let queue = link.answer(look).await?.map_err(lost)?;
        Ok(queue.message_count().into())
    }

    async fn take(&self, link: &Link) -> Result<Option<BasicGetMessage>, BrokerError> {
        let queue = self.shared.topology.dead_letter_queue.as_str();
        let got = link.channel.basic_get(queue.into(), BasicGetOptions::default());
        link.answer(got).await?.map_err(lost)
    }

    /// Shows every letter to the judge; those that stay are held until the link closes, so that none is seen twice.
    async fn judge_all(&self, link: &Link, limit: u64, judge: &mut Judge<'_>) -> Result<(), BrokerError> {
        let mut redriven = Vec::new();
        let mut bytes = 0;
        for _ in 0..self.waiting(link).await?.min(limit) {
            let Some(got) = self.take(link).await? else { break };
            let tag = got.delivery.delivery_tag;
            let letter = letter(got);
            match judge(&letter) {
                Verdict::Keep => {}
                Verdict::Discard => acknowledge(link, tag).await?,
                Verdict::Redrive => {
                    bytes += letter.message.body().len();
                    redriven.push((tag, letter));
                }
            }
            if redriven.len() >= BATCH || bytes >= BATCH_BYTES {
                self.redrive(link, &mut redriven).await?;
                bytes = 0;
            }
        }
        self.redrive(link, &mut redriven).await
    }

    /// Back into the queues they fell out of; past the exchange, for its other queues had them the first time.
    async fn redrive(&self, link: &Link, letters: &mut Vec<(u64, DeadLetter)>) -> Result<(), BrokerError> {
        for one_queue in letters.chunk_by(|(_, one), (_, other)| one.queue == other.queue) {
            let Some((_, first)) = one_queue.first() else {
                continue;
            };
            let (exchange, routing_key) = if first.queue.is_empty() {
                (self.shared.topology.exchange.as_str(), "")
            } else {
                ("", first.queue.as_str())
            };
            let messages = one_queue.iter().map(|(_, letter)| &letter.message);
            confirm::publish(link, exchange, routing_key, messages).await?;
        }
        for (tag, _) in letters.drain(..) {
            acknowledge(link, tag).await?;
        }
        Ok(())
    }
}

async fn acknowledge(link: &Link, tag: u64) -> Result<(), BrokerError> {
    let sent = link.channel.basic_ack(tag, BasicAckOptions::default());
    link.answer(sent).await?.map_err(lost)
}

#[async_trait]
impl DeadLetters for RabbitDeadLetters {
    async fn count(&mut self) -> Result<u64, BrokerError> {
        let link = self.connect().await?;
        let count = self.waiting(&link).await;
        link.close().await;
        count
    }

    async fn examine(&mut self, limit: u64, judge: &mut Judge<'_>) -> Result<(), BrokerError> {
        let link = self.connect().await?;
        confirm::prepare(&link).await?;
        let judged = self.judge_all(&link, limit, judge).await;
        link.close().await;
        judged
    }
}

/// Reads what RabbitMQ notes of a message's death: the header `x-death` is a list of tables, latest first.
fn letter(got: BasicGetMessage) -> DeadLetter {
    let death = got.properties.headers().as_ref().and_then(latest_death).cloned();
    let field = |name| {
        death
            .as_ref()
            .and_then(|death: &FieldTable| death.inner().get(name))
    };
    DeadLetter {
        reason: field("reason").map(text).unwrap_or_default(),
        queue: field("queue").map(text).unwrap_or_default(),
        count: field("count").and_then(number).unwrap_or_default(),
        died_at: field("time").and_then(number),
        message: message(got.delivery),
    }
}

fn latest_death(headers: &FieldTable) -> Option<&FieldTable> {
    match headers.inner().get("x-death")? {
        AMQPValue::FieldArray(deaths) => match deaths.as_slice().first()? {
            AMQPValue::FieldTable(death) => Some(death),
            _ => None,
        },
        _ => None,
    }
}

fn text(value: &AMQPValue) -> String {
    match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::ShortString(text) => text.to_string(),
        _ => String::new(),
    }
}

fn number(value: &AMQPValue) -> Option<u64> {
    match value {
        AMQPValue::LongLongInt(number) => (*number).try_into().ok(),
        AMQPValue::LongInt(number) => (*number).try_into().ok(),
        AMQPValue::LongUInt(number) => Some((*number).into()),
        AMQPValue::Timestamp(number) => Some(*number),
        _ => None,
    }
}
