//! What the seam's documentation promises, once for each implementation.

use demae_broker::{
    BATCH_BYTES, Broker, DeadLetter, HELD_BYTES, Message, Rejection, Verdict, in_process::InProcess,
    rabbitmq::QueueKind,
};
use demae_testkit::rabbitmq::TestBroker;
use futures::FutureExt as _;

use crate::support::{PREFETCH, ids, is_empty, messages, publish_at_last, rabbitmq, soon, tags, take};

/// Makes a test per implementation out of each function here.
macro_rules! on_every_broker {
    ($($test:ident),* $(,)?) => {
        mod in_process {
            use super::*;
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(&InProcess::new(1_000, 3)).await;
                }
            )*
        }
        mod rabbitmq_quorum {
            use super::*;
            $(
                #[tokio::test]
                async fn $test() {
                    let server = TestBroker::create().await.unwrap();
                    super::$test(&rabbitmq(&server.url(), QueueKind::Quorum)).await;
                }
            )*
        }
        mod rabbitmq_classic {
            use super::*;
            $(
                #[tokio::test]
                async fn $test() {
                    let server = TestBroker::create().await.unwrap();
                    super::$test(&rabbitmq(&server.url(), QueueKind::Classic)).await;
                }
            )*
        }
    };
}

on_every_broker!(
    messages_come_whole_and_in_order,
    what_was_acknowledged_does_not_come_again,
    what_was_not_acknowledged_comes_again_after_a_close,
    what_was_not_acknowledged_comes_again_after_a_drop,
    tags_of_another_connection_do_nothing,
    acknowledging_some_leaves_the_others,
    consumers_share_a_queue,
    a_consumer_holds_no_more_than_its_prefetch,
    large_messages_come_in_parts_and_none_twice,
    a_requeued_message_comes_again_and_says_so,
    a_rejected_message_is_a_dead_letter,
    looking_at_dead_letters_loses_none,
    dead_letters_are_redriven_or_discarded,
    nothing_is_published_by_an_empty_batch,
);

async fn messages_come_whole_and_in_order(broker: &dyn Broker) {
    let mut publisher = broker.publisher();
    let odd = ["", "\u{0}\u{1f}", "ü€𝄞", &"x".repeat(300_000)]
        .map(|body| Message::new("odd", body.to_owned()).unwrap());
    soon(publisher.publish(&odd)).await.unwrap();
    soon(publisher.publish(&messages(0..50))).await.unwrap();
    let mut consumer = broker.consumer(PREFETCH);
    let taken = take(&mut consumer, odd.len() + 50).await;
    let expected: Vec<Message> = odd.into_iter().chain(messages(0..50)).collect();
    let got: Vec<Message> = taken.iter().map(|delivery| delivery.message.clone()).collect();
    assert!(got == expected, "{:?}", ids(&taken));
    assert!(taken.iter().all(|delivery| !delivery.redelivered));
    publisher.close().await;
    consumer.close().await;
}

async fn what_was_acknowledged_does_not_come_again(broker: &dyn Broker) {
    publish_at_last(&mut broker.publisher(), &messages(0..20)).await;
    let mut consumer = broker.consumer(PREFETCH);
    let taken = take(&mut consumer, 20).await;
    consumer.acknowledge(&tags(&taken)).await.unwrap();
    consumer.close().await;
    is_empty(broker, &mut broker.consumer(PREFETCH)).await;
}

async fn what_was_not_acknowledged_comes_again_after_a_close(broker: &dyn Broker) {
    publish_at_last(&mut broker.publisher(), &messages(0..3)).await;
    let mut consumer = broker.consumer(PREFETCH);
    take(&mut consumer, 3).await;
    consumer.close().await;
    let again = take(&mut broker.consumer(PREFETCH), 3).await;
    assert_eq!(ids(&again), ["0", "1", "2"]);
    assert!(again.iter().all(|delivery| delivery.redelivered));
}

async fn what_was_not_acknowledged_comes_again_after_a_drop(broker: &dyn Broker) {
    publish_at_last(&mut broker.publisher(), &messages(0..3)).await;
    take(&mut broker.consumer(PREFETCH), 3).await;
    assert_eq!(
        ids(&take(&mut broker.consumer(PREFETCH), 3).await),
        ["0", "1", "2"]
    );
}

