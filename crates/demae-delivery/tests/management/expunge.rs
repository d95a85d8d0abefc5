//! Expunging payloads, by request and by age: the message stays, and what it carried is gone.

use demae_delivery::management::{
    Page, Retention,
    history::{AttemptState, HistoryFilter},
    recovery::RecoverInput,
};
use demae_event::{EventId, Scope, Timestamp};
use demae_store::{
    engine::{AttemptStatus, DeliveryState, Disposition},
    entity::message,
    repository::history::HistoryEntry,
};
use sea_orm::EntityTrait as _;

use crate::support::{NOW, World, code, seconds};

in_every_scope!(
    an_expunged_payload_is_gone_and_its_message_stays,
    a_delivery_in_flight_is_canceled_at_its_next_claim,
    an_expunged_event_is_not_sent_again,
    old_payloads_expire_and_their_messages_stay,
    payloads_stay_as_long_as_their_messages_unless_that_is_set,
);

async fn expunge(world: &World, scope: Scope, event: EventId, now: Timestamp) -> Timestamp {
    let mut transaction = world.begin().await;
    let at = world
        .management
        .expunge_event(&mut transaction, scope, event, now)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    at
}

async fn row(world: &World, event: EventId) -> message::Model {
    let found = message::Entity::find_by_id(event.0)
        .one(world.store.reader())
        .await;
    found.unwrap().unwrap()
}

async fn history(world: &World, event: EventId) -> Vec<HistoryEntry> {
    let filter = HistoryFilter {
        event_id: Some(event),
        ..HistoryFilter::default()
    };
    let listing = world
        .management
        .history(world.mine, &filter, Page::first(9))
        .await;
    listing.unwrap().items
}

/// That the newest entry in the history says why the delivery was canceled.
async fn assert_canceled(world: &World, event: EventId, entries: usize) -> HistoryEntry {
    let history = history(world, event).await;
    assert_eq!(history.len(), entries);
    let newest = history[0].clone();
    assert_eq!(AttemptState::from(newest.status), AttemptState::Canceled);
    assert_eq!(newest.number as usize, entries);
    let outcome = newest.outcome.as_ref().unwrap();
    assert_eq!(outcome.error_kind.as_deref(), Some("payload_expunged"));
    assert_eq!(outcome.error_detail.as_deref(), Some("the payload was expunged"));
    newest
}

async fn an_expunged_payload_is_gone_and_its_message_stays(world: &World) {
    let endpoint = world.endpoint().await.id;
    let event = world.waiting(endpoint).await;
    let other = world.waiting(endpoint).await;
    let mut transaction = world.begin().await;
    let foreign = world
        .management
        .expunge_event(&mut transaction, world.theirs, event, NOW)
        .await;
    assert_eq!(code(foreign), "ExpungeEvent.NotFound");
    transaction.rollback().await.unwrap();

    let at = NOW + seconds(5);
    assert_eq!(expunge(world, world.mine, event, at).await, at);
    let stored = row(world, event).await;
    assert_eq!(
        (stored.payload.as_str(), stored.headers, stored.expunged_at),
        ("", None, Some(at.as_micros()))
    );
    let view = world.management.event(world.mine, event).await.unwrap();
    assert_eq!(
        (view.message.data.get(), view.message.expunged_at),
        ("null", Some(at))
    );
    assert_eq!(view.deliveries[0].state, DeliveryState::Canceled);
    let entry = assert_canceled(world, event, 1).await;
    let detail = world.management.attempt(world.mine, entry.id).await.unwrap();
    assert_eq!(detail.request_body, None);
    assert!(detail.message.is_some());
    // Once more changes nothing.
    assert_eq!(expunge(world, world.mine, event, at + seconds(9)).await, at);
    assert_eq!(history(world, event).await.len(), 1);

    let due: Vec<_> = world.claim_at(endpoint, at).await;
    let due: Vec<_> = due.iter().map(|lease| lease.message.event_id).collect();
    assert_eq!(due, [other]);
    assert_eq!(row(world, other).await.expunged_at, None);
}

