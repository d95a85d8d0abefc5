//! What the tests share.

use std::time::Duration;

use demae_broker::{
    Broker, BrokerError, Consumer, Delivery, Message, Publisher, Tag,
    rabbitmq::{QueueKind, RabbitMq, Topology},
};
use tokio::time::timeout;

/// Longer than anything in a test may take; reached only by a broken one.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const PREFETCH: u16 = 100;

/// The broker at `url` with queues of that kind.
pub(crate) fn rabbitmq(url: &str, queue_kind: QueueKind) -> RabbitMq {
    let topology = Topology {
        queue_kind,
        delivery_limit: 3,
        ..Topology::default()
    };
    RabbitMq::new(url.parse().unwrap(), topology)
}

pub(crate) fn messages(ids: impl IntoIterator<Item = usize>) -> Vec<Message> {
    ids.into_iter()
        .map(|id| Message::new(id.to_string(), format!("body of {id}")).unwrap())
        .collect()
}

/// Bounded waiting.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work)
        .await
        .expect("this should have happened by now")
}

/// Publishes, again and again until it works, as the forwarder does. Returns the errors on the way.
pub(crate) async fn publish_at_last(
    publisher: &mut Box<dyn Publisher>,
    batch: &[Message],
) -> Vec<BrokerError> {
    let mut errors = Vec::new();
    soon(async {
        while let Err(error) = publisher.publish(batch).await {
            errors.push(error);
        }
    })
    .await;
    errors
}

/// Takes deliveries until there are `count`, going on after errors.
pub(crate) async fn take(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    soon(async {
        while taken.len() < count {
            if let Ok(more) = consumer.next(count - taken.len()).await {
                taken.extend(more);
            }
        }
    })
    .await;
    taken
}

/// Takes and acknowledges until every one of `ids` has come; returns how often each did.
pub(crate) async fn drain(consumer: &mut Box<dyn Consumer>, ids: usize) -> Vec<usize> {
    let mut seen = vec![0; ids];
    soon(async {
        while seen.contains(&0) {
            let Ok(deliveries) = consumer.next(1_000).await else {
                continue;
            };
            for delivery in &deliveries {
                seen[delivery.message.id().parse::<usize>().unwrap()] += 1;
            }
            let _ = consumer.acknowledge(&tags(&deliveries)).await;
        }
    })
    .await;
    seen
}

pub(crate) fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.message.id()).collect()
}

pub(crate) fn tags(deliveries: &[Delivery]) -> Vec<Tag> {
    deliveries.iter().map(|delivery| delivery.tag).collect()
}

/// That nothing is left: what is published now is what comes next.
pub(crate) async fn is_empty(broker: &dyn Broker, consumer: &mut Box<dyn Consumer>) {
    let last = Message::new("the last", "").unwrap();
    publish_at_last(&mut broker.publisher(), &[last]).await;
    let next = take(consumer, 1).await;
    assert_eq!(ids(&next), ["the last"]);
    consumer.acknowledge(&tags(&next)).await.unwrap();
}
