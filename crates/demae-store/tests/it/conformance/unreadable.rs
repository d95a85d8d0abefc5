//! One row that cannot be read, or one value that cannot be written, concerns itself only.

use demae_event::{Event, EventId};
use demae_store::{
    engine::{AttemptRecord, DeliveryState, Disposition, Message, PAYLOAD_LIMIT, READ_LIMIT},
    outbox,
    repository::{Page, messages, rejected},
};
use serde_json::Value;
use uuid::Uuid;

use super::record::success;
use crate::support::{
    NOW, TestStore, grant, json, new_endpoint, new_event, new_events, new_worker, routed, seconds,
};

on_both_databases!(
    rows_that_cannot_be_events_are_rejected_and_those_behind_them_are_read,
    rows_of_other_organizations_that_cannot_be_events_are_rejected,
    a_read_of_the_outbox_ends_after_so_many_bytes,
    payloads_are_kept_byte_for_byte,
    a_delivery_whose_message_cannot_be_read_fails_and_the_others_are_leased,
    a_delivery_without_a_message_fails_and_the_others_are_leased,
    an_event_that_cannot_be_written_is_rejected,
    a_refused_value_does_not_stop_the_others_from_being_recorded,
    what_comes_from_outside_is_made_recordable,
);

/// A row of `outbox_events` as another program writes it: `columns` and `values` beside the organization.
async fn insert(store: &TestStore, columns: &str, values: &str) {
    let organization = Uuid::from_u128(7);
    let insert =
        format!("INSERT INTO outbox_events (organization_id, {columns}) VALUES ('{organization}', {values})");
    store.execute(&insert).await.unwrap();
}

/// The rejected events, oldest first, with what was kept of them.
async fn rejected(store: &TestStore) -> Vec<(rejected::Rejected, Value)> {
    let reader = store.store.reader();
    let listing = rejected::list(reader, Page::first(100)).await.unwrap();
    let mut all = Vec::new();
    for item in listing.items.into_iter().rev() {
        let (item, body) = rejected::find(reader, item.id).await.unwrap().unwrap();
        // The beginning of a large one is no JSON.
        all.push((item, serde_json::from_slice(&body).unwrap_or_default()));
    }
    all
}

