//! A broker that is short of memory takes nothing: publishing waits, consuming goes on, nothing is lost.

use std::time::Duration;

use demae_broker::{Broker as _, rabbitmq::QueueKind};
use demae_testkit::rabbitmq::PrivateRabbitMq;
use tokio::time::timeout;

use crate::support::{PREFETCH, drain, messages, publish_at_last, rabbitmq, soon, tags, take};

/// Many times what a publish takes; it shows that none is under way.
const A_WHILE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn publishing_waits_while_the_broker_is_blocked() {
    let server = PrivateRabbitMq::start().await.unwrap();
    let broker = rabbitmq(&server.url(), QueueKind::Classic);
    let mut publisher = broker.publisher();
    publish_at_last(&mut publisher, &messages(0..10)).await;
    server.set_memory_alarm(true).await.unwrap();
    let publishing = tokio::spawn(async move {
        publisher.publish(&messages(10..2_000)).await.unwrap();
        publisher
    });
    // What is there can be consumed, which is how a broker gets well again.
    let mut consumer = broker.consumer(PREFETCH);
    let taken = take(&mut consumer, 10).await;
    consumer.acknowledge(&tags(&taken)).await.unwrap();
    assert!(
        timeout(A_WHILE, consumer.next(1)).await.is_err(),
        "a blocked broker took something"
    );
    assert!(!publishing.is_finished());
    server.set_memory_alarm(false).await.unwrap();
    let mut publisher = soon(publishing).await.unwrap();
    publish_at_last(&mut publisher, &messages(0..10)).await;
    drain(&mut consumer, 2_000).await;
}
