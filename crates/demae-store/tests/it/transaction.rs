//! Transactions and the events written in them.

use std::{pin::pin, sync::Mutex};

use demae_event::Event;
use demae_store::{Store, StoreError, outbox};
use futures::{FutureExt, StreamExt as _, stream::FuturesUnordered};
use sea_orm::ConnectionTrait;

use crate::support::{TestStore, json, new_event};

on_both_databases!(
    a_commit_makes_change_and_event_visible_and_wakes_the_reader,
    neither_rollback_nor_drop_emits_anything,
    a_commit_without_an_event_wakes_nobody,
    everything_about_an_event_is_kept,
    an_id_in_the_outbox_is_a_conflict,
);

const CHANGE: &str = "UPDATE counters SET value = value + 1 WHERE name = 'endpoints'";

async fn a_commit_makes_change_and_event_visible_and_wakes_the_reader(store: &TestStore) {
    let event = new_event();
    let mut transaction = store.store.begin().await.unwrap();
    transaction.connection().execute_unprepared(CHANGE).await.unwrap();
    outbox::append(&mut transaction, &event).await.unwrap();
    assert!(
        store.engine().outbox_changed().now_or_never().is_none(),
        "not committed"
    );
    transaction.commit().await.unwrap();

    store.engine().outbox_changed().await;
    assert_eq!(store.engine().endpoints_version().await.unwrap(), 1);
    assert_eq!(store.engine().read_outbox(10).await.unwrap()[0].id, event.id);
}

/// Twenty transactions of requests wait for the writer when the engine begins to write: it comes after two of them.
#[tokio::test]
async fn the_engine_writes_between_the_requests_on_sqlite() {
    let store = TestStore::sqlite().await;
    let apart = store.store.apart();
    let wrote = Mutex::new(Vec::new());
    let first = store.store.begin().await.unwrap();
    let change = async |store: &Store, who: &'static str| {
        let transaction = store.begin().await.unwrap();
        transaction.connection().execute_unprepared(CHANGE).await.unwrap();
        transaction.commit().await.unwrap();
        wrote.lock().unwrap().push(who);
    };
    let append = async {
        store.engine().append(&[new_event()]).await.unwrap();
        wrote.lock().unwrap().push("engine");
    };
    let mut requests: FuturesUnordered<_> = (0..20).map(|_| change(&store.store, "request")).collect();
    let mut beside = pin!(futures::future::join(append, change(&apart, "beside")));
    // Each of them gets in line, in this order.
    assert!(requests.next().now_or_never().is_none());
    assert!(beside.as_mut().now_or_never().is_none());
    first.commit().await.unwrap();
    let requests = async { while requests.next().await.is_some() {} };
    futures::join!(requests, beside);
    let wrote = wrote.lock().unwrap();
    assert_eq!(wrote[..3], ["request", "engine", "beside"], "{wrote:?}");
    assert_eq!(wrote.len(), 22);
}

async fn neither_rollback_nor_drop_emits_anything(store: &TestStore) {
    let begin = async || {
        let mut transaction = store.store.begin().await.unwrap();
        transaction.connection().execute_unprepared(CHANGE).await.unwrap();
        outbox::append(&mut transaction, &new_event()).await.unwrap();
        transaction
    };
    begin().await.rollback().await.unwrap();
    drop(begin().await);

    // A write of our own waits for the dropped transaction's end.
    store
        .execute("UPDATE counters SET value = value + 10")
        .await
        .unwrap();
    assert!(store.engine().outbox_changed().now_or_never().is_none());
    assert_eq!(store.engine().endpoints_version().await.unwrap(), 10);
    assert!(store.engine().read_outbox(10).await.unwrap().is_empty());
}

async fn a_commit_without_an_event_wakes_nobody(store: &TestStore) {
    store.execute(CHANGE).await.unwrap();
    assert!(store.engine().outbox_changed().now_or_never().is_none());
}

async fn everything_about_an_event_is_kept(store: &TestStore) {
    let plain = new_event();
    let full = Event {
        data: json(r#"{"name":"出前 🍜 $1 ?2 'q'"}"#),
        headers: Some(json(r#"{"x":"y"}"#)),
        traceparent: Some("00-aa-bb-01".to_owned()),
        created_at: "2026-02-03T12:00:00.123Z".parse().unwrap(),
        ..new_event()
    };
    let mut transaction = store.store.begin().await.unwrap();
    for event in [&plain, &full] {
        outbox::append(&mut transaction, event).await.unwrap();
    }
    transaction.commit().await.unwrap();

    let read = store.engine().read_outbox(10).await.unwrap();
    assert_eq!(read.len(), 2);
    for (read, written) in read.iter().zip([&plain, &full]) {
        let text =
            |json: &serde_json::value::RawValue| json.get().replace("\": ", "\":").replace(", \"", ",\"");
        assert_eq!((read.id, read.scope), (written.id, written.scope));
        assert_eq!(
            (&read.name, &read.event_type),
            (&written.name, &written.event_type)
        );
        assert_eq!(text(&read.data), text(&written.data));
        assert_eq!(
            read.headers.as_deref().map(text),
            written.headers.as_deref().map(text)
        );
        assert_eq!(read.traceparent, written.traceparent);
        assert_eq!(read.created_at, written.created_at);
    }
}

async fn an_id_in_the_outbox_is_a_conflict(store: &TestStore) {
    let event = new_event();
    store.engine().append(std::slice::from_ref(&event)).await.unwrap();
    let mut transaction = store.store.begin().await.unwrap();
    let refused = outbox::append(&mut transaction, &event).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    transaction.rollback().await.unwrap();
    assert_eq!(store.engine().read_outbox(10).await.unwrap().len(), 1);
}
