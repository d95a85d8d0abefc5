//! Leasing what is due.

use std::{collections::BTreeSet, sync::Arc};

use demae_event::{EventId, Timestamp};
use demae_store::{
    Store,
    engine::{CLAIM_BYTES, DeliveryState, LaneRequest},
};
use uuid::Uuid;

use crate::support::{
    NOW, TestStore, grant, new_endpoint, new_event, new_events, new_worker, routed, seconds,
};

on_both_databases!(
    the_longest_due_are_leased_up_to_the_limit,
    lanes_have_limits_of_their_own,
    a_claim_ends_when_it_has_its_bytes,
    what_is_claimed_says_everything_about_the_attempt,
    deliveries_of_a_message_share_it,
    a_manual_attempt_knows_where_it_returns_to,
    two_claimers_never_get_the_same_delivery,
    nothing_is_nothing,
);

async fn the_longest_due_are_leased_up_to_the_limit(store: &TestStore) {
    let endpoint = new_endpoint();
    let mut waiting = Vec::new();
    for due in [5, 2, 4, 1, 3, 11] {
        waiting.push((
            due,
            store.enqueue(new_event(), &[endpoint], NOW + seconds(due)).await,
        ));
    }
    waiting.sort();
    let by_due: Vec<EventId> = waiting.into_iter().map(|(_, event)| event).collect();
    let now = NOW + seconds(10);
    let worker = new_worker();
    let claim = async |limit, now| -> Vec<EventId> {
        let leased = store.claim(endpoint, limit, grant(worker, now)).await;
        leased.iter().map(|delivery| delivery.message.event_id).collect()
    };
    assert_eq!(claim(3, now).await, by_due[..3]);
    assert_eq!(claim(9, now).await, by_due[3..5], "the sixth is not due yet");
    assert!(claim(9, now).await.is_empty());
    assert_eq!(claim(9, NOW + seconds(11)).await, by_due[5..], "due is due");
}

