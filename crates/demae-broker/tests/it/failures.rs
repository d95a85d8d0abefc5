//! What RabbitMQ and the line to it can do to us. No event may be lost by any of it.

use demae_broker::{
    Broker as _, BrokerError, HELD_BYTES, Message,
    rabbitmq::{QueueKind, RabbitMq, Topology},
};
use demae_testkit::{
    proxy::FaultProxy,
    rabbitmq::{PrivateRabbitMq, TestBroker},
};

use crate::support::{PREFETCH, drain, ids, is_empty, messages, publish_at_last, rabbitmq, soon, tags, take};

/// Signs of life each second, so that a silent broker is noticed within a test's patience.
fn attentive(url: &str) -> String {
    format!("{url}?heartbeat=1&connection_timeout=1000")
}

#[tokio::test]
async fn a_broker_that_is_not_there_yet_is_waited_for() {
    let server = PrivateRabbitMq::start().await.unwrap();
    server.stop().await.unwrap();
    let broker = rabbitmq(&server.url(), QueueKind::Quorum);
    let mut publisher = broker.publisher();
    let error = publisher.publish(&messages(0..1)).await.unwrap_err();
    assert!(matches!(error, BrokerError::Unreachable { .. }), "{error:?}");
    let error = broker.consumer(PREFETCH).next(1).await.unwrap_err();
    assert!(matches!(error, BrokerError::Unreachable { .. }), "{error:?}");
    let batch = messages(0..1);
    let ((), _) = tokio::join!(
        async { server.start_again().await.unwrap() },
        publish_at_last(&mut publisher, &batch)
    );
    assert_eq!(ids(&take(&mut broker.consumer(PREFETCH), 1).await), ["0"]);
}

#[tokio::test]
async fn what_was_confirmed_survives_a_kill_of_the_broker() {
    let server = PrivateRabbitMq::start().await.unwrap();
    let broker = rabbitmq(&server.url(), QueueKind::Quorum);
    let mut publisher = broker.publisher();
    let mut consumer = broker.consumer(PREFETCH);
    publisher.publish(&messages(0..1)).await.unwrap();
    // RabbitMQ 3.10 writes down some seconds later that it has made a quorum queue; killed before that, it comes back with
    // a queue that answers nobody. A clean stop writes it at once.
    server.stop().await.unwrap();
    server.start_again().await.unwrap();
    publish_at_last(&mut publisher, &messages(1..500)).await;
    take(&mut consumer, 10).await;
    server.kill().await.unwrap();
    server.start_again().await.unwrap();
    let errors = publish_at_last(&mut publisher, &messages(500..600)).await;
    assert!(!errors.is_empty(), "the kill went unnoticed");
    // The old connection's end is told by the first call, which then connects again.
    drain(&mut consumer, 600).await;
    is_empty(&broker, &mut consumer).await;
}

#[tokio::test]
async fn a_frozen_broker_is_noticed_and_used_again_when_it_thaws() {
    let server = PrivateRabbitMq::start().await.unwrap();
    let broker = rabbitmq(&attentive(&server.url()), QueueKind::Classic);
    let mut publisher = broker.publisher();
    let mut consumer = broker.consumer(PREFETCH);
    publisher.publish(&messages(0..1)).await.unwrap();
    take(&mut consumer, 1).await;
    server.freeze().unwrap();
    // Heartbeats stay away: both get an error instead of waiting for ever.
    let error = soon(publisher.publish(&messages(1..2))).await.unwrap_err();
    assert!(matches!(error, BrokerError::Lost(_)), "{error:?}");
    let error = soon(consumer.next(1)).await.unwrap_err();
    assert!(matches!(error, BrokerError::Lost(_)), "{error:?}");
    server.thaw().unwrap();
    publish_at_last(&mut publisher, &messages(1..3)).await;
    drain(&mut consumer, 3).await;
}

#[tokio::test]
async fn a_line_cut_in_the_middle_of_confirms_duplicates_and_loses_nothing() {
    const ROUNDS: usize = 8;
    const BATCH: usize = 2_000;
    let server = TestBroker::create().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let broker = rabbitmq(&proxy.in_front_of(&server.url()).unwrap(), QueueKind::Quorum);
    let mut publisher = broker.publisher();
    publish_at_last(&mut publisher, &messages(0..1)).await;
    let mut failures = 0;
    for round in 0..ROUNDS {
        let batch = messages(round * BATCH..(round + 1) * BATCH);
        let cutting = async {
            // Some rounds are cut while the batch is on its way, some before it begins.
            for _ in 0..round * 5 {
                tokio::task::yield_now().await;
            }
            proxy.cut().await.unwrap();
            proxy.pass();
        };
        let (errors, ()) = tokio::join!(publish_at_last(&mut publisher, &batch), cutting);
        failures += errors.len();
    }
    assert!(failures > 0, "no cut met a batch");
    let seen = drain(
        &mut rabbitmq(&server.url(), QueueKind::Quorum).consumer(PREFETCH),
        ROUNDS * BATCH,
    )
    .await;
    assert!(seen.iter().all(|times| *times > 0));
}

