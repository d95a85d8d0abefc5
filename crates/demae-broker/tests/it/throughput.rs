//! How fast it is, for people: `cargo nextest run --release -p demae-broker --run-ignored only --no-capture throughput`.

use std::time::Duration;

use demae_broker::{Broker as _, Message, rabbitmq::QueueKind};
use demae_testkit::rabbitmq::PrivateRabbitMq;
use tokio::time::Instant;

use crate::support::{rabbitmq, tags};

const MESSAGES: usize = 200_000;
const BATCH: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, asserts nothing"]
async fn throughput() {
    let server = PrivateRabbitMq::start().await.unwrap();
    for kind in [QueueKind::Classic, QueueKind::Quorum] {
        let broker = rabbitmq(&server.url(), kind);
        if kind == QueueKind::Quorum {
            server
                .administration()
                .delete_queue("demae.events")
                .await
                .unwrap();
        }
        let mut publisher = broker.publisher();
        let body = "x".repeat(1_024);
        let batch: Vec<Message> = (0..BATCH)
            .map(|id| Message::new(id.to_string(), body.clone()).unwrap())
            .collect();
        publisher.publish(&batch).await.unwrap();
        let start = Instant::now();
        for _ in 1..MESSAGES / BATCH {
            publisher.publish(&batch).await.unwrap();
        }
        report(kind, "published", start.elapsed());
        let mut consumer = broker.consumer(2_000);
        let start = Instant::now();
        let mut count = 0;
        while count < MESSAGES {
            let deliveries = consumer.next(1_000).await.unwrap();
            count += deliveries.len();
            consumer.acknowledge(&tags(&deliveries)).await.unwrap();
        }
        report(kind, "consumed", start.elapsed());
    }
}

fn report(kind: QueueKind, what: &str, took: Duration) {
    println!(
        "{kind:?}: {:.0} messages of 1 KiB {what} per second",
        MESSAGES as f64 / took.as_secs_f64()
    );
}
