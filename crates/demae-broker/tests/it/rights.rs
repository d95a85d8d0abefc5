//! Exchanges and queues that an administrator made, and rights that are missing.

use demae_broker::{Broker as _, BrokerError, DeadLetter, Rejection, Verdict, rabbitmq::QueueKind};
use demae_testkit::rabbitmq::TestBroker;

use crate::support::{PREFETCH, ids, messages, publish_at_last, rabbitmq, take};

fn as_user(url: &str, user: &str) -> String {
    let (_, rest) = url.split_once('@').unwrap();
    format!("amqp://{user}@{rest}")
}

#[tokio::test]
async fn queues_are_made_as_quorum_queues() {
    let server = TestBroker::create().await.unwrap();
    publish_at_last(
        &mut rabbitmq(&server.url(), QueueKind::Quorum).publisher(),
        &messages(0..1),
    )
    .await;
    for queue in ["demae.events", "kaiten.events.dlq"] {
        assert_eq!(server.administration().queue_kind(queue).await.unwrap(), "quorum");
    }
}

#[tokio::test]
async fn a_queue_that_somebody_else_made_is_used_as_it_is() {
    let server = TestBroker::create().await.unwrap();
    server
        .administration()
        .declare_queue("demae.events", "classic")
        .await
        .unwrap();
    let broker = rabbitmq(&server.url(), QueueKind::Quorum);
    broker.publisher().publish(&messages(0..1)).await.unwrap();
    assert_eq!(ids(&take(&mut broker.consumer(PREFETCH), 1).await), ["0"]);
    assert_eq!(
        server.administration().queue_kind("demae.events").await.unwrap(),
        "classic"
    );
}

#[tokio::test]
async fn what_is_there_can_be_used_without_the_right_to_make_it() {
    let server = TestBroker::create().await.unwrap();
    publish_at_last(
        &mut rabbitmq(&server.url(), QueueKind::Quorum).publisher(),
        &messages(0..1),
    )
    .await;
    let user = server
        .administration()
        .create_user("^$", ".*", ".*")
        .await
        .unwrap();
    let broker = rabbitmq(&as_user(&server.url(), &user), QueueKind::Quorum);
    broker.publisher().publish(&messages(1..2)).await.unwrap();
    assert_eq!(ids(&take(&mut broker.consumer(PREFETCH), 2).await), ["0", "1"]);
}

#[tokio::test]
async fn a_missing_right_names_what_it_is_needed_for() {
    let server = TestBroker::create().await.unwrap();
    let user = server
        .administration()
        .create_user("^$", ".*", ".*")
        .await
        .unwrap();
    let broker = rabbitmq(&as_user(&server.url(), &user), QueueKind::Quorum);
    let error = broker.publisher().publish(&messages(0..1)).await.unwrap_err();
    assert!(
        matches!(&error, BrokerError::Declaration { what, .. } if what == "the exchange kaiten.events"),
        "{error:?}"
    );
}

/// The permissions in `docs/security.md`.
#[tokio::test]
async fn the_documented_permissions_suffice_and_a_reader_cannot_publish() {
    let server = TestBroker::create().await.unwrap();
    let own = r"^(demae|kaiten)\.";
    let written = r"^((demae|kaiten)\.|amq\.default$)";
    let user = server
        .administration()
        .create_user(own, written, own)
        .await
        .unwrap();
    let broker = rabbitmq(&as_user(&server.url(), &user), QueueKind::Quorum);
    publish_at_last(&mut broker.publisher(), &messages(0..1)).await;
    let mut consumer = broker.consumer(PREFETCH);
    let tags: Vec<_> = take(&mut consumer, 1)
        .await
        .iter()
        .map(|taken| taken.tag)
        .collect();
    consumer.reject(&tags, Rejection::DeadLetter).await.unwrap();
    let mut redriven = 0;
    while redriven == 0 {
        // A broker moves dead letters in its own time.
        let judge = &mut |_: &DeadLetter| {
            redriven += 1;
            Verdict::Redrive
        };
        broker.dead_letters().examine(10, judge).await.unwrap();
    }
    let taken = take(&mut consumer, 1).await;
    assert_eq!(ids(&taken), ["0"]);

    let reader = r"^reader\.";
    let user = server
        .administration()
        .create_user(reader, reader, r"^(reader\.|kaiten\.events$)")
        .await
        .unwrap();
    let reader = rabbitmq(&as_user(&server.url(), &user), QueueKind::Quorum);
    let refused = reader.publisher().publish(&messages(1..2)).await;
    assert!(refused.is_err(), "a reader has published");
}

#[tokio::test]
async fn other_queues_of_the_exchange_get_every_event_too() {
    let server = TestBroker::create().await.unwrap();
    let broker = rabbitmq(&server.url(), QueueKind::Quorum);
    publish_at_last(&mut broker.publisher(), &messages(0..1)).await;
    // As Kaiten's own programs see it: whatever the routing key, a fanout exchange takes it.
    assert!(
        server
            .administration()
            .publish("kaiten.events", "any", "{}")
            .await
            .unwrap()
    );
    let taken = take(&mut broker.consumer(PREFETCH), 2).await;
    assert_eq!(ids(&taken), ["0", ""]);
    assert_eq!(&taken[1].message.body()[..], b"{}");
}
