//! Documents of the recorded shape (kaiten.md, section 6.2), in both directions.

use demae_event::{ApplicationId, EventId, OrganizationId, Scope, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

const ID: &str = "0199e1a0-7f3c-7a51-9d0e-4b1f6c2d8e90";
const ORGANIZATION: &str = "7f8c2f4e-0f0b-4a7e-9d43-5a3d2f1f6b10";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What Debezium Server writes for a row of Kaiten's table, with schemas.
fn recorded() -> Value {
    json!({
        "id": "name:kaiten;lsn:29274832;txId:565;sequence:[\"29274784\",\"29274832\"]",
        "source": "/debezium/postgresql/kaiten",
        "specversion": "1.0",
        "type": "io.debezium.connector.postgresql.DataChangeEvent",
        "time": "2026-03-01T10:15:30.125Z",
        "datacontenttype": "application/json",
        "iodebeziumop": "c",
        "iodebeziumversion": "3.0.0.Final",
        "iodebeziumconnector": "postgresql",
        "iodebeziumname": "kaiten",
        "iodebeziumtsms": "1772360130125",
        "iodebeziumsnapshot": "false",
        "iodebeziumdb": "kaiten",
        "iodebeziumschema": "public",
        "iodebeziumtable": "outbox_events",
        "iodebeziumlsn": "29274832",
        "iodebeziumtxId": "565",
        "data": {
            "schema": {"type": "struct", "fields": [{"type": "struct", "optional": true, "field": "before"}]},
            "payload": {
                "before": null,
                "after": {
                    "id": ID,
                    "organization_id": ORGANIZATION,
                    "event_name": "CUSTOMER_CREATED",
                    "event_type": "com.kaiten.customer.v1.created",
                    "data": "{\"id\": \"c1\", \"amount\": 1.50}",
                    "headers": {"instance_id": "i-1", "traceparent": TRACE, "tracestate": "vendor=1"},
                    "occurred_at": "2026-03-01T10:15:30.123456Z"
                }
            }
        }
    })
}

fn row(document: &mut Value) -> &mut Value {
    &mut document["data"]["payload"]["after"]
}

fn read(document: &Value) -> Result<Envelope, EnvelopeError> {
    decode(document.to_string().as_bytes())
}

fn read_event(document: &Value) -> Event {
    match read(document).unwrap() {
        Envelope::Event(event) => event,
        other => panic!("{other:?} is no event"),
    }
}

#[test]
fn what_debezium_server_writes_is_read_field_by_field() {
    let event = read_event(&recorded());
    assert_eq!(event.id.to_string(), ID);
    assert_eq!(event.scope.organization.to_string(), ORGANIZATION);
    assert_eq!(event.name, "CUSTOMER_CREATED");
    assert_eq!(event.event_type, "com.kaiten.customer.v1.created");
    assert_eq!(event.data.get(), r#"{"id": "c1", "amount": 1.50}"#);
    assert_eq!(event.headers.unwrap().get(), r#"{"instance_id":"i-1"}"#);
    assert_eq!(event.traceparent.as_deref(), Some(TRACE));
    assert_eq!(event.created_at, Timestamp::from_micros(1_772_360_130_123_456));
}

#[test]
fn headers_may_be_an_object_a_text_null_or_absent() {
    let mut document = recorded();
    row(&mut document)["headers"] = json!(r#"{"instance_id": "i-1"}"#);
    assert_eq!(
        read_event(&document).headers.unwrap().get(),
        r#"{"instance_id": "i-1"}"#
    );
    for nothing in [json!(null), json!("null")] {
        row(&mut document)["headers"] = nothing;
        assert!(read_event(&document).headers.is_none());
    }
    row(&mut document).as_object_mut().unwrap().remove("headers");
    let event = read_event(&document);
    assert!(event.headers.is_none() && event.traceparent.is_none());
}

#[test]
fn bad_trace_data_does_not_fail_an_event() {
    let mut document = recorded();
    row(&mut document)["headers"] = json!({"traceparent": 7, "baggage": null, "a": 1});
    row(&mut document)["traceparent"] = json!({"no": "text"});
    let event = read_event(&document);
    assert_eq!(event.traceparent, None);
    assert_eq!(event.headers.unwrap().get(), r#"{"a":1}"#);
}

#[test]
fn the_columns_of_the_documents_are_read() {
    let mut document = recorded();
    *row(&mut document) = json!({
        "id": ID,
        "organization_id": ORGANIZATION,
        "event_name": "CUSTOMER_CREATION",
        "event_type": "com.kaiten.customer.v1.created",
        "payload": "{\"id\":\"c1\"}",
        "traceparent": TRACE,
        "created_at": "2026-03-01T12:15:30+02:00"
    });
    let event = read_event(&document);
    assert_eq!(event.data.get(), r#"{"id":"c1"}"#);
    assert_eq!(event.traceparent.as_deref(), Some(TRACE));
    assert_eq!(event.created_at, Timestamp::from_secs(1_772_360_130));
}

#[test]
fn times_are_text_or_debeziums_numbers() {
    let mut document = recorded();
    let moment = Timestamp::from_micros(1_772_360_130_123_000);
    for time in [
        json!("2026-03-01T10:15:30.123Z"),
        json!("2026-03-01 10:15:30.123+00"),
        json!(1_772_360_130_123_000_i64),
        json!(1_772_360_130_123_i64),
    ] {
        row(&mut document)["occurred_at"] = time.clone();
        assert_eq!(read_event(&document).created_at, moment, "{time}");
    }
    row(&mut document).as_object_mut().unwrap().remove("occurred_at");
    assert_eq!(
        read_event(&document).created_at,
        Timestamp::from_micros(1_772_360_130_125_000)
    );
}

#[test]
fn the_change_may_come_without_payload_as_text_or_in_base64() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let document = recorded();
    let change = &document["data"]["payload"];
    let bare = json!({"type": "x", "data": change});
    let text = json!({"type": "x", "data": document["data"].to_string()});
    let base64 = json!({"type": "x", "data_base64": STANDARD.encode(document["data"].to_string())});
    for form in [bare, text, base64] {
        assert_eq!(read_event(&form).id.to_string(), ID);
    }
}

#[test]
fn a_payload_that_is_json_already_is_taken() {
    let mut document = recorded();
    row(&mut document)["data"] = json!({"id": "c1"});
    assert_eq!(read_event(&document).data.get(), r#"{"id":"c1"}"#);
}

#[test]
fn heartbeats_are_recognised() {
    let kaiten = json!({"specversion": "1.0", "type": "cloud.kaiten.cdc.heartbeat", "id": "1", "source": "cdc", "data": {}});
    let debezium = json!({"ts_ms": 1_772_360_130_123_i64});
    let with_schema = json!({"type": "x", "data": {"schema": {}, "payload": {"ts_ms": 1}}});
    for heartbeat in [kaiten, debezium, with_schema] {
        assert!(matches!(read(&heartbeat), Ok(Envelope::Heartbeat)), "{heartbeat}");
    }
}

#[test]
fn what_is_no_insert_is_ignored() {
    let mut deleted = recorded();
    deleted["iodebeziumop"] = json!("d");
    let mut updated = recorded();
    updated["data"]["payload"]["op"] = json!("u");
    let mut retention = recorded();
    retention["data"]["payload"]["before"] = json!({"id": ID});
    retention["data"]["payload"]["after"] = Value::Null;
    for document in [deleted, updated, retention] {
        assert!(matches!(read(&document), Ok(Envelope::Ignored)), "{document}");
    }
    assert!(matches!(decode(b""), Ok(Envelope::Ignored)));
}

#[test]
fn what_can_never_be_an_event_says_why_without_repeating_it() {
    type Damage = fn(&mut Value);
    let broken: [(&str, Damage); 9] = [
        ("data is missing", |document| {
            drop(document.as_object_mut().unwrap().remove("data"));
        }),
        ("data.payload.after is missing", |document| {
            document["data"]["payload"] = json!({});
        }),
        ("after.id is missing", |document| {
            drop(row(document).as_object_mut().unwrap().remove("id"));
        }),
        ("after.application_id: it is no UUID", |document| {
            row(document)["application_id"] = json!("secret");
        }),
        ("after.organization_id: it is no UUID", |document| {
            row(document)["organization_id"] = json!("secret");
        }),
        ("after.data: the payload is no JSON object", |document| {
            row(document)["data"] = json!("[\"secret\"]");
        }),
        ("after.event_name: the name is empty", |document| {
            row(document)["event_name"] = json!("");
        }),
        ("after.occurred_at: it is no time", |document| {
            row(document)["occurred_at"] = json!("secret");
        }),
        ("after.headers: the headers are no JSON object", |document| {
            row(document)["headers"] = json!("secret");
        }),
    ];
    for (message, damage) in broken {
        let mut document = recorded();
        damage(&mut document);
        assert_eq!(read(&document).unwrap_err().to_string(), message);
    }
    let wrong_type = decode(br#"{"type": {"secret": 1}, "data": {}}"#).unwrap_err();
    assert!(!wrong_type.to_string().contains("secret"), "{wrong_type}");
    assert!(decode(b"\xff\xfe").is_err());
}

/// Reads as kaiten.md, section 6.2 says Kaiten's worker does, and nothing else.
#[test]
fn what_we_write_kaitens_worker_reads() {
    let event = Event {
        id: ID.parse().unwrap(),
        scope: Scope::default_of(ORGANIZATION.parse().unwrap()),
        name: "CUSTOMER_CREATION".to_owned(),
        event_type: "com.kaiten.customer.v1.created".to_owned(),
        data: raw(r#"{ "id": "c1", "amount": 12345678901234567890123 }"#),
        headers: Some(raw(r#"{"instance_id": "i-1"}"#)),
        traceparent: Some(TRACE.to_owned()),
        created_at: Timestamp::from_micros(1_772_360_130_123_456),
    };
    let document: Value = serde_json::from_slice(&encode(&event)).unwrap();
    assert_ne!(document["type"], "cloud.kaiten.cdc.heartbeat");
    let after = &document["data"]["payload"]["after"];
    assert_eq!(after["id"], ID);
    assert_eq!(after["organization_id"], ORGANIZATION);
    assert_eq!(after.get("application_id"), None, "the default one has no name");
    assert_eq!(after["event_name"], "CUSTOMER_CREATION");
    assert_eq!(after["event_type"], "com.kaiten.customer.v1.created");
    // A string: decode twice.
    assert_eq!(
        after["data"],
        r#"{ "id": "c1", "amount": 12345678901234567890123 }"#
    );
    assert_eq!(
        after["headers"],
        json!({"traceparent": TRACE, "instance_id": "i-1"})
    );
    assert_eq!(after["occurred_at"], "2026-03-01T10:15:30.123456Z");
    // CloudEvents 1.0 needs these (section 3.1 of its specification).
    for attribute in ["id", "source", "specversion", "type"] {
        assert!(
            document[attribute].as_str().is_some_and(|text| !text.is_empty()),
            "{attribute}"
        );
    }
}

fn raw(text: &str) -> Box<serde_json::value::RawValue> {
    serde_json::value::RawValue::from_string(text.to_owned()).unwrap()
}

prop_compose! {
    fn events()(
        id in any::<u128>(),
        organization in any::<u128>(),
        application in prop::option::of(any::<u128>()),
        name in "\\PC{1,60}",
        event_type in "[a-z.]{1,60}",
        data in prop::collection::btree_map("\\PC{0,8}", any::<String>(), 0..4),
        headers in prop::option::of(prop::collection::btree_map("[a-s]{0,8}", any::<String>(), 1..3)),
        trace in prop::option::of(any::<u128>()),
        created_at in prop_oneof![any::<i64>(), 0..4_000_000_000_000_000_i64],
    ) -> Event {
        Event {
            id: EventId(Uuid::from_u128(id)),
            scope: Scope::new(
                OrganizationId(Uuid::from_u128(organization)),
                application.map(|application| ApplicationId(Uuid::from_u128(application))),
            ),
            name,
            event_type,
            data: raw(&json!(data).to_string()),
            headers: headers.map(|headers| raw(&json!(headers).to_string())),
            traceparent: trace.map(|trace| format!("00-{trace:032x}-b7ad6b7169203331-01")),
            created_at: Timestamp::from_micros(created_at),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(event in events()) {
        let Envelope::Event(read) = decode(&encode(&event)).unwrap() else { panic!("no event") };
        prop_assert_eq!(read.id, event.id);
        prop_assert_eq!(read.scope, event.scope);
        prop_assert_eq!(read.name, event.name);
        prop_assert_eq!(read.event_type, event.event_type);
        prop_assert_eq!(read.data.get(), event.data.get());
        prop_assert_eq!(read.headers.map(|raw| raw.get().to_owned()), event.headers.map(|raw| raw.get().to_owned()));
        prop_assert_eq!(read.traceparent, event.traceparent);
        prop_assert_eq!(read.created_at, event.created_at);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn any_damage_is_read_or_refused(at in 0..1_000_usize, byte in any::<u8>()) {
        let mut bytes = recorded().to_string().into_bytes();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        let _ = decode(&bytes);
    }
}