async fn tags_of_another_connection_do_nothing(broker: &dyn Broker) {
    publish_at_last(&mut broker.publisher(), &messages(0..1)).await;
    let mut first = broker.consumer(PREFETCH);
    let old = tags(&take(&mut first, 1).await);
    first.acknowledge(&old).await.unwrap();
    // Twice is as good as once.
    first.acknowledge(&old).await.unwrap();
    first.reject(&old, Rejection::Requeue).await.unwrap();
    is_empty(broker, &mut first).await;
}

async fn acknowledging_some_leaves_the_others(broker: &dyn Broker) {
    publish_at_last(&mut broker.publisher(), &messages(0..10)).await;
    let mut consumer = broker.consumer(PREFETCH);
    let taken = tags(&take(&mut consumer, 10).await);
    // A gap, then the rest of the front, so that both ways of acknowledging are used.
    consumer
        .acknowledge(&[taken[0], taken[1], taken[4], taken[9]])
        .await
        .unwrap();
    consumer.acknowledge(&[taken[3], taken[2]]).await.unwrap();
    consumer.close().await;
    let again = take(&mut broker.consumer(PREFETCH), 4).await;
    assert_eq!(ids(&again), ["5", "6", "7", "8"]);
}

async fn consumers_share_a_queue(broker: &dyn Broker) {
    publish_at_last(&mut broker.publisher(), &messages(0..20)).await;
    let (mut one, mut other) = (broker.consumer(10), broker.consumer(10));
    let mut seen: Vec<String> = Vec::new();
    for consumer in [&mut one, &mut other] {
        let taken = take(consumer, 10).await;
        seen.extend(taken.iter().map(|delivery| delivery.message.id().to_owned()));
    }
    seen.sort_by_key(|id| id.parse::<u32>().unwrap());
    assert_eq!(seen, (0..20).map(|id| id.to_string()).collect::<Vec<_>>());
}

async fn a_consumer_holds_no_more_than_its_prefetch(broker: &dyn Broker) {
    publish_at_last(&mut broker.publisher(), &messages(0..6)).await;
    let mut narrow = broker.consumer(2);
    let held = take(&mut narrow, 2).await;
    // The others go to somebody who has room.
    let mut wide = broker.consumer(PREFETCH);
    assert_eq!(take(&mut wide, 4).await.len(), 4);
    assert!(
        narrow.next(10).now_or_never().is_none(),
        "it got more than its prefetch"
    );
    narrow.acknowledge(&tags(&held)).await.unwrap();
    publish_at_last(&mut broker.publisher(), &messages(6..106)).await;
    assert_eq!(take(&mut narrow, 2).await.len(), 2);
}

/// More bytes than a consumer may hold, far below its prefetch number.
async fn large_messages_come_in_parts_and_none_twice(broker: &dyn Broker) {
    const SIZE: usize = 1024 * 1024;
    let messages: Vec<Message> = (0..3 * HELD_BYTES / SIZE)
        .map(|id| Message::new(id.to_string(), vec![b'x'; SIZE]).unwrap())
        .collect();
    let mut publisher = broker.publisher();
    let mut consumer = broker.consumer(PREFETCH);
    let taking = async {
        let mut seen = Vec::new();
        let mut held = Vec::new();
        while seen.len() < messages.len() {
            let got = soon(consumer.next(usize::MAX)).await.unwrap();
            assert!(got.len() * SIZE <= BATCH_BYTES, "{} at once", got.len());
            assert!(got.iter().all(|delivery| !delivery.redelivered));
            seen.extend(ids(&got).into_iter().map(str::to_owned));
            held.extend(tags(&got));
            // As late as possible.
            if (held.len() + 1) * SIZE >= HELD_BYTES || seen.len() == messages.len() {
                consumer.acknowledge(&held).await.unwrap();
                held.clear();
            }
        }
        seen
    };
    let publishing = async { soon(publisher.publish(&messages)).await.unwrap() };
    let (seen, ()) = tokio::join!(taking, publishing);
    let sent: Vec<&str> = messages.iter().map(Message::id).collect();
    assert_eq!(seen, sent);
}

