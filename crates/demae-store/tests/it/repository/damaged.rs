//! Rows that cannot be read are shown as far as they can be, and hide no others.

use demae_event::Event;
use demae_store::{
    engine::AttemptStatus,
    inspect::{self, Secrets},
    repository::{
        Page, endpoints,
        history::{self, HistoryFilter},
        messages::{self, MessageFilter},
        rejected::{self, NewRejected},
    },
};
use uuid::Uuid;

use super::{Two, event};
use crate::support::{NOW, TestStore, json, seconds};

in_every_scope!(
    a_message_that_cannot_be_read_is_shown_and_the_others_are_listed,
    an_attempt_that_cannot_be_read_is_shown_and_the_others_are_listed,
    an_endpoint_that_cannot_be_opened_is_shown_and_the_others_are_listed,
    a_rejected_event_that_cannot_be_read_is_shown_and_the_others_are_listed,
    no_more_rows_are_tried_than_the_bound,
);

/// Puts a value that is no text, or no JSON, into a column of this row. Postgres holds nothing but text in one.
async fn damage(store: &TestStore, table: &str, column: &str, (id_column, id): (&str, Uuid)) {
    let (id, value) = (
        store.literal(id),
        if store.is_postgres() { "'{'" } else { "x'7bff7d'" },
    );
    let damage = format!("UPDATE {table} SET {column} = {value} WHERE {id_column} = {id}");
    store.execute(&damage).await.unwrap();
}

async fn unreadable(store: &TestStore) -> Vec<(&'static str, String)> {
    let rows = inspect::unreadable(&store.store).await.unwrap();
    rows.into_iter().map(|row| (row.table, row.row)).collect()
}