#[expect(clippy::too_many_lines, reason = "a table of rows")]
async fn rows_that_cannot_be_events_are_rejected_and_those_behind_them_are_read(store: &TestStore) {
    let long = format!("'{}'", "N".repeat(300));
    let larger = PAYLOAD_LIMIT + 1;
    // Columns and values of a row, and a part of the reason for which it is rejected.
    let mut rows: Vec<(&str, String, &str)> = vec![
        (
            "event_name, event_type, payload",
            "'A', 'a', '[1]'".into(),
            "payload",
        ),
        (
            "event_name, event_type, payload",
            "'A', 'a', '\"x\"'".into(),
            "payload",
        ),
        (
            "event_name, event_type, payload",
            "'', 'a', '{}'".into(),
            "event_name",
        ),
        (
            "event_name, event_type, payload",
            format!("{long}, 'a', '{{}}'"),
            "event_name",
        ),
        (
            "event_name, event_type, payload, headers",
            "'A', 'a', '{}', '[]'".into(),
            "headers",
        ),
    ];
    if store.is_postgres() {
        rows.extend([
            ("event_name, event_type, raw", "'A', 'a', '{'".into(), "payload"),
            ("event_name, event_type, payload, created_at", "'A', 'a', '{}', 'infinity'".into(), "created_at"),
            (
                "event_name, event_type, payload, created_at",
                "'A', 'a', '{}', '294276-12-31 23:59:59+00'".into(),
                "created_at",
            ),
            (
                "event_name, event_type, raw",
                format!("'A', 'a', '{{\"x\":\"' || repeat('x', {larger}) || '\"}}'"),
                "16 MiB",
            ),
            // A few kilobytes in jsonb, 26 MB in text.
            (
                "event_name, event_type, payload",
                "'A', 'a', jsonb_build_object('n', (SELECT jsonb_agg(1e131071) FROM generate_series(1, 200)))"
                    .into(),
                "16 MiB",
            ),
        ]);
    } else {
        let size = format!("hex(zeroblob({larger}))");
        rows.extend([
            (
                "event_name, event_type, payload",
                "'A', 'a', x'7b226e223a22ff227d'".into(),
                "payload",
            ),
            (
                "event_name, event_type, payload",
                "'A', 'a', CAST(x'7b226e223a22ff227d' AS TEXT)".into(),
                "payload",
            ),
            (
                "event_name, event_type, payload",
                "x'ff', 'a', '{}'".into(),
                "event_name",
            ),
            (
                "event_name, event_type, payload, created_at",
                "'A', 'a', '{}', 'yesterday'".into(),
                "created_at",
            ),
            (
                "event_name, event_type, payload",
                format!("'A', 'a', '{{\"x\":\"' || {size} || '\"}}'"),
                "16 MiB",
            ),
        ]);
    }
    let last = new_event();
    for (columns, values, _) in &rows {
        insert(store, columns, values).await;
    }
    store.engine().append(std::slice::from_ref(&last)).await.unwrap();

    let seen = store.engine().unreadable_rows(4).await.unwrap();
    let positions: Vec<i64> = seen.iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, [1, 2, 3, 4]);
    for ((_, found), (_, _, reason)) in seen.iter().zip(&rows) {
        assert!(found.contains(reason), "{found}");
    }
    let unrouted = store.engine().backlog(NOW).await.unwrap().unrouted;
    assert_eq!(unrouted as usize, rows.len() + 1, "nothing is changed by looking");

    let read = store.engine().read_outbox(100).await.unwrap();
    assert_eq!(read.iter().map(|event| event.id).collect::<Vec<_>>(), [last.id]);
    let rejected = rejected(store).await;
    assert_eq!(rejected.len(), rows.len());
    for ((row, body), (columns, values, reason)) in rejected.iter().zip(&rows) {
        assert_eq!(row.source, "outbox");
        assert!(
            row.reason.contains(reason),
            "{columns} {}: {}",
            &values[..20.min(values.len())],
            row.reason
        );
        if row.is_whole() {
            let after = &body["data"]["payload"]["after"];
            let organization = after["organization_id"].as_str().unwrap();
            assert_eq!(organization.parse(), Ok(Uuid::from_u128(7)), "{body}");
            let kept = ["payload", "payload_base64"]
                .iter()
                .any(|name| after[*name].is_string());
            assert!(kept, "{body}");
        }
    }
    let left = store.engine().backlog(NOW).await.unwrap();
    assert_eq!(left.unrouted, 1);
}

async fn rows_of_other_organizations_that_cannot_be_events_are_rejected(store: &TestStore) {
    let backlog = new_event();
    store
        .engine()
        .append(std::slice::from_ref(&backlog))
        .await
        .unwrap();
    let columns = "event_name, event_type, payload";
    for values in ["'A', 'a', '[1]'", "'A', 'a', '{}'", "'', 'a', '{}'"] {
        insert(store, columns, values).await;
    }
    let except = [backlog.scope.organization].into();
    for rejections in [2, 3] {
        let read = store.engine().read_outbox_of_others(&except).await.unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(rejected(store).await.len(), rejections);
        store.engine().take_out(&[read[0].id]).await.unwrap();
        // One behind which there is nothing, and one behind which there is.
        insert(store, columns, "'A', 'a', '7'").await;
        if rejections == 3 {
            break;
        }
        let read = store.engine().read_outbox_of_others(&except).await.unwrap();
        assert!(read.is_empty() && rejected(store).await.len() == 3);
        insert(store, columns, "'A', 'a', '{}'").await;
    }
    assert_eq!(
        store.engine().read_outbox(10).await.unwrap()[0].id,
        backlog.id,
        "the backlog was not touched"
    );
}

