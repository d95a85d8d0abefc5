//! Messages and the outbox, as people look at them.

use demae_event::{Event, EventId, Scope};
use demae_store::{
    engine::DeliveryState,
    outbox,
    repository::{
        PAGE_BYTES, Page,
        messages::{self, MessageCursor, MessageFilter},
    },
};

use super::{Two, event};
use crate::support::{NOW, TestStore, json, seconds};

in_every_scope!(
    a_message_is_read_back_as_it_was,
    pages_go_from_new_to_old_also_within_a_moment,
    a_page_of_large_messages_is_short_and_has_a_next_one,
    a_page_of_widely_delivered_messages_is_short_and_has_a_next_one,
    filters_choose,
    an_event_in_the_outbox_is_found,
    the_walk_goes_from_old_to_new_within_its_window,
    deliveries_of_messages_are_found,
);

async fn list(
    store: &TestStore,
    scope: Scope,
    filter: &MessageFilter,
    page: Page<MessageCursor>,
) -> (Vec<EventId>, Option<MessageCursor>) {
    let listing = messages::list(store.store.reader(), scope, filter, page)
        .await
        .unwrap();
    (
        listing
            .items
            .iter()
            .map(|stored| stored.message.event_id)
            .collect(),
        listing.next,
    )
}

async fn a_message_is_read_back_as_it_was(store: &TestStore) {
    let two = Two::scopes(store).await;
    let written = Event {
        data: json(r#"{"z": 1.50, "a": "ö"}"#),
        headers: Some(json(r#"{"k":"v"}"#)),
        traceparent: Some("00-1-2-01".to_owned()),
        ..event(two.mine, NOW, "A")
    };
    let mut transaction = store.begin().await;
    assert!(messages::insert(&mut transaction, &written).await.unwrap());
    assert!(!messages::insert(&mut transaction, &written).await.unwrap());
    transaction.commit().await.unwrap();
    let reader = store.store.reader();
    let found = messages::find(reader, two.mine, written.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.unreadable, None);
    let found = found.message;
    assert_eq!(found.data.get(), written.data.get());
    assert_eq!(found.headers.unwrap().get(), r#"{"k":"v"}"#);
    assert_eq!((found.traceparent, found.created_at), (written.traceparent, NOW));
    assert!(
        messages::find(reader, two.theirs, written.id)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        messages::find_many(reader, two.mine, &[written.id])
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        messages::find_many(reader, two.theirs, &[written.id])
            .await
            .unwrap()
            .len(),
        0
    );
}

async fn pages_go_from_new_to_old_also_within_a_moment(store: &TestStore) {
    let two = Two::scopes(store).await;
    let mut ids = Vec::new();
    // Two moments, and ids that are not in the order of time.
    for after in [0, 1] {
        let mut at_once = Vec::new();
        for _ in 0..3 {
            at_once.push(store.message_at(two.mine, NOW + seconds(after), "A").await);
            store.message_at(two.theirs, NOW + seconds(after), "A").await;
        }
        at_once.sort_unstable();
        ids.extend(at_once);
    }
    ids.reverse();
    let any = MessageFilter::default();
    let (mut found, mut next) = list(store, two.mine, &any, Page::first(2)).await;
    while next.is_some() {
        let (more, after) = list(
            store,
            two.mine,
            &any,
            Page {
                limit: 2,
                after: next,
            },
        )
        .await;
        found.extend(more);
        next = after;
    }
    assert_eq!(found, ids);
}

async fn a_page_of_large_messages_is_short_and_has_a_next_one(store: &TestStore) {
    let two = Two::scopes(store).await;
    let mut written = Vec::new();
    // In bytes, not in characters; the largest is larger than any page.
    let sizes = [PAGE_BYTES / 2, PAGE_BYTES / 2 - 100, 10, PAGE_BYTES * 2, 10];
    for (after, size) in sizes.into_iter().enumerate() {
        let text = "\u{fc}".repeat((size / 2) as usize);
        let event = Event {
            data: json(&format!(r#"{{"text":"{text}"}}"#)),
            headers: Some(json("{}")),
            ..event(two.mine, NOW + seconds(after as u64), "A")
        };
        let mut transaction = store.begin().await;
        messages::insert(&mut transaction, &event).await.unwrap();
        transaction.commit().await.unwrap();
        written.push(event.id);
    }
    written.reverse();
    let mut pages = Vec::new();
    let mut page = Page::first(200);
    loop {
        let (found, next) = list(store, two.mine, &MessageFilter::default(), page).await;
        pages.push(found);
        page.after = next;
        if next.is_none() {
            break;
        }
    }
    let lengths: Vec<usize> = pages.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 1, 3]);
    assert_eq!(pages.concat(), written);
}

async fn a_page_of_widely_delivered_messages_is_short_and_has_a_next_one(store: &TestStore) {
    const ENDPOINTS: usize = 100;
    const MESSAGES: usize = 60;
    let two = Two::scopes(store).await;
    let mut endpoints = Vec::new();
    for _ in 0..ENDPOINTS {
        endpoints.push(store.endpoint(two.mine).await);
    }
    let mut written = Vec::new();
    for after in 0..MESSAGES {
        let event = event(two.mine, NOW + seconds(after as u64), "A");
        written.push(store.enqueue(event, &endpoints, NOW).await);
    }
    written.reverse();
    let any = MessageFilter::default();
    let (mut found, mut next) = list(store, two.mine, &any, Page::first(200)).await;
    assert_eq!(found.len(), PAGE_BYTES as usize / (ENDPOINTS * 256 + 19));
    while next.is_some() {
        let page = Page {
            limit: 200,
            after: next,
        };
        let (more, after) = list(store, two.mine, &any, page).await;
        found.extend(more);
        next = after;
    }
    assert_eq!(found, written);
}

async fn filters_choose(store: &TestStore) {
    let two = Two::scopes(store).await;
    let old = store.message_at(two.mine, NOW, "A").await;
    let new = store.message_at(two.mine, NOW + seconds(60), "B").await;
    let any = MessageFilter::default;
    for (filter, expected) in [
        (any(), vec![new, old]),
        (
            MessageFilter {
                event_names: Some(vec!["A".to_owned(), "C".to_owned()]),
                ..any()
            },
            vec![old],
        ),
        (
            MessageFilter {
                event_type: Some("test.b".to_owned()),
                ..any()
            },
            vec![new],
        ),
        (
            MessageFilter {
                since: Some(NOW + seconds(60)),
                ..any()
            },
            vec![new],
        ),
        (
            MessageFilter {
                until: Some(NOW + seconds(60)),
                ..any()
            },
            vec![old],
        ),
    ] {
        assert_eq!(
            list(store, two.mine, &filter, Page::first(9)).await,
            (expected, None),
            "{filter:?}"
        );
        assert_eq!(
            list(store, two.theirs, &filter, Page::first(9)).await,
            (vec![], None),
            "{filter:?}"
        );
    }
}

async fn an_event_in_the_outbox_is_found(store: &TestStore) {
    let two = Two::scopes(store).await;
    let written = event(two.mine, NOW, "A");
    let mut transaction = store.begin().await;
    outbox::append(&mut transaction, &written).await.unwrap();
    transaction.commit().await.unwrap();
    let reader = store.store.reader();
    let found = messages::find_unrouted(reader, two.mine, written.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.event_id, found.scope), (written.id, two.mine));
    assert_eq!((found.event_name, found.created_at), (written.name, NOW));
    assert!(
        messages::find_unrouted(reader, two.theirs, written.id)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        messages::find_unrouted(reader, two.mine, EventId::new(NOW))
            .await
            .unwrap()
            .is_none()
    );
}

async fn the_walk_goes_from_old_to_new_within_its_window(store: &TestStore) {
    let two = Two::scopes(store).await;
    let mut ids = Vec::new();
    for after in 0..5 {
        ids.push(store.message_at(two.mine, NOW + seconds(after), "A").await);
        store.message_at(two.theirs, NOW + seconds(after), "A").await;
    }
    let window = (NOW + seconds(1), NOW + seconds(4));
    let mut transaction = store.begin().await;
    let first = messages::walk(&mut transaction, two.mine, window, None, 2)
        .await
        .unwrap();
    assert_eq!(
        first.iter().map(|message| message.event_id).collect::<Vec<_>>(),
        ids[1..3]
    );
    let after = MessageCursor {
        created_at: first[1].created_at,
        event_id: first[1].event_id,
    };
    let rest = messages::walk(&mut transaction, two.mine, window, Some(after), 2)
        .await
        .unwrap();
    assert_eq!(
        rest.iter().map(|message| message.event_id).collect::<Vec<_>>(),
        ids[3..4]
    );
}

async fn deliveries_of_messages_are_found(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoints = [store.endpoint(two.mine).await, store.endpoint(two.mine).await];
    let events = [
        store.message_at(two.mine, NOW, "A").await,
        store.message_at(two.mine, NOW, "A").await,
    ];
    store
        .delivery_in((two.mine, endpoints[0], events[0]), DeliveryState::Succeeded)
        .await;
    store
        .delivery_in((two.mine, endpoints[1], events[0]), DeliveryState::Failed)
        .await;
    let reader = store.store.reader();
    let found = messages::deliveries(reader, two.mine, &events).await.unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|delivery| (delivery.endpoint_id, delivery.state))
        .collect();
    assert_eq!(
        found,
        [
            (endpoints[0], DeliveryState::Succeeded),
            (endpoints[1], DeliveryState::Failed)
        ]
    );
    assert_eq!(
        messages::deliveries(reader, two.theirs, &events).await.unwrap(),
        []
    );
    assert_eq!(messages::deliveries(reader, two.mine, &[]).await.unwrap(), []);
}
