//! [`Consumer`] over RabbitMQ.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _};
use lapin::{
    options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::task::AbortHandle;

use super::{
    Shared, declare,
    gate::Gate,
    link::{Link, lost},
};
use crate::{
    BATCH_BYTES, BrokerError, Consumer, Delivery, Message, Rejection, Tag, backoff::Backoff, metric,
};

const PART: &str = "consumer";

pub(super) struct RabbitConsumer {
    shared: Arc<Shared>,
    prefetch: u16,
    subscription: Option<Subscription>,
    /// Counts subscriptions; part of the tags, because RabbitMQ's numbers begin again with each.
    connections: u64,
    backoff: Backoff,
}

struct Subscription {
    deliveries: lapin::Consumer,
    /// Delivered and neither acknowledged nor rejected, with the bytes of their bodies.
    outstanding: BTreeMap<u64, usize>,
    gate: Arc<Gate>,
    _trickle: Trickle,
    link: Link,
}

/// Keeps a connection alive that is not read.
struct Trickle(AbortHandle);

impl Trickle {
    fn start(gate: Arc<Gate>, pause: Duration) -> Self {
        let drip = tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                gate.trickle();
            }
        });
        Self(drip.abort_handle())
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RabbitConsumer {
    pub(super) fn new(shared: Arc<Shared>, prefetch: u16) -> Self {
        Self {
            shared,
            // To RabbitMQ, 0 means without bound.
            prefetch: prefetch.max(1),
            subscription: None,
            connections: 0,
            backoff: Backoff::default(),
        }
    }

    async fn subscribe(&self) -> Result<Subscription, BrokerError> {
        let gate = Gate::of_consumer(self.shared.url.is_tls());
        let link = Link::open_gated(&self.shared, PART, gate.clone()).await?;
        let trickle = Trickle::start(gate.clone(), self.shared.url.heartbeat());
        declare::declare(&link, &self.shared).await?;
        let qos = link.channel.basic_qos(self.prefetch, BasicQosOptions::default());
        link.answer(qos).await?.map_err(lost)?;
        let consume = link.channel.basic_consume(
            self.shared.topology.queue.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let deliveries = link.answer(consume).await?.map_err(lost)?;
        Ok(Subscription {
            deliveries,
            outstanding: BTreeMap::new(),
            gate,
            _trickle: trickle,
            link,
        })
    }

    async fn try_next(&mut self, limit: usize) -> Result<Vec<Delivery>, BrokerError> {
        if self.subscription.is_none() {
            self.backoff.wait().await;
            let subscription = self.subscribe().await?;
            self.connections += 1;
            self.backoff.succeeded();
            self.subscription = Some(subscription);
        }
        match &mut self.subscription {
            Some(subscription) => subscription.next(self.connections, limit).await,
            None => Ok(Vec::new()),
        }
    }

    /// The subscription, if it is the one that these tags belong to.
    fn current(&mut self, tags: &[Tag]) -> Option<(&mut Subscription, BTreeSet<u64>)> {
        let connection = self.connections;
        let subscription = self.subscription.as_mut()?;
        let numbers = tags
            .iter()
            .filter(|tag| tag.connection == connection && subscription.outstanding.contains_key(&tag.number))
            .map(|tag| tag.number)
            .collect();
        Some((subscription, numbers))
    }

    /// Notes a failure, which whoever is told of it logs; the next call to `next` connects again.
    fn failed(&mut self) {
        self.subscription = None;
        self.backoff.failed();
        metrics::counter!(metric::FAILURES, "part" => PART).increment(1);
    }
}

impl Subscription {
    async fn next(&mut self, connection: u64, limit: usize) -> Result<Vec<Delivery>, BrokerError> {
        // No limit of time: a queue may be empty for days, and heartbeats tell whether the broker lives.
        let first = self.first().await;
        let mut got = vec![self.received(connection, first)?];
        let mut bytes = got
            .iter()
            .map(|delivery| delivery.message.body().len())
            .sum::<usize>();
        while got.len() < limit && bytes < BATCH_BYTES {
            match self.deliveries.next().now_or_never() {
                // What was got must be handed over before the failure is told; the stream tells it again.
                Some(Some(Ok(delivery))) => {
                    bytes += delivery.data.len();
                    got.push(self.delivery(connection, delivery));
                }
                _ => break,
            }
        }
        metrics::counter!(metric::CONSUMED).increment(got.len() as u64);
        Ok(got)
    }

    /// The next delivery. Whenever there is none, nothing that was read waits to be taken.
    async fn first(&mut self) -> Option<lapin::Result<lapin::message::Delivery>> {
        let Self { deliveries, gate, .. } = self;
        poll_fn(|context| {
            let next = deliveries.poll_next_unpin(context);
            if next.is_pending() {
                gate.emptied(context.waker());
            }
            next
        })
        .await
    }

    /// Everything up to this number is settled.
    fn settle_through(&mut self, number: u64) {
        let after = self.outstanding.split_off(&(number + 1));
        let settled = std::mem::replace(&mut self.outstanding, after);
        self.gate.settled(settled.len(), settled.values().sum());
    }

    fn settle_one(&mut self, number: u64) {
        if let Some(bytes) = self.outstanding.remove(&number) {
            self.gate.settled(1, bytes);
        }
    }

    fn received(
        &mut self,
        connection: u64,
        delivery: Option<lapin::Result<lapin::message::Delivery>>,
    ) -> Result<Delivery, BrokerError> {
        match delivery {
            Some(Ok(delivery)) => Ok(self.delivery(connection, delivery)),
            Some(Err(error)) => Err(lost(error)),
            None => Err(BrokerError::Lost(
                "the broker ended the subscription; the queue may be gone".into(),
            )),
        }
    }

    fn delivery(&mut self, connection: u64, delivery: lapin::message::Delivery) -> Delivery {
        self.gate.took(delivery.data.len());
        self.outstanding
            .insert(delivery.delivery_tag, delivery.data.len());
        Delivery {
            tag: Tag {
                connection,
                number: delivery.delivery_tag,
            },
            redelivered: delivery.redelivered,
            message: message(delivery),
        }
    }

    /// Acknowledges with as few frames as possible: all that comes before the first delivery that must stay goes in one.
    async fn acknowledge(&mut self, mut numbers: BTreeSet<u64>) -> Result<(), BrokerError> {
        let through = self
            .outstanding
            .keys()
            .take_while(|number| numbers.contains(number))
            .last()
            .copied();
        if let Some(through) = through {
            let after = numbers.split_off(&(through + 1));
            self.ack(through, true).await?;
            self.settle_through(through);
            numbers = after;
        }
        for number in numbers {
            self.ack(number, false).await?;
            self.settle_one(number);
        }
        Ok(())
    }

    async fn ack(&self, number: u64, multiple: bool) -> Result<(), BrokerError> {
        let sent = self.link.channel.basic_ack(number, BasicAckOptions { multiple });
        self.link.answer(sent).await?.map_err(lost)
    }

    async fn reject(&mut self, numbers: BTreeSet<u64>, rejection: Rejection) -> Result<(), BrokerError> {
        let options = BasicNackOptions {
            multiple: false,
            requeue: rejection == Rejection::Requeue,
        };
        for number in numbers {
            let sent = self.link.channel.basic_nack(number, options);
            self.link.answer(sent).await?.map_err(lost)?;
            self.settle_one(number);
            if rejection == Rejection::DeadLetter {
                metrics::counter!(metric::DEAD_LETTERED).increment(1);
            }
        }
        Ok(())
    }
}

/// A received message in the seam's form.
pub(super) fn message(delivery: lapin::message::Delivery) -> Message {
    let id = delivery.properties.message_id().as_ref();
    let id = id.map_or_else(String::new, ToString::to_string);
    Message::received(id, delivery.data.into())
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next(&mut self, limit: usize) -> Result<Vec<Delivery>, BrokerError> {
        let got = self.try_next(limit.max(1)).await;
        if got.is_err() {
            self.failed();
        }
        got
    }

    async fn acknowledge(&mut self, tags: &[Tag]) -> Result<(), BrokerError> {
        let Some((subscription, numbers)) = self.current(tags) else {
            return Ok(());
        };
        let done = subscription.acknowledge(numbers).await;
        if done.is_err() {
            self.failed();
        }
        done
    }

    async fn reject(&mut self, tags: &[Tag], rejection: Rejection) -> Result<(), BrokerError> {
        let Some((subscription, numbers)) = self.current(tags) else {
            return Ok(());
        };
        let done = subscription.reject(numbers, rejection).await;
        if done.is_err() {
            self.failed();
        }
        done
    }

    async fn close(mut self: Box<Self>) {
        if let Some(subscription) = self.subscription.take() {
            drop(subscription.deliveries);
            subscription.link.close().await;
        }
    }
}