#[tokio::test]
async fn unacknowledged_messages_survive_a_cut_and_prefetch_is_filled_again() {
    let server = TestBroker::create().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let direct = rabbitmq(&server.url(), QueueKind::Quorum);
    publish_at_last(&mut direct.publisher(), &messages(0..250)).await;
    let mut consumer =
        rabbitmq(&proxy.in_front_of(&server.url()).unwrap(), QueueKind::Quorum).consumer(PREFETCH);
    let held = take(&mut consumer, PREFETCH.into()).await;
    proxy.cut().await.unwrap();
    proxy.pass();
    soon(consumer.next(1)).await.unwrap_err();
    let again = take(&mut consumer, PREFETCH.into()).await;
    assert_eq!(ids(&again), ids(&held));
    // The old tags belong to nobody: were they taken for new ones, the first hundred would be gone now.
    consumer.acknowledge(&tags(&held)).await.unwrap();
    consumer.close().await;
    drain(&mut direct.consumer(PREFETCH), 250).await;
}

#[tokio::test]
async fn a_deleted_queue_is_told_and_made_again() {
    let server = TestBroker::create().await.unwrap();
    let broker = rabbitmq(&server.url(), QueueKind::Quorum);
    let mut publisher = broker.publisher();
    let mut consumer = broker.consumer(PREFETCH);
    publisher.publish(&messages(0..1)).await.unwrap();
    let taken = take(&mut consumer, 1).await;
    consumer.acknowledge(&tags(&taken)).await.unwrap();
    server
        .administration()
        .delete_queue("demae.events")
        .await
        .unwrap();
    // Mandatory: a message that no queue takes is an error. The publisher then makes the queue again.
    let error = publisher.publish(&messages(1..4)).await.unwrap_err();
    assert!(
        matches!(error, BrokerError::Unroutable { count: 3, of: 3, .. }),
        "{error:?}"
    );
    assert!(publish_at_last(&mut publisher, &messages(1..4)).await.is_empty());
    soon(consumer.next(1)).await.unwrap_err();
    assert_eq!(ids(&take(&mut consumer, 3).await), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_wrong_password_is_told_without_showing_it() {
    let server = TestBroker::create().await.unwrap();
    let url = server.url();
    let (account, rest) = url.split_once('@').unwrap();
    let (_, password) = account.rsplit_once(':').unwrap();
    let broker = rabbitmq(&format!("amqp://demae:hunter2@{rest}"), QueueKind::Quorum);
    let error = broker.publisher().publish(&messages(0..1)).await.unwrap_err();
    let told = format!("{error:?} {error} {broker:?}");
    assert!(told.contains("ACCESS_REFUSED"), "{told}");
    assert!(!told.contains("hunter2") && !told.contains(password), "{told}");
}

#[tokio::test]
async fn a_line_can_be_encrypted_and_the_certificate_is_checked() {
    let server = PrivateRabbitMq::start().await.unwrap();
    let broker = rabbitmq(&server.tls_url(), QueueKind::Classic);
    publish_at_last(&mut broker.publisher(), &messages(0..2)).await;
    assert_eq!(ids(&take(&mut broker.consumer(PREFETCH), 2).await), ["0", "1"]);
    let trusting_nobody = server.tls_url();
    let (url, _) = trusting_nobody.split_once('?').unwrap();
    let error = rabbitmq(url, QueueKind::Classic)
        .publisher()
        .publish(&messages(0..1))
        .await
        .unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("certificate"), "{source}");

    // The same authorities by another way than the URL.
    let (_, file) = trusting_nobody.split_once("cacertfile=").unwrap();
    let authorities = std::fs::read_to_string(file).unwrap();
    let url = url
        .parse::<demae_broker::BrokerUrl>()
        .unwrap()
        .trusting(&authorities);
    let broker = RabbitMq::new(
        url,
        Topology {
            queue_kind: QueueKind::Classic,
            ..Topology::default()
        },
    );
    publish_at_last(&mut broker.publisher(), &messages(2..3)).await;
}

/// Three heartbeats of nothing but a trickle: neither side may take the connection for dead, or every message that the
/// consumer holds would come again and be a step closer to the dead letters.
#[tokio::test]
#[ignore = "takes a minute: run it after a change of the gate or of the client library"]
async fn a_connection_that_is_not_read_for_a_minute_is_kept() {
    const SIZE: usize = 1024 * 1024;
    let server = TestBroker::create().await.unwrap();
    let broker = rabbitmq(&server.url(), QueueKind::Quorum);
    let batch: Vec<Message> = (0..4 * HELD_BYTES / SIZE)
        .map(|id| Message::new(id.to_string(), vec![b'x'; SIZE]).unwrap())
        .collect();
    broker.publisher().publish(&batch).await.unwrap();
    let mut consumer = broker.consumer(PREFETCH);
    let held = take(&mut consumer, HELD_BYTES / SIZE).await;
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    consumer.acknowledge(&tags(&held)).await.unwrap();
    let mut rest = 0;
    while rest < batch.len() - held.len() {
        let got = soon(consumer.next(100)).await.unwrap();
        assert!(got.iter().all(|delivery| !delivery.redelivered));
        consumer.acknowledge(&tags(&got)).await.unwrap();
        rest += got.len();
    }
}