async fn a_requeued_message_comes_again_and_says_so(broker: &dyn Broker) {
    publish_at_last(&mut broker.publisher(), &messages(0..2)).await;
    let mut consumer = broker.consumer(PREFETCH);
    let taken = take(&mut consumer, 2).await;
    consumer
        .reject(&tags(&taken[..1]), Rejection::Requeue)
        .await
        .unwrap();
    consumer.acknowledge(&tags(&taken[1..])).await.unwrap();
    let again = take(&mut consumer, 1).await;
    assert_eq!(ids(&again), ["0"]);
    assert!(again[0].redelivered);
}

async fn a_rejected_message_is_a_dead_letter(broker: &dyn Broker) {
    publish_at_last(&mut broker.publisher(), &messages(0..2)).await;
    let mut consumer = broker.consumer(PREFETCH);
    let taken = take(&mut consumer, 2).await;
    consumer
        .reject(&tags(&taken[..1]), Rejection::DeadLetter)
        .await
        .unwrap();
    consumer.acknowledge(&tags(&taken[1..])).await.unwrap();
    is_empty(broker, &mut consumer).await;
    let letters = dead_letters(broker, 1).await;
    assert_eq!(letters[0].message, messages(0..1)[0]);
    assert_eq!((letters[0].reason.as_str(), letters[0].count), ("rejected", 1));
    assert!(!letters[0].queue.is_empty());
}

async fn looking_at_dead_letters_loses_none(broker: &dyn Broker) {
    bury(broker, 5).await;
    for _ in 0..5 {
        let letters = dead_letters(broker, 5).await;
        let seen: Vec<&str> = letters.iter().map(|letter| letter.message.id()).collect();
        assert_eq!(seen, ["0", "1", "2", "3", "4"]);
    }
    let mut some = Vec::new();
    let look = &mut |letter: &DeadLetter| {
        some.push(letter.message.id().to_owned());
        Verdict::Keep
    };
    broker.dead_letters().examine(2, look).await.unwrap();
    assert_eq!(some, ["0", "1"]);
}

async fn dead_letters_are_redriven_or_discarded(broker: &dyn Broker) {
    bury(broker, 6).await;
    let judge = &mut |letter: &DeadLetter| match letter.message.id() {
        "1" | "4" => Verdict::Redrive,
        "2" => Verdict::Discard,
        _ => Verdict::Keep,
    };
    broker.dead_letters().examine(u64::MAX, judge).await.unwrap();
    let left = dead_letters(broker, 3).await;
    let left: Vec<&str> = left.iter().map(|letter| letter.message.id()).collect();
    assert_eq!(left, ["0", "3", "5"]);
    let mut consumer = broker.consumer(PREFETCH);
    let taken = take(&mut consumer, 2).await;
    assert_eq!(ids(&taken), ["1", "4"]);
    assert_eq!(taken[0].message, messages(1..2)[0]);
    consumer.acknowledge(&tags(&taken)).await.unwrap();
    is_empty(broker, &mut consumer).await;
}

async fn nothing_is_published_by_an_empty_batch(broker: &dyn Broker) {
    broker.publisher().publish(&[]).await.unwrap();
    is_empty(broker, &mut broker.consumer(PREFETCH)).await;
}

/// Makes `count` dead letters.
async fn bury(broker: &dyn Broker, count: usize) {
    publish_at_last(&mut broker.publisher(), &messages(0..count)).await;
    let mut consumer = broker.consumer(PREFETCH);
    let taken = take(&mut consumer, count).await;
    consumer
        .reject(&tags(&taken), Rejection::DeadLetter)
        .await
        .unwrap();
    consumer.close().await;
}

/// The dead letters, once there are `count`: a broker moves them in its own time.
async fn dead_letters(broker: &dyn Broker, count: u64) -> Vec<DeadLetter> {
    let mut letters = broker.dead_letters();
    soon(async { while letters.count().await.unwrap() < count {} }).await;
    let mut seen = Vec::new();
    let look = &mut |letter: &DeadLetter| {
        seen.push(letter.clone());
        Verdict::Keep
    };
    letters.examine(u64::MAX, look).await.unwrap();
    assert_eq!(seen.len() as u64, count);
    seen
}
