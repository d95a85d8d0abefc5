//! Events handed over without a change of the application's own.

use demae_event::{Event, Timestamp};
use demae_store::engine::Appended::{Duplicate, New};
use serde_json::Value;

use crate::support::{NOW, TestStore, grant, json, new_event, new_events, new_worker, routed};

on_both_databases!(
    everything_about_an_event_is_kept,
    of_two_equal_ids_in_a_call_the_first_is_written,
    known_ids_are_duplicates_and_the_others_are_written,
    routed_events_stay_known,
    a_thousand_events_keep_their_order,
    large_payloads_are_kept,
    times_are_kept_to_the_millisecond,
    nothing_is_nothing,
    appending_wakes_the_reader,
);

async fn the_one_event(store: &TestStore) -> Event {
    let mut events = store.engine().read_outbox(10).await.unwrap();
    assert_eq!(events.len(), 1);
    events.remove(0)
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

async fn everything_about_an_event_is_kept(store: &TestStore) {
    let data =
        r#"{"naïve": "出前 \"quoted\" 🍜 \n \\ %s $1 ?", "nested": {"a": [1, 2.50, null, true]}, "e": ""}"#;
    let event = Event {
        name: "客戶_CREATION".to_owned(),
        event_type: "com.example.客戶.v1.created".to_owned(),
        data: json(data),
        headers: Some(json(r#"{"x-größe": "ß"}"#)),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        ..new_event()
    };
    assert_eq!(
        store.engine().append(std::slice::from_ref(&event)).await.unwrap(),
        [New]
    );

    let read = the_one_event(store).await;
    assert_eq!(read.id, event.id);
    assert_eq!(read.scope, event.scope);
    assert_eq!(read.name, event.name);
    assert_eq!(read.event_type, event.event_type);
    assert_eq!(read.traceparent, event.traceparent);
    assert_eq!(read.created_at, event.created_at);
    assert_eq!(value(read.data.get()), value(data));
    assert_eq!(value(read.headers.unwrap().get()), value(r#"{"x-größe": "ß"}"#));
    if !store.is_postgres() {
        assert_eq!(read.data.get(), data, "SQLite keeps the very text");
    }
}

async fn of_two_equal_ids_in_a_call_the_first_is_written(store: &TestStore) {
    let first = new_event();
    let second = Event {
        data: json(r#"{"second": true}"#),
        ..first.clone()
    };
    let answer = store
        .engine()
        .append(&[first.clone(), new_event(), second])
        .await
        .unwrap();
    assert_eq!(answer, [New, New, Duplicate]);
    let events = store.engine().read_outbox(10).await.unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].id, first.id);
    assert_eq!(value(events[0].data.get()), value(first.data.get()));
}

async fn known_ids_are_duplicates_and_the_others_are_written(store: &TestStore) {
    let events = new_events(4);
    store.engine().append(&events[1..2]).await.unwrap();
    let changed = Event {
        data: json("{}"),
        ..events[1].clone()
    };
    let again = [events[0].clone(), changed, events[2].clone(), events[3].clone()];
    assert_eq!(
        store.engine().append(&again).await.unwrap(),
        [New, Duplicate, New, New]
    );
    let read = store.engine().read_outbox(10).await.unwrap();
    let ids: Vec<_> = read.iter().map(|event| event.id).collect();
    assert_eq!(ids, [1, 0, 2, 3].map(|index| events[index].id));
    assert_eq!(value(read[0].data.get()), value(events[1].data.get()));
}

async fn routed_events_stay_known(store: &TestStore) {
    let event = new_event();
    store.engine().append(std::slice::from_ref(&event)).await.unwrap();
    let worker = grant(new_worker(), NOW);
    store
        .engine()
        .route(&[routed(event.clone(), [])], worker)
        .await
        .unwrap();
    assert_eq!(store.engine().append(&[event]).await.unwrap(), [Duplicate]);
    assert!(store.engine().read_outbox(10).await.unwrap().is_empty());
}

async fn a_thousand_events_keep_their_order(store: &TestStore) {
    let mut events = new_events(1000);
    // Ids grow with time; the order of the outbox must come from the order of insertion alone.
    events.reverse();
    let answer = store.engine().append(&events).await.unwrap();
    assert_eq!(answer, vec![New; 1000]);
    let read = store.engine().read_outbox(2000).await.unwrap();
    let ids = |events: &[Event]| events.iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(ids(&read), ids(&events));
}

async fn large_payloads_are_kept(store: &TestStore) {
    let data = format!(r#"{{"text":"{}"}}"#, "出前é".repeat(256 * 1024 / 8));
    assert!(data.len() >= 256 * 1024);
    let event = Event {
        data: json(&data),
        ..new_event()
    };
    store.engine().append(&[event]).await.unwrap();
    assert_eq!(value(the_one_event(store).await.data.get()), value(&data));
}

async fn times_are_kept_to_the_millisecond(store: &TestStore) {
    // Far years, too: on SQLite the time passes through a float, whose last digits are coarser there.
    let times = [
        0,
        1_700_000_000_001_000,
        1_790_000_000_999_000,
        2_200_000_000_123_000,
        4_000_000_000_789_000,
    ];
    let mut events: Vec<Event> = times
        .map(Timestamp::from_micros)
        .map(|created_at| Event {
            created_at,
            ..new_event()
        })
        .into();
    // The second block lies beyond 2³¹ seconds.
    for second in [1_790_000_000_000_000, 2_147_483_650_000_000] {
        events.extend((0..1000).map(|millisecond| Event {
            created_at: Timestamp::from_micros(second + millisecond * 1000),
            ..new_event()
        }));
    }
    store.engine().append(&events).await.unwrap();
    let read = store.engine().read_outbox(3000).await.unwrap();
    for (read, written) in read.iter().zip(&events) {
        assert_eq!(read.created_at, written.created_at);
    }
    assert_eq!(read.len(), events.len());
}

async fn nothing_is_nothing(store: &TestStore) {
    assert_eq!(store.engine().append(&[]).await.unwrap(), []);
    assert!(store.engine().read_outbox(10).await.unwrap().is_empty());
}

async fn appending_wakes_the_reader(store: &TestStore) {
    let (appended, ()) = tokio::join!(
        async { store.engine().append(&[new_event()]).await },
        store.engine().outbox_changed()
    );
    assert_eq!(appended.unwrap(), [New]);
}