/// JSON text that a program bound as bytes is no reason to refuse an event.
#[tokio::test]
async fn a_payload_bound_as_bytes_is_read_on_sqlite() {
    let store = TestStore::sqlite().await;
    insert(
        &store,
        "event_name, event_type, payload",
        "'A', 'a', x'7b226e223a317d'",
    )
    .await;
    let read = store.engine().read_outbox(10).await.unwrap();
    assert_eq!(read[0].data.get(), r#"{"n":1}"#);
}

async fn a_read_of_the_outbox_ends_after_so_many_bytes(store: &TestStore) {
    const EACH: usize = 1024 * 1024;
    let data = format!(r#"{{"x":"{}"}}"#, "x".repeat(EACH));
    let events: Vec<Event> = new_events(20)
        .into_iter()
        .map(|event| Event {
            data: json(&data),
            ..event
        })
        .collect();
    store.engine().append(&events).await.unwrap();
    let mut seen: Vec<EventId> = Vec::new();
    while seen.len() < events.len() {
        let read = store.engine().read_outbox(200).await.unwrap();
        let bytes: usize = read.iter().map(|event| event.data.get().len()).sum();
        assert!(!read.is_empty() && bytes <= READ_LIMIT + data.len(), "{bytes}");
        let ids: Vec<EventId> = read.iter().map(|event| event.id).collect();
        store.engine().take_out(&ids).await.unwrap();
        seen.extend(ids);
    }
    assert_eq!(seen, events.iter().map(|event| event.id).collect::<Vec<_>>());
}

/// Numbers, white space, the order of keys, and keys that occur twice.
async fn payloads_are_kept_byte_for_byte(store: &TestStore) {
    let texts = [
        r#"{"n": [1e308, 1.0, 1E5, -0.0, 1e-7, 123456789012345678901234567890]}"#,
        "{ \"b\" : 1,\n\t\"a\":2, \"b\":3 }",
        r#"{"text":"\u00eb \ud83d\ude00 \u0001"}"#,
    ];
    for text in texts {
        let event = Event {
            data: json(text),
            headers: Some(json(text)),
            ..new_event()
        };
        let other = Event {
            id: EventId::new(NOW),
            ..event.clone()
        };
        store.engine().append(std::slice::from_ref(&event)).await.unwrap();
        let mut transaction = store.store.begin().await.unwrap();
        outbox::append(&mut transaction, &other).await.unwrap();
        transaction.commit().await.unwrap();
        let found = messages::find_unrouted(store.store.reader(), event.scope, event.id).await;
        assert_eq!(found.unwrap().unwrap().data.get(), text);
        let read = store.engine().read_outbox(10).await.unwrap();
        for read in &read {
            assert_eq!(read.data.get(), text);
            assert_eq!(read.headers.as_ref().unwrap().get(), text);
        }
        assert_eq!(read.len(), 2);
        store.engine().take_out(&[event.id, other.id]).await.unwrap();
        store.enqueue(event.clone(), &[], NOW).await;
        assert_eq!(store.message(event.id).await.unwrap().payload, text);
    }
}

/// Three deliveries of one lane, of which the first is spoiled: it fails, visibly; the others are leased.
async fn first_of_three_fails(store: &TestStore, spoil: impl Fn(EventId) -> String, reason: &str) {
    let endpoint = new_endpoint();
    let mut ids = Vec::new();
    for after in 0..3 {
        ids.push(
            store
                .enqueue(new_event(), &[endpoint], NOW + seconds(after))
                .await,
        );
    }
    store.execute(&spoil(ids[0])).await.unwrap();
    let now = NOW + seconds(10);
    let leased = store.claim(endpoint, 3, grant(new_worker(), now)).await;
    let leased: Vec<EventId> = leased.iter().map(|delivery| delivery.message.event_id).collect();
    assert_eq!(leased, ids[1..]);
    let failed = store.delivery(endpoint, ids[0]).await;
    assert_eq!(failed.state, DeliveryState::Failed as i16);
    assert_eq!(failed.attempts, 1);
    let attempts = store.attempts().await;
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].event_id, ids[0].0);
    assert_eq!(attempts[0].error_kind.as_deref(), Some("unreadable"));
    let detail = attempts[0].error_detail.as_deref().unwrap();
    assert!(detail.contains(reason), "{detail}");
}

async fn a_delivery_whose_message_cannot_be_read_fails_and_the_others_are_leased(store: &TestStore) {
    let spoil = |id: EventId| {
        let id = store.literal(id.0);
        format!("UPDATE messages SET payload = '{{' WHERE event_id = {id}")
    };
    first_of_three_fails(store, spoil, "payload is not JSON").await;
}

async fn a_delivery_without_a_message_fails_and_the_others_are_leased(store: &TestStore) {
    let spoil = |id: EventId| format!("DELETE FROM messages WHERE event_id = {}", store.literal(id.0));
    first_of_three_fails(store, spoil, "message of the delivery is gone").await;
}