async fn a_delivery_in_flight_is_canceled_at_its_next_claim(world: &World) {
    let endpoint = world.endpoint().await.id;
    let event = world.waiting(endpoint).await;
    let leased = world.claim(endpoint).await;
    expunge(world, world.mine, event, NOW).await;
    let next = NOW + seconds(300);
    world
        .record(&leased[0], AttemptStatus::Failing, Disposition::Retry(next))
        .await;
    assert!(world.claim_at(endpoint, next).await.is_empty());
    let delivery = world.delivery(endpoint, event).await.unwrap();
    assert_eq!(delivery.state, DeliveryState::Canceled as i16);
    assert_canceled(world, event, 2).await;
}

async fn an_expunged_event_is_not_sent_again(world: &World) {
    let endpoint = world.endpoint().await.id;
    let (event, attempt) = world.failed(endpoint).await;
    expunge(world, world.mine, event, NOW).await;
    let delivery = world.delivery(endpoint, event).await.unwrap();
    assert_eq!(
        delivery.state,
        DeliveryState::Failed as i16,
        "what is finished stays"
    );
    let mut transaction = world.begin().await;
    let refused = world
        .management
        .retry_attempt(&mut transaction, world.mine, attempt, NOW)
        .await;
    assert_eq!(code(refused), "RetryAttempt.PayloadExpunged");
    let input = RecoverInput {
        since: NOW - seconds(60),
        until: None,
        states: Vec::new(),
    };
    let begun = NOW + seconds(1);
    let job = world
        .management
        .recover_endpoint(&mut transaction, world.mine, endpoint, input, begun)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    world.run_timers(Retention::default(), begun).await;
    let job = world.management.job(world.mine, job.id).await.unwrap();
    assert_eq!((job.examined, job.resent), (0, 0));
    assert_eq!(world.delivery(endpoint, event).await.unwrap(), delivery);
}

/// A message of mine, written then.
async fn written(world: &World, created_at: Timestamp) -> EventId {
    let event = world.event(created_at);
    world.message(&event).await;
    event.id
}

async fn is_expunged(world: &World, events: &[EventId]) -> Vec<bool> {
    let mut expunged = Vec::new();
    for event in events {
        expunged.push(row(world, *event).await.expunged_at.is_some());
    }
    expunged
}

async fn old_payloads_expire_and_their_messages_stay(world: &World) {
    let retention = Retention {
        payloads: Some(seconds(3_600)),
        ..Retention::default()
    };
    let endpoint = world.endpoint().await.id;
    let waiting = world.waiting(endpoint).await;
    let newer = written(world, NOW + seconds(60)).await;
    world.run_timers(retention, NOW + seconds(3_600)).await;
    assert_eq!(is_expunged(world, &[waiting, newer]).await, [false, false]);
    world.run_timers(retention, NOW + seconds(3_660)).await;
    assert_eq!(is_expunged(world, &[waiting, newer]).await, [true, false]);
    assert_canceled(world, waiting, 1).await;
    // What was written earlier and routed late is found soon, or a day later.
    let late = written(world, NOW).await;
    let very_late = written(world, NOW - seconds(7_200)).await;
    world.run_timers(retention, NOW + seconds(3_720)).await;
    assert_eq!(
        is_expunged(world, &[newer, late, very_late]).await,
        [true, true, false]
    );
    world.run_timers(retention, NOW + seconds(90_000)).await;
    assert_eq!(is_expunged(world, &[very_late]).await, [true]);
}

async fn payloads_stay_as_long_as_their_messages_unless_that_is_set(world: &World) {
    let event = written(world, NOW).await;
    world
        .run_timers(Retention::default(), NOW + seconds(29 * 86_400))
        .await;
    assert_eq!(is_expunged(world, &[event]).await, [false]);
    assert_eq!(row(world, event).await.payload, world.event(NOW).data.get());
}