/// Seven of them would fit by number; of the other lane all do.
async fn a_claim_ends_when_it_has_its_bytes(store: &TestStore) {
    let [large, small] = [(); 2].map(|()| new_endpoint());
    let mut events = Vec::new();
    for due in 0..7 {
        let mut event = new_event();
        let text = "x".repeat((CLAIM_BYTES / 3) as usize);
        event.data = crate::support::json(&format!(r#"{{"text": "{text}"}}"#));
        events.push(store.enqueue(event, &[large], NOW + seconds(due)).await);
        store.enqueue(new_event(), &[small], NOW).await;
    }
    let now = NOW + seconds(10);
    let lane = |endpoint_id| LaneRequest {
        endpoint_id,
        limit: 9,
    };
    let lanes = [lane(large), lane(small)];
    let mut claimed = Vec::new();
    for (larges, smalls) in [(3, 7), (3, 0), (1, 0), (0, 0)] {
        let leased = store
            .engine()
            .claim(&lanes, grant(new_worker(), now))
            .await
            .unwrap();
        let (of_large, of_small): (Vec<_>, Vec<_>) =
            leased.iter().partition(|delivery| delivery.endpoint_id == large);
        assert_eq!((of_large.len(), of_small.len()), (larges, smalls));
        claimed.extend(of_large.iter().map(|delivery| delivery.message.event_id));
    }
    assert_eq!(claimed, events, "the longest due first");
}

async fn lanes_have_limits_of_their_own(store: &TestStore) {
    let [wide, narrow, other, idle] = [(); 4].map(|()| new_endpoint());
    for _ in 0..3 {
        store.enqueue(new_event(), &[wide, narrow, other], NOW).await;
    }
    let lane = |endpoint_id, limit| LaneRequest { endpoint_id, limit };
    let lanes = [lane(narrow, 1), lane(idle, 5), lane(wide, 5)];
    let leased = store
        .engine()
        .claim(&lanes, grant(new_worker(), NOW))
        .await
        .unwrap();
    let of = |endpoint| {
        leased
            .iter()
            .filter(|delivery| delivery.endpoint_id == endpoint)
            .count()
    };
    assert_eq!((of(narrow), of(wide), leased.len()), (1, 3, 4));
    let rows = store.deliveries().await;
    let waiting = |endpoint: demae_event::EndpointId| {
        rows.iter()
            .filter(|row| row.endpoint_id == endpoint.0 && row.state == DeliveryState::Waiting as i16)
            .count()
    };
    assert_eq!((waiting(narrow), waiting(wide), waiting(other)), (2, 0, 3));
}

async fn what_is_claimed_says_everything_about_the_attempt(store: &TestStore) {
    let (endpoint, worker) = (new_endpoint(), new_worker());
    let mut event = new_event();
    event.headers = Some(crate::support::json(r#"{"k": "v"}"#));
    event.traceparent = Some("00-aa-bb-01".to_owned());
    store.enqueue(event.clone(), &[endpoint], NOW).await;
    store
        .execute("UPDATE deliveries SET attempts = 7, step = 5, delivered_name = 'shown'")
        .await
        .unwrap();
    let grant = grant(worker, NOW + seconds(1));
    let leased = store.claim(endpoint, 1, grant).await.remove(0);

    assert_eq!(leased.endpoint_id, endpoint);
    assert_eq!((leased.lease_until, leased.due_at), (grant.until, NOW));
    assert_eq!((leased.attempts, leased.step, leased.manual), (7, 5, false));
    assert_eq!(leased.resume, None);
    assert_eq!(leased.delivered_name, "shown");
    let message = &leased.message;
    assert_eq!((message.event_id, message.scope), (event.id, event.scope));
    assert_eq!(
        (&message.event_name, &message.event_type),
        (&event.name, &event.event_type)
    );
    assert_eq!(message.data.get(), event.data.get());
    assert_eq!(message.headers.as_ref().unwrap().get(), r#"{"k": "v"}"#);
    assert_eq!(message.traceparent, event.traceparent);
    assert_eq!(message.created_at, event.created_at);

    let row = store.delivery(endpoint, event.id).await;
    assert_eq!(
        (row.state, row.due_at),
        (DeliveryState::Leased as i16, grant.until.as_micros())
    );
    assert_eq!((row.lease, row.worker_id), (Some(leased.lease.0), Some(worker)));
    assert_eq!((row.attempts, row.step), (7, 5), "claiming is not attempting");
}

async fn deliveries_of_a_message_share_it(store: &TestStore) {
    let (one, two) = (new_endpoint(), new_endpoint());
    store.enqueue(new_event(), &[one, two], NOW).await;
    let lanes = [one, two].map(|endpoint_id| LaneRequest {
        endpoint_id,
        limit: 1,
    });
    let leased = store
        .engine()
        .claim(&lanes, grant(new_worker(), NOW))
        .await
        .unwrap();
    assert_eq!(leased.len(), 2);
    assert!(Arc::ptr_eq(&leased[0].message, &leased[1].message));
    assert_ne!(leased[0].lease, leased[1].lease);
}

async fn a_manual_attempt_knows_where_it_returns_to(store: &TestStore) {
    for (state, due_at) in [
        (DeliveryState::Failed, 0),
        (DeliveryState::Waiting, 1_790_000_777_000_000),
    ] {
        let endpoint = new_endpoint();
        store.enqueue(new_event(), &[endpoint], NOW).await;
        store
            .execute(&format!(
                "UPDATE deliveries SET manual = true, resume_state = {}, resume_due_at = {}
                 WHERE endpoint_id = {}",
                state as i16,
                if due_at == 0 {
                    "NULL".to_owned()
                } else {
                    due_at.to_string()
                },
                store.literal(endpoint.0)
            ))
            .await
            .unwrap();
        let leased = store.claim(endpoint, 1, grant(new_worker(), NOW)).await.remove(0);
        assert!(leased.manual);
        assert_eq!(leased.resume, Some((state, Timestamp::from_micros(due_at))));
    }
}

async fn two_claimers_never_get_the_same_delivery(store: &TestStore) {
    let endpoints = [new_endpoint(), new_endpoint()];
    let messages: Vec<_> = new_events(150)
        .into_iter()
        .map(|event| routed(event, endpoints.map(|endpoint| (endpoint, None))))
        .collect();
    store
        .engine()
        .route(&messages, grant(new_worker(), NOW))
        .await
        .unwrap();

    let (left, right) = (new_worker(), new_worker());
    let other = store.open_again().await;
    let (mut one, mut two) = tokio::join!(
        claim_all(&store.store, endpoints, left),
        claim_all(&other, endpoints, right)
    );
    // A claimer skips what the other is just claiming and may have ended too soon.
    one.extend(claim_all(&store.store, endpoints, left).await);
    two.extend(claim_all(&other, endpoints, right).await);
    assert!(one.is_disjoint(&two));
    assert_eq!(one.len() + two.len(), 300);
    for row in store.deliveries().await {
        let claimed = (row.endpoint_id, row.event_id, row.lease.unwrap());
        let holder = if row.worker_id == Some(left) { &one } else { &two };
        assert!(holder.contains(&claimed), "the row names who holds it");
    }
}

/// Claims a few at a time until there is nothing left.
async fn claim_all(
    store: &Store,
    endpoints: [demae_event::EndpointId; 2],
    worker: Uuid,
) -> BTreeSet<(Uuid, Uuid, Uuid)> {
    let lanes = endpoints.map(|endpoint_id| LaneRequest {
        endpoint_id,
        limit: 7,
    });
    let mut all = BTreeSet::new();
    loop {
        let leased = store.engine().claim(&lanes, grant(worker, NOW)).await.unwrap();
        if leased.is_empty() {
            return all;
        }
        for delivery in leased {
            let key = (
                delivery.endpoint_id.0,
                delivery.message.event_id.0,
                delivery.lease.0,
            );
            assert!(all.insert(key));
        }
    }
}

async fn nothing_is_nothing(store: &TestStore) {
    let grant = grant(new_worker(), NOW);
    assert!(store.engine().claim(&[], grant).await.unwrap().is_empty());
    assert!(store.claim(new_endpoint(), 5, grant).await.is_empty());
}
