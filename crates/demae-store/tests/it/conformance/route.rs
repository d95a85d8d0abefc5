//! Fan-out.

use demae_event::Event;
use demae_store::engine::DeliveryState;

use crate::support::{
    NOW, TestStore, grant, json, new_attempt, new_endpoint, new_event, new_events, new_worker, routed,
};

on_both_databases!(
    a_message_is_kept_whole,
    deliveries_wait_or_are_leased_as_the_router_said,
    an_event_for_nobody_is_a_message_all_the_same,
    a_second_call_writes_and_grants_nothing,
    known_and_new_messages_go_together,
    an_event_twice_in_a_call_is_routed_once,
    hundreds_fan_out_in_one_call,
    nothing_is_nothing,
);

async fn a_message_is_kept_whole(store: &TestStore) {
    let event = Event {
        data: json(r#"{"b" : 1,  "a": "出前"}"#),
        headers: Some(json(r#"{"x": "y" }"#)),
        traceparent: Some("00-aa-bb-01".to_owned()),
        ..new_event()
    };
    store.enqueue(event.clone(), &[], NOW).await;
    let message = store.message(event.id).await.unwrap();
    assert_eq!(message.organization_id, event.scope.organization.0);
    assert_eq!(message.event_name, event.name);
    assert_eq!(message.event_type, event.event_type);
    assert_eq!(message.payload, event.data.get(), "byte for byte");
    assert_eq!(message.headers.unwrap(), event.headers.unwrap().get());
    assert_eq!(message.traceparent, event.traceparent);
    assert_eq!(message.created_at, event.created_at.as_micros());
}

async fn deliveries_wait_or_are_leased_as_the_router_said(store: &TestStore) {
    let (waiting, leased, lease, worker) = (new_endpoint(), new_endpoint(), new_attempt(), new_worker());
    let event = new_event();
    let mut message = routed(event.clone(), [(waiting, None), (leased, Some(lease))]);
    message.deliveries[1].delivered_name.clone_from(&event.event_type);
    let grant = grant(worker, NOW);
    assert_eq!(store.engine().route(&[message], grant).await.unwrap(), [true]);

    let row = store.delivery(waiting, event.id).await;
    assert_eq!(row.organization_id, event.scope.organization.0);
    assert_eq!(
        (row.state, row.due_at),
        (DeliveryState::Waiting as i16, NOW.as_micros())
    );
    assert_eq!((row.lease, row.worker_id), (None, None));
    assert_eq!(row.delivered_name, "CUSTOMER_CREATION");
    assert_eq!((row.attempts, row.step, row.manual), (0, 0, false));
    assert_eq!((row.resume_state, row.resume_due_at), (None, None));
    assert_eq!(row.created_at, NOW.as_micros());

    let row = store.delivery(leased, event.id).await;
    assert_eq!(
        (row.state, row.due_at),
        (DeliveryState::Leased as i16, grant.until.as_micros())
    );
    assert_eq!((row.lease, row.worker_id), (Some(lease.0), Some(worker)));
    assert_eq!(row.delivered_name, event.event_type);
    assert_eq!(row.created_at, NOW.as_micros());
    assert_eq!(store.deliveries().await.len(), 2);
}

async fn an_event_for_nobody_is_a_message_all_the_same(store: &TestStore) {
    let event = store.enqueue(new_event(), &[], NOW).await;
    assert!(store.message(event).await.is_some());
    assert!(store.deliveries().await.is_empty());
}

async fn a_second_call_writes_and_grants_nothing(store: &TestStore) {
    let (endpoint, first, event) = (new_endpoint(), new_attempt(), new_event());
    let route = async |lease, to, worker| {
        let message = routed(event.clone(), [(to, Some(lease))]);
        store
            .engine()
            .route(&[message], grant(worker, NOW))
            .await
            .unwrap()
    };
    assert_eq!(route(first, endpoint, new_worker()).await, [true]);
    let before = store.deliveries().await;
    assert_eq!(route(new_attempt(), endpoint, new_worker()).await, [false]);
    // Not even for an endpoint that the first call did not know.
    assert_eq!(route(new_attempt(), new_endpoint(), new_worker()).await, [false]);
    assert_eq!(store.deliveries().await, before);
}

async fn known_and_new_messages_go_together(store: &TestStore) {
    let (endpoint, events) = (new_endpoint(), new_events(3));
    store.enqueue(events[1].clone(), &[endpoint], NOW).await;
    let messages: Vec<_> = events
        .iter()
        .map(|event| routed(event.clone(), [(endpoint, Some(new_attempt()))]))
        .collect();
    let new = store
        .engine()
        .route(&messages, grant(new_worker(), NOW))
        .await
        .unwrap();
    assert_eq!(new, [true, false, true]);
    let leases: Vec<_> = messages
        .iter()
        .map(|message| message.deliveries[0].lease.map(|lease| lease.0))
        .collect();
    let rows = store.deliveries().await;
    assert_eq!(rows.len(), 3);
    for (event, lease) in [(0, leases[0]), (1, None), (2, leases[2])] {
        assert_eq!(store.delivery(endpoint, events[event].id).await.lease, lease);
    }
}

async fn an_event_twice_in_a_call_is_routed_once(store: &TestStore) {
    let (endpoint, lease, event) = (new_endpoint(), new_attempt(), new_event());
    let messages = [
        routed(event.clone(), [(endpoint, Some(lease))]),
        routed(event.clone(), [(endpoint, Some(new_attempt()))]),
    ];
    let new = store
        .engine()
        .route(&messages, grant(new_worker(), NOW))
        .await
        .unwrap();
    assert_eq!(new, [true, false]);
    assert_eq!(store.deliveries().await.len(), 1);
    assert_eq!(store.delivery(endpoint, event.id).await.lease, Some(lease.0));
}

async fn hundreds_fan_out_in_one_call(store: &TestStore) {
    let endpoints = [new_endpoint(), new_endpoint(), new_endpoint()];
    let messages: Vec<_> = new_events(300)
        .into_iter()
        .map(|event| routed(event, endpoints.map(|endpoint| (endpoint, None))))
        .collect();
    let new = store
        .engine()
        .route(&messages, grant(new_worker(), NOW))
        .await
        .unwrap();
    assert_eq!(new, vec![true; 300]);
    let mut expected: Vec<_> = messages
        .iter()
        .flat_map(|message| endpoints.map(|endpoint| (endpoint.0, message.message.event_id.0)))
        .collect();
    expected.sort();
    let rows: Vec<_> = store
        .deliveries()
        .await
        .iter()
        .map(|row| (row.endpoint_id, row.event_id))
        .collect();
    assert_eq!(rows, expected);
}

async fn nothing_is_nothing(store: &TestStore) {
    let new = store.engine().route(&[], grant(new_worker(), NOW)).await.unwrap();
    assert!(new.is_empty());
}