async fn a_message_that_cannot_be_read_is_shown_and_the_others_are_listed(store: &TestStore) {
    let two = Two::scopes(store).await;
    let mut ids = Vec::new();
    for after in 0..4 {
        let event = Event {
            data: json(r#"{"n":1}"#),
            headers: Some(json(r#"{"k":"v"}"#)),
            ..event(two.mine, NOW + seconds(after), "A")
        };
        let mut transaction = store.begin().await;
        messages::insert(&mut transaction, &event).await.unwrap();
        transaction.commit().await.unwrap();
        ids.push(event.id);
    }
    assert_eq!(unreadable(store).await, []);
    damage(store, "messages", "payload", ("event_id", ids[0].0)).await;
    damage(store, "messages", "headers", ("event_id", ids[2].0)).await;
    if !store.is_postgres() {
        damage(store, "messages", "event_name", ("event_id", ids[1].0)).await;
    }
    let reader = store.store.reader();
    let listing = messages::list(reader, two.mine, &MessageFilter::default(), Page::first(9))
        .await
        .unwrap();
    let found: Vec<_> = listing
        .items
        .iter()
        .map(|stored| stored.message.event_id)
        .collect();
    assert_eq!(found, [ids[3], ids[2], ids[1], ids[0]]);
    let faults: Vec<bool> = listing
        .items
        .iter()
        .map(|stored| stored.unreadable.is_some())
        .collect();
    assert_eq!(faults, [false, true, !store.is_postgres(), true]);
    let [_, headless, _, empty] = &listing.items[..] else {
        panic!("there are four");
    };
    assert_eq!(
        (empty.message.event_name.as_str(), empty.message.data.get()),
        ("A", "{}")
    );
    assert_eq!(headless.message.data.get(), r#"{"n":1}"#);
    let reason = empty.unreadable.as_deref().unwrap_or_default();
    assert!(reason.contains("payload"), "{reason}");
    let alone = messages::find(reader, two.mine, ids[0]).await.unwrap().unwrap();
    assert_eq!(alone.unreadable, empty.unreadable);

    let mut rows = unreadable(store).await;
    rows.sort();
    let mut expected = vec![ids[0], ids[2]];
    expected.extend((!store.is_postgres()).then_some(ids[1]));
    let mut expected: Vec<_> = expected.iter().map(|id| ("messages", id.to_string())).collect();
    expected.sort();
    assert_eq!(rows, expected);
}

async fn an_attempt_that_cannot_be_read_is_shown_and_the_others_are_listed(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = store.endpoint(two.mine).await;
    let event = store.message_at(two.mine, NOW, "A").await;
    let of = (two.mine, endpoint, event);
    let mut ids = Vec::new();
    for after in 0..3 {
        let at = NOW + seconds(after);
        ids.push(store.attempt_at(of, at, AttemptStatus::Success).await);
    }
    damage(store, "attempts", "response_headers", ("id", ids[1].0)).await;
    // The event's type is a part of each entry.
    if !store.is_postgres() {
        damage(store, "messages", "event_type", ("event_id", event.0)).await;
    }
    let reader = store.store.reader();
    let listing = history::list(reader, two.mine, &HistoryFilter::default(), Page::first(9))
        .await
        .unwrap();
    let found: Vec<_> = listing.items.iter().map(|entry| entry.id).collect();
    assert_eq!(found, [ids[2], ids[1], ids[0]]);
    let kinds = listing
        .items
        .iter()
        .map(|entry| entry.outcome.clone().unwrap().error_kind);
    let kinds: Vec<_> = kinds.map(Option::unwrap_or_default).collect();
    assert_eq!(kinds, ["http_status", "unreadable", "http_status"]);
    let alone = history::find(reader, two.mine, ids[1]).await.unwrap().unwrap();
    assert_eq!(alone, listing.items[1]);
    let outcome = alone.outcome.unwrap();
    assert_eq!(outcome.response_headers, "{}");
    assert!(outcome.error_detail.unwrap().contains("headers"));
}

async fn an_endpoint_that_cannot_be_opened_is_shown_and_the_others_are_listed(store: &TestStore) {
    let two = Two::scopes(store).await;
    let ids = [store.endpoint(two.mine).await, store.endpoint(two.mine).await];
    assert_eq!(unreadable(store).await, []);
    let value = if store.is_postgres() { "'\\x00'" } else { "x'00'" };
    let id = store.literal(ids[0].0);
    store
        .execute(&format!("UPDATE endpoints SET secret = {value} WHERE id = {id}"))
        .await
        .unwrap();
    let (reader, vault) = (store.store.reader(), store.store.vault());
    let listing = endpoints::list(reader, vault, two.mine, Page::first(9))
        .await
        .unwrap();
    let found: Vec<_> = listing
        .items
        .iter()
        .map(|loaded| (loaded.endpoint.id, loaded.opened))
        .collect();
    assert_eq!(found, [(ids[0], false), (ids[1], true)]);
    assert_eq!(unreadable(store).await, [("endpoints", ids[0].to_string())]);
    assert_eq!(
        inspect::try_secrets(&store.store).await.unwrap(),
        Secrets::Readable
    );

    // A row that is not even text costs itself only, in lists and for the router.
    if !store.is_postgres() {
        damage(store, "endpoints", "url", ("id", ids[0].0)).await;
        let listing = endpoints::list(reader, vault, two.mine, Page::first(9))
            .await
            .unwrap();
        assert_eq!(listing.items.len(), 1);
        let first = endpoints::list(reader, vault, two.mine, Page::first(1))
            .await
            .unwrap();
        let shown: Vec<_> = first.items.iter().map(|loaded| loaded.endpoint.id).collect();
        assert_eq!(
            (shown, first.next),
            (vec![ids[1]], Some(ids[1])),
            "the damaged row ends no list"
        );
        let loaded = endpoints::load(reader, vault, None).await.unwrap();
        assert_eq!((loaded.endpoints.len(), loaded.gone), (1, vec![ids[0]]));
        assert_eq!(unreadable(store).await, [("endpoints", ids[0].to_string())]);
    }

    // None that can be opened: then it is the key.
    store
        .execute(&format!("UPDATE endpoints SET secret = {value}"))
        .await
        .unwrap();
    assert_eq!(
        inspect::try_secrets(&store.store).await.unwrap(),
        Secrets::Unreadable
    );
    assert_eq!(unreadable(store).await, []);
}

async fn a_rejected_event_that_cannot_be_read_is_shown_and_the_others_are_listed(store: &TestStore) {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let new = NewRejected {
            source: "dapr",
            reason: "no JSON",
            body: b"x",
        };
        let mut transaction = store.begin().await;
        ids.push(rejected::insert(&mut transaction, new, NOW).await.unwrap());
        transaction.commit().await.unwrap();
    }
    let reader = store.store.reader();
    if !store.is_postgres() {
        damage(store, "rejected_events", "reason", ("id", ids[0])).await;
        assert_eq!(unreadable(store).await, [("rejected_events", ids[0].to_string())]);
        let (shown, body) = rejected::find(reader, ids[0]).await.unwrap().unwrap();
        assert!(shown.reason.contains("reason"), "{}", shown.reason);
        assert_eq!(body, b"x");
    }
    let listing = rejected::list(reader, Page::first(9)).await.unwrap();
    assert_eq!(listing.items.len(), 2);
}

async fn no_more_rows_are_tried_than_the_bound(store: &TestStore) {
    const ROWS: usize = 512;
    let two = Two::scopes(store).await;
    let mut ids = Vec::new();
    let mut transaction = store.begin().await;
    for _ in 0..=ROWS {
        let event = event(two.mine, NOW, "A");
        messages::insert(&mut transaction, &event).await.unwrap();
        ids.push(event.id);
    }
    transaction.commit().await.unwrap();
    ids.sort_unstable();
    for id in [ids[0], ids[1], ids[ROWS]] {
        damage(store, "messages", "payload", ("event_id", id.0)).await;
    }
    let rows = unreadable(store).await;
    let expected = [ids[ROWS], ids[1]].map(|id| ("messages", id.to_string()));
    assert_eq!(rows.len(), 2);
    assert!(expected.iter().all(|row| rows.contains(row)), "{rows:?}");
}
