use proptest::prelude::*;

use super::*;

const ID: &str = "018f0000-0000-7000-8000-000000000001";
const ORGANIZATION: &str = "018f0000-0000-7000-8000-00000000000a";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn read(mapping: &Mapping, row: &[(&str, Option<&str>)]) -> Result<Event, String> {
    let columns = row.iter().map(|(name, _)| (*name).to_owned()).collect();
    let layout = Layout::new(mapping, "shop", columns).map_err(|error| error.to_string())?;
    let values: Vec<_> = row
        .iter()
        .map(|(_, text)| text.map_or(Value::Null, |text| Value::Text(text.as_bytes())))
        .collect();
    layout.event(&values, Timestamp::from_secs(7))
}

fn of(preset: Preset) -> Mapping {
    Mapping {
        fixed_organization: (!preset.has_organization()).then(|| ORGANIZATION.parse().unwrap()),
        ..preset.into()
    }
}

#[test]
fn the_seeds_table_is_read_in_both_published_forms() {
    let documented = [
        ("id", Some(ID)),
        ("organization_id", Some(ORGANIZATION)),
        ("event_name", Some("CUSTOMER_CREATION")),
        ("event_type", Some("com.kaiten.customer.v1.created")),
        ("payload", Some(r#"{"id": 1}"#)),
        ("traceparent", Some(TRACE)),
        ("created_at", Some("2026-02-03 12:00:00.123456+00")),
    ];
    let event = read(&of(Preset::Seed), &documented).unwrap();
    assert_eq!(event.id.to_string(), ID);
    assert_eq!(event.data.get(), r#"{"id": 1}"#);
    assert_eq!(event.traceparent.as_deref(), Some(TRACE));
    assert_eq!(event.created_at, "2026-02-03T12:00:00.123456Z".parse().unwrap());

    let headers = format!(r#"{{"instance_id": "i-1", "traceparent": "{TRACE}", "baggage": "secret=1"}}"#);
    let repository = [
        ("id", Some(ID)),
        ("organization_id", Some(ORGANIZATION)),
        ("event_name", Some("CUSTOMER_CREATION")),
        ("event_type", Some("com.kaiten.customer.v1.created")),
        ("data", Some("{}")),
        ("headers", Some(headers.as_str())),
        ("occurred_at", Some("2026-02-03 17:30:00+05:30")),
    ];
    let event = read(&of(Preset::Seed), &repository).unwrap();
    assert_eq!(event.headers.unwrap().get(), r#"{"instance_id":"i-1"}"#);
    assert_eq!(event.traceparent.as_deref(), Some(TRACE));
    assert_eq!(event.created_at, "2026-02-03T12:00:00Z".parse().unwrap());
}

#[test]
fn debeziums_columns_become_name_type_and_headers() {
    let row = [
        ("id", Some(ID)),
        ("aggregatetype", Some("order")),
        ("aggregateid", Some("17")),
        ("type", Some("OrderCreated")),
        ("payload", Some(r#"{"total":3}"#)),
    ];
    let event = read(&of(Preset::Debezium), &row).unwrap();
    assert_eq!(
        (event.name.as_str(), event.event_type.as_str()),
        ("OrderCreated", "OrderCreated")
    );
    assert_eq!(
        event.headers.unwrap().get(),
        r#"{"aggregatetype":"order","aggregateid":"17"}"#
    );
    assert_eq!(event.created_at, Timestamp::from_secs(7));
}

#[test]
fn cloudevents_may_have_ids_that_are_no_uuids() {
    let row = |id| {
        [
            ("id", Some(id)),
            ("source", Some("/shop")),
            ("type", Some("order.created")),
            ("subject", None),
            ("time", Some("2026-02-03T12:00:00Z")),
            ("data", Some("{}")),
        ]
    };
    let event = |id| read(&of(Preset::CloudEvents), &row(id)).unwrap();
    assert_eq!(event(ID).id.to_string(), ID);
    assert_eq!(event("a-1").id, event("a-1").id);
    assert_ne!(event("a-1").id, event("a-2").id);
    assert_eq!(event("a-1").headers.unwrap().get(), r#"{"source":"/shop"}"#);
}

#[test]
fn a_row_that_cannot_be_an_event_says_why() {
    let good = [
        ("id", Some(ID)),
        ("organization_id", Some(ORGANIZATION)),
        ("event_name", Some("A")),
        ("event_type", Some("a")),
        ("payload", Some("{}")),
        ("headers", None),
    ];
    assert!(read(&of(Preset::Demae), &good).is_ok());
    let long = "x".repeat(257);
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(MAX_PAYLOAD));
    let cases = [
        (0, Some("17"), "id is no UUID"),
        (0, None, "id is NULL"),
        (1, Some(""), "organization_id is no UUID"),
        (2, Some(""), "event_name is empty"),
        (3, Some(long.as_str()), "event_type is longer than 256 bytes"),
        (4, Some("[1]"), "payload is no JSON object"),
        (4, Some("{\"a\":}"), "payload is no JSON:"),
        (4, None, "payload is NULL"),
        (4, Some(large.as_str()), "payload is larger than"),
        (5, Some("[]"), "the headers are no JSON object"),
    ];
    for (column, value, reason) in cases {
        let mut row = good;
        row[column].1 = value;
        let found = read(&of(Preset::Demae), &row).unwrap_err();
        assert!(found.contains(reason), "{found:?} lacks {reason:?}");
    }
}

#[test]
fn a_table_without_a_needed_column_is_told_by_name() {
    let row = [("id", Some(ID)), ("type", Some("a"))];
    let error = read(&of(Preset::Debezium), &row).unwrap_err();
    assert_eq!(error, "no column for payload: none of payload");
}

#[test]
fn a_rejected_row_is_described_within_its_bound() {
    let columns = vec!["id".to_owned(), "payload".to_owned()];
    let mapping = Mapping {
        id: vec!["id".to_owned()],
        name: vec!["id".to_owned()],
        event_type: vec!["id".to_owned()],
        payload: vec!["payload".to_owned()],
        ..of(Preset::Debezium)
    };
    let layout = Layout::new(&mapping, "shop", columns).unwrap();
    let row = [Value::Text(b"\"1"), Value::Null];
    assert_eq!(layout.describe(&row), r#"{"id":"\"1","payload":null}"#);
    let large = "\u{e9}".repeat(MAX_REJECTED_BODY);
    let text = layout.describe(&[Value::Text(large.as_bytes()), Value::Text(large.as_bytes())]);
    assert!(text.len() <= MAX_REJECTED_BODY && text.starts_with(r#"{"id":"é"#));
}

#[test]
fn messages_of_the_log_are_events_with_a_stable_id() {
    let text = format!(
        r#"{{"organization_id":"{ORGANIZATION}","event_name":"A","event_type":"a","payload":{{"n":1}},"traceparent":"{TRACE}"}}"#
    );
    let event = |at| message_event(text.as_bytes(), at, Timestamp::from_secs(7)).unwrap();
    assert_eq!(event("0/1").id, event("0/1").id);
    assert_ne!(event("0/1").id, event("0/2").id);
    assert_eq!(event("0/1").data.get(), r#"{"n":1}"#);
    assert_eq!(event("0/1").traceparent.as_deref(), Some(TRACE));
    for wrong in ["", "{}", "\u{0}", r#"{"organization_id":"x"}"#] {
        assert!(message_event(wrong.as_bytes(), "0/1", Timestamp::from_secs(7)).is_err());
    }
}

#[test]
fn times_in_postgres_style_are_read() {
    for (text, expected) in [
        ("2026-02-03 12:00:00+00", "2026-02-03T12:00:00Z"),
        ("2026-02-03 12:00:00", "2026-02-03T12:00:00Z"),
        ("2026-02-03 08:00:00-04", "2026-02-03T12:00:00Z"),
        ("2026-02-03T12:00:00.5Z", "2026-02-03T12:00:00.5Z"),
    ] {
        assert_eq!(moment(text), Some(expected.parse().unwrap()), "{text}");
    }
    for text in ["infinity", "0044-03-15 12:00:00+00 BC", "1783000000", ""] {
        assert_eq!(moment(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn no_row_panics(row in proptest::collection::vec(proptest::option::of(".{0,40}"), 0..12), id in ".*", headers in ".{0,30}") {
        let layout = Layout::new(&of(Preset::Seed), "s", ["id", "organization_id", "event_name", "event_type", "data", "headers", "occurred_at"].map(str::to_owned).to_vec()).unwrap();
        let mut values: Vec<_> = row.iter().map(|text| text.as_ref().map_or(Value::Null, |text| Value::Text(text.as_bytes()))).collect();
        let _ = layout.event(&values, Timestamp::from_secs(1));
        values.insert(0, Value::Text(id.as_bytes()));
        let _ = layout.event(&values, Timestamp::from_secs(1));
        let _ = layout.describe(&values);
        let _ = split_trace(Some(&headers));
        let _ = message_event(id.as_bytes(), "0/1", Timestamp::from_secs(1));
    }
}

#[test]
fn text_columns_of_demaes_own_outbox_win_where_they_are_set() {
    let row = |raw, payload| {
        [
            ("id", Some(ID)),
            ("organization_id", Some(ORGANIZATION)),
            ("event_name", Some("A")),
            ("event_type", Some("a")),
            ("payload", payload),
            ("headers", Some(r#"{"h": 1}"#)),
            ("raw", raw),
            ("raw_headers", raw),
        ]
    };
    let text = r#"{ "n":1.0,"n":1E5 }"#;
    for payload in [None, Some("{}")] {
        let event = read(&of(Preset::Demae), &row(Some(text), payload)).unwrap();
        assert_eq!(event.data.get(), text);
        assert_eq!(event.headers.unwrap().get(), text);
    }
    let event = read(&of(Preset::Demae), &row(None, Some("{}"))).unwrap();
    assert_eq!(event.data.get(), "{}");
    assert_eq!(event.headers.unwrap().get(), r#"{"h": 1}"#);
    let neither = read(&of(Preset::Demae), &row(None, None)).unwrap_err();
    assert_eq!(neither, "payload is NULL");
    // In somebody else's table the name means nothing.
    let event = read(&of(Preset::Seed), &row(Some("{"), Some("{}"))).unwrap();
    assert_eq!(event.data.get(), "{}");
}
