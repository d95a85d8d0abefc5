//! Manual retries and deliveries written besides the router's.

use demae_event::{EventId, Scope};
use demae_store::engine::AttemptStatus;
use demae_store::{
    engine::DeliveryState,
    repository::{
        deliveries::{self, Planned, Retry},
        stats::{self, EndpointStats},
    },
};

use super::Two;
use crate::support::{NOW, TestStore, grant, new_worker, seconds};

in_every_scope!(
    a_retry_keeps_what_was_planned,
    a_second_retry_does_not_forget_the_first_plan,
    a_retry_is_refused_while_an_attempt_is_under_way,
    many_are_retried_at_once,
    what_never_was_is_inserted_once,
    waiting_deliveries_are_canceled_in_bounded_chunks,
    stats_count_one_endpoint_within_a_window,
);

async fn retry(
    store: &TestStore,
    scope: Scope,
    key: (demae_event::EndpointId, EventId),
    after: u64,
) -> Retry {
    let mut transaction = store.begin().await;
    let retry = deliveries::retry(&mut transaction, scope, key, NOW + seconds(after))
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    retry
}

async fn a_retry_keeps_what_was_planned(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = store.endpoint(two.mine).await;
    let finished = [
        DeliveryState::Succeeded,
        DeliveryState::Failed,
        DeliveryState::Canceled,
    ];
    for state in [&[DeliveryState::Waiting][..], &finished].concat() {
        let event = store.message_at(two.mine, NOW, "A").await;
        store.delivery_in((two.mine, endpoint, event), state).await;
        assert_eq!(
            retry(store, two.theirs, (endpoint, event), 0).await,
            Retry::Missing
        );
        assert_eq!(retry(store, two.mine, (endpoint, event), 0).await, Retry::Planned);
        let row = store.delivery(endpoint, event).await;
        assert_eq!(
            (row.state, row.manual, row.due_at),
            (DeliveryState::Waiting as i16, true, NOW.as_micros())
        );
        assert_eq!(row.resume_state, Some(state as i16));
        assert_eq!(row.resume_due_at, Some((NOW + seconds(300)).as_micros()));
        assert_eq!((row.attempts, row.step), (2, 2));
    }
    // The engine hands all of it over with the lease.
    let leased = store.claim(endpoint, 10, grant(new_worker(), NOW)).await;
    assert_eq!(leased.len(), 4);
    assert!(leased.iter().all(|lease| lease.manual && lease.resume.is_some()));
}

async fn a_second_retry_does_not_forget_the_first_plan(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = store.endpoint(two.mine).await;
    let event = store.message_at(two.mine, NOW, "A").await;
    store
        .delivery_in((two.mine, endpoint, event), DeliveryState::Failed)
        .await;
    assert_eq!(retry(store, two.mine, (endpoint, event), 0).await, Retry::Planned);
    assert_eq!(retry(store, two.mine, (endpoint, event), 5).await, Retry::Planned);
    let row = store.delivery(endpoint, event).await;
    assert_eq!(row.resume_state, Some(DeliveryState::Failed as i16));
    assert_eq!(row.resume_due_at, Some((NOW + seconds(300)).as_micros()));
    assert_eq!(row.due_at, (NOW + seconds(5)).as_micros());
}

async fn a_retry_is_refused_while_an_attempt_is_under_way(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = store.endpoint(two.mine).await;
    let event = store.message_at(two.mine, NOW, "A").await;
    let lease = store
        .delivery_in((two.mine, endpoint, event), DeliveryState::Leased)
        .await;
    assert_eq!(
        retry(store, two.mine, (endpoint, event), 0).await,
        Retry::UnderWay
    );
    let row = store.delivery(endpoint, event).await;
    assert_eq!((row.lease, row.manual), (lease.map(|lease| lease.0), false));
    assert_eq!(
        retry(store, two.mine, (endpoint, EventId::new(NOW)), 0).await,
        Retry::Missing
    );
}

async fn many_are_retried_at_once(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = store.endpoint(two.mine).await;
    let mut events = vec![EventId::new(NOW)];
    for state in [
        DeliveryState::Failed,
        DeliveryState::Waiting,
        DeliveryState::Leased,
    ] {
        let event = store.message_at(two.mine, NOW, "A").await;
        store.delivery_in((two.mine, endpoint, event), state).await;
        events.push(event);
    }
    let mut transaction = store.begin().await;
    let planned = deliveries::retry_many(&mut transaction, two.theirs, endpoint, &events, NOW)
        .await
        .unwrap();
    assert_eq!(planned, 0);
    let planned = deliveries::retry_many(&mut transaction, two.mine, endpoint, &events, NOW)
        .await
        .unwrap();
    assert_eq!(planned, 2);
    assert_eq!(
        deliveries::retry_many(&mut transaction, two.mine, endpoint, &[], NOW)
            .await
            .unwrap(),
        0
    );
    transaction.commit().await.unwrap();
    let states = deliveries::states(store.store.reader(), two.mine, endpoint, &events)
        .await
        .unwrap();
    assert_eq!(states.iter().filter(|delivery| delivery.manual).count(), 2);
    assert_eq!(states.len(), 3);
    assert_eq!(
        deliveries::states(store.store.reader(), two.theirs, endpoint, &events)
            .await
            .unwrap(),
        []
    );
}