async fn an_event_that_cannot_be_written_is_rejected(store: &TestStore) {
    let events = new_events(2);
    store.engine().append(&events).await.unwrap();
    let message = Message::from(events[0].clone());
    for _ in 0..2 {
        store.engine().reject(&message, "refused\0", NOW).await.unwrap();
    }
    let read = store.engine().read_outbox(10).await.unwrap();
    assert_eq!(
        read.iter().map(|event| event.id).collect::<Vec<_>>(),
        [events[1].id]
    );
    let (row, body) = rejected(store).await.remove(0);
    assert_eq!(row.reason, "refused\u{fffd}");
    assert_eq!(body["data"]["payload"]["after"]["id"], events[0].id.to_string());
}

/// Leases of one worker, with an attempt for each.
async fn attempts(store: &TestStore, count: usize) -> Vec<AttemptRecord> {
    let worker = new_worker();
    let mut attempts = Vec::new();
    for _ in 0..count {
        attempts.push(success(&store.leased(worker).await));
    }
    attempts
}

async fn a_refused_value_does_not_stop_the_others_from_being_recorded(store: &TestStore) {
    let refuse = if store.is_postgres() {
        "ALTER TABLE attempts ADD CHECK (response_body <> 'poison')"
    } else {
        "CREATE TRIGGER poison BEFORE INSERT ON attempts WHEN NEW.response_body = 'poison'
         BEGIN SELECT RAISE(ABORT, 'poison'); END"
    };
    store.execute(refuse).await.unwrap();
    let mut attempts = attempts(store, 5).await;
    "poison".clone_into(&mut attempts[3].response_body);
    "fine".clone_into(&mut attempts[4].response_body);
    let moved = store.engine().record(&attempts).await.unwrap();
    assert_eq!(moved, [true; 5]);
    for delivery in store.deliveries().await {
        assert_eq!(delivery.state, DeliveryState::Succeeded as i16);
    }
    let kept = store.attempts().await;
    assert_eq!(kept.len(), 5);
    for attempt in &attempts {
        let row = kept.iter().find(|row| row.id == attempt.id.0).unwrap();
        let refused = attempt.response_body == "poison";
        assert_eq!(
            row.response_body,
            if refused {
                ""
            } else {
                attempt.response_body.as_str()
            }
        );
        assert_eq!(row.http_status, Some(200));
        let detail = row.error_detail.as_deref().unwrap_or_default();
        assert_eq!(detail.contains("could not be recorded"), refused, "{detail}");
    }
}

async fn what_comes_from_outside_is_made_recordable(store: &TestStore) {
    let mut attempts = attempts(store, 2).await;
    let text = || "a\0b".to_owned();
    attempts[0] = AttemptRecord {
        event_name: text(),
        url: text(),
        error_detail: Some(text()),
        request_headers: text(),
        response_headers: text(),
        response_body: text(),
        disposition: Disposition::Finish(DeliveryState::Failed),
        ..attempts[0].clone()
    };
    assert_eq!(store.engine().record(&attempts).await.unwrap(), [true, true]);
    let kept = store.attempts().await;
    let row = kept.iter().find(|row| row.id == attempts[0].id.0).unwrap();
    let texts = [
        &row.event_name,
        &row.url,
        &row.request_headers,
        &row.response_headers,
        &row.response_body,
    ];
    for kept in texts.into_iter().chain(&row.error_detail) {
        assert_eq!(kept, "a\u{fffd}b");
    }
}

/// A message in the form in which a writer of another program gives it.
#[tokio::test]
async fn routed_messages_hold_what_was_read_from_jsonb() {
    let store = TestStore::postgres().await;
    insert(
        &store,
        "event_name, event_type, payload",
        "'A', 'a', '{\"b\":1, \"a\" : 1e3}'",
    )
    .await;
    let event = store.engine().read_outbox(10).await.unwrap().remove(0);
    let id = event.id;
    let new = store
        .engine()
        .route(&[routed(event, [])], grant(new_worker(), NOW))
        .await
        .unwrap();
    assert_eq!(new, [true]);
    assert_eq!(store.message(id).await.unwrap().payload, r#"{"a": 1000, "b": 1}"#);
}
