//! The redelivery limit: what comes back too often becomes a dead letter, also when nobody rejects it.

use demae_broker::{Broker, DeadLetter, Rejection, Verdict, in_process::InProcess, rabbitmq::QueueKind};
use demae_testkit::rabbitmq::TestBroker;

use crate::support::{PREFETCH, is_empty, messages, publish_at_last, rabbitmq, soon, tags, take};

/// The limit in these tests is 3: the first delivery and three more.
const DELIVERIES: usize = 4;

#[tokio::test]
async fn a_poison_message_becomes_a_dead_letter_in_process() {
    requeue_until_dead(&InProcess::new(10, 3)).await;
}

#[tokio::test]
async fn a_poison_message_becomes_a_dead_letter_on_a_quorum_queue() {
    let server = TestBroker::create().await.unwrap();
    requeue_until_dead(&rabbitmq(&server.url(), QueueKind::Quorum)).await;
}

#[tokio::test]
async fn a_message_that_kills_its_consumer_becomes_a_dead_letter() {
    let server = TestBroker::create().await.unwrap();
    let broker = rabbitmq(&server.url(), QueueKind::Quorum);
    publish_at_last(&mut broker.publisher(), &messages(0..1)).await;
    for _ in 0..DELIVERIES {
        // Dropped without a word: the line is cut.
        take(&mut broker.consumer(PREFETCH), 1).await;
    }
    the_letter_says_why(&broker).await;
}

async fn requeue_until_dead(broker: &dyn Broker) {
    publish_at_last(&mut broker.publisher(), &messages(0..1)).await;
    let mut consumer = broker.consumer(PREFETCH);
    for _ in 0..DELIVERIES {
        let taken = take(&mut consumer, 1).await;
        consumer.reject(&tags(&taken), Rejection::Requeue).await.unwrap();
    }
    the_letter_says_why(broker).await;
    is_empty(broker, &mut consumer).await;
}

async fn the_letter_says_why(broker: &dyn Broker) {
    let mut letters = broker.dead_letters();
    soon(async { while letters.count().await.unwrap() == 0 {} }).await;
    let mut reasons = Vec::new();
    let look = &mut |letter: &DeadLetter| {
        reasons.push(letter.reason.clone());
        Verdict::Keep
    };
    letters.examine(10, look).await.unwrap();
    assert_eq!(reasons, ["delivery_limit"]);
}