async fn what_never_was_is_inserted_once(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = store.endpoint(two.mine).await;
    let events = [
        store.message_at(two.mine, NOW, "A").await,
        store.message_at(two.mine, NOW, "A").await,
    ];
    store
        .delivery_in((two.mine, endpoint, events[0]), DeliveryState::Succeeded)
        .await;
    let planned = || {
        events
            .map(|event_id| Planned {
                event_id,
                delivered_name: "A".to_owned(),
            })
            .to_vec()
    };
    let mut transaction = store.begin().await;
    assert_eq!(
        deliveries::insert(&mut transaction, two.mine, endpoint, planned(), NOW)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        deliveries::insert(&mut transaction, two.mine, endpoint, planned(), NOW)
            .await
            .unwrap(),
        0
    );
    transaction.commit().await.unwrap();
    assert_eq!(
        store.delivery(endpoint, events[0]).await.state,
        DeliveryState::Succeeded as i16
    );
    let leased = store.claim(endpoint, 10, grant(new_worker(), NOW)).await;
    assert_eq!(
        leased
            .iter()
            .map(|lease| lease.message.event_id)
            .collect::<Vec<_>>(),
        [events[1]]
    );
}

async fn waiting_deliveries_are_canceled_in_bounded_chunks(store: &TestStore) {
    let two = Two::scopes(store).await;
    let (mine, theirs) = (store.endpoint(two.mine).await, store.endpoint(two.theirs).await);
    for state in [
        DeliveryState::Waiting,
        DeliveryState::Waiting,
        DeliveryState::Waiting,
        DeliveryState::Leased,
    ] {
        let event = store.message_at(two.mine, NOW, "A").await;
        store.delivery_in((two.mine, mine, event), state).await;
    }
    let event = store.message_at(two.theirs, NOW, "A").await;
    store
        .delivery_in((two.theirs, theirs, event), DeliveryState::Waiting)
        .await;
    let mut transaction = store.begin().await;
    assert_eq!(
        deliveries::cancel_waiting(&mut transaction, two.theirs, mine, 9)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        deliveries::cancel_waiting(&mut transaction, two.mine, mine, 2)
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        deliveries::cancel_waiting(&mut transaction, two.mine, mine, 2)
            .await
            .unwrap(),
        1
    );
    transaction.commit().await.unwrap();
    assert_eq!(
        store.delivery(theirs, event).await.state,
        DeliveryState::Waiting as i16
    );
    let canceled = store.deliveries().await;
    let canceled = canceled
        .iter()
        .filter(|row| row.state == DeliveryState::Canceled as i16);
    assert_eq!(canceled.count(), 3);

    // An attempt that a person asked for takes no success away, made or not.
    let event = store.message_at(two.mine, NOW, "A").await;
    store
        .delivery_in((two.mine, mine, event), DeliveryState::Succeeded)
        .await;
    let mut transaction = store.begin().await;
    let planned = deliveries::retry(&mut transaction, two.mine, (mine, event), NOW).await;
    assert_eq!(planned.unwrap(), Retry::Planned);
    let canceled = deliveries::cancel_waiting(&mut transaction, two.mine, mine, 9).await;
    assert_eq!(canceled.unwrap(), 1);
    transaction.commit().await.unwrap();
    let row = store.delivery(mine, event).await;
    assert_eq!((row.state, row.manual), (DeliveryState::Succeeded as i16, false));
}

async fn stats_count_one_endpoint_within_a_window(store: &TestStore) {
    let two = Two::scopes(store).await;
    let (endpoint, other) = (store.endpoint(two.mine).await, store.endpoint(two.mine).await);
    let event = store.message_at(two.mine, NOW, "A").await;
    let mine = (two.mine, endpoint, event);
    for (after, status) in [
        (0, AttemptStatus::Success),
        (1, AttemptStatus::Failing),
        (2, AttemptStatus::Failing),
        (3, AttemptStatus::Failed),
        (10, AttemptStatus::Canceled),
    ] {
        store.attempt_at(mine, NOW + seconds(after), status).await;
    }
    store
        .attempt_at((two.mine, other, event), NOW, AttemptStatus::Success)
        .await;
    store.delivery_in(mine, DeliveryState::Waiting).await;
    let leased = store.message_at(two.mine, NOW, "A").await;
    store
        .delivery_in((two.mine, endpoint, leased), DeliveryState::Leased)
        .await;

    let window = (NOW + seconds(1), NOW + seconds(10));
    let stats = |scope| stats::of_endpoint(store.store.reader(), scope, endpoint, window);
    let expected = EndpointStats {
        failing: 2,
        failed: 1,
        waiting: 1,
        sending: 1,
        complete: true,
        ..Default::default()
    };
    assert_eq!(stats(two.mine).await.unwrap(), expected);
    assert_eq!(
        stats(two.theirs).await.unwrap(),
        EndpointStats {
            complete: true,
            ..Default::default()
        }
    );
}
