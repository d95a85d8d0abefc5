use proptest::prelude::*;

use super::*;

const ID: &str = "018f0000-0000-7000-8000-000000000001";
const ORGANIZATION: &str = "018f0000-0000-7000-8000-00000000000a";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const OTHER: &str = "018f0000-0000-7000-8000-00000000000b";
/// Of a row without a time.
const PLACE: Place = Place {
    committed_at: Timestamp::from_secs(7),
    number: 0,
};

fn of_shop(organization: &str, id: &str) -> EventId {
    EventId::of_source(Scope::default_of(organization.parse().unwrap()), "shop", id)
}

fn read(mapping: &Mapping, row: &[(&str, Option<&str>)]) -> Result<Event, String> {
    let columns = row.iter().map(|(name, _)| Column::text(*name)).collect();
    let layout = Layout::new(mapping, "shop", columns).map_err(|error| error.to_string())?;
    let values: Vec<_> = row
        .iter()
        .map(|(_, text)| text.map_or(Value::Null, |text| Value::Text(text.as_bytes())))
        .collect();
    layout.event(&values, PLACE)
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
    assert_eq!(event.id, of_shop(ORGANIZATION, ID));
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
    assert_eq!(event(ID).id, of_shop(ORGANIZATION, ID));
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

/// A row of the preset `demae`.
fn row<'a>(
    organization: Option<&'a str>,
    name: &'a str,
    event_type: &'a str,
) -> [(&'a str, Option<&'a str>); 5] {
    [
        ("id", Some(ID)),
        ("organization_id", organization),
        ("event_name", Some(name)),
        ("event_type", Some(event_type)),
        ("payload", Some("{}")),
    ]
}

#[test]
fn a_row_may_name_an_application_and_null_is_the_default_one() {
    let organization: OrganizationId = ORGANIZATION.parse().unwrap();
    let application = ApplicationId(OTHER.parse().unwrap());
    let named = Scope::new(organization, Some(application));
    for preset in Preset::ALL {
        let mapping = Mapping {
            name: vec!["event_name".to_owned()],
            event_type: vec!["event_type".to_owned()],
            payload: vec!["payload".to_owned()],
            ..of(preset)
        };
        let with = |application| {
            let mut row = row(Some(ORGANIZATION), "A", "a").to_vec();
            row.push(("application_id", application));
            read(&mapping, &row)
        };
        let event = with(Some(OTHER)).unwrap();
        assert_eq!(event.scope, named, "{preset:?}");
        assert_eq!(event.id, EventId::of_source(named, "shop", ID));
        for default in [None, Some(ORGANIZATION)] {
            let event = with(default).unwrap();
            assert_eq!(event.scope, Scope::default_of(organization));
            assert_eq!(event.id, of_shop(ORGANIZATION, ID));
        }
        for wrong in ["", "17", &application.to_string()] {
            assert_eq!(with(Some(wrong)).unwrap_err(), "application_id is no UUID");
        }
    }
}

#[test]
fn a_source_of_one_organization_speaks_for_no_other() {
    let pinned = Mapping {
        fixed_organization: Some(ORGANIZATION.parse().unwrap()),
        ..Preset::Demae.into()
    };
    for allowed in [None, Some(ORGANIZATION), Some(&*ORGANIZATION.to_uppercase())] {
        let event = read(&pinned, &row(allowed, "A", "a")).unwrap();
        assert_eq!(event.scope.organization.to_string(), ORGANIZATION);
        assert_eq!(event.id, of_shop(ORGANIZATION, ID));
    }
    for other in [OTHER, "17", ""] {
        let reason = read(&pinned, &row(Some(other), "A", "a")).unwrap_err();
        let expected = format!("organization_id is {other:?}, but this source may only speak for");
        assert!(reason.starts_with(&expected), "{reason}");
    }
}

#[test]
fn the_same_id_is_another_event_for_every_organization_and_for_our_own_outbox_itself() {
    let id = |mapping: &Mapping, organization| read(mapping, &row(Some(organization), "A", "a")).unwrap().id;
    let foreign = of(Preset::Demae);
    assert_eq!(id(&foreign, ORGANIZATION), id(&foreign, ORGANIZATION));
    assert_ne!(id(&foreign, ORGANIZATION), id(&foreign, OTHER));
    let own = Mapping {
        ids: Ids::Verbatim,
        ..foreign.clone()
    };
    assert_eq!(id(&own, ORGANIZATION).to_string(), ID);
    assert_ne!(id(&foreign, ORGANIZATION).to_string(), ID);
}

#[test]
fn what_the_engine_emits_comes_from_our_own_outbox_only() {
    let own = Mapping {
        ids: Ids::Verbatim,
        ..of(Preset::Demae)
    };
    for (name, event_type, reserved) in [
        ("ENDPOINT_DISABLED", "a", "ENDPOINT_DISABLED"),
        (
            "com.demae.endpoint.v1.failing",
            "a",
            "com.demae.endpoint.v1.failing",
        ),
        (
            "A",
            "com.demae.endpoint.v9.anything",
            "com.demae.endpoint.v9.anything",
        ),
    ] {
        let row = row(Some(ORGANIZATION), name, event_type);
        let reason = read(&of(Preset::Demae), &row).unwrap_err();
        assert_eq!(
            reason,
            format!("{reserved} is reserved for what Demae itself emits")
        );
        assert!(read(&own, &row).is_ok());
    }
}

#[test]
fn a_number_is_another_event_when_its_sequence_has_started_again_and_the_same_when_it_is_read_again() {
    let mapping = Mapping {
        ids: Ids::Derived,
        ..of(Preset::Debezium)
    };
    let columns = |type_id| {
        let mut columns = ["id", "type", "payload"].map(Column::text).to_vec();
        columns[0].type_id = type_id;
        columns
    };
    let id = |type_id, at, number| {
        let layout = Layout::new(&mapping, "shop", columns(type_id)).unwrap();
        let row = ["1", "a", "{}"].map(|text| Value::Text(text.as_bytes()));
        let place = Place {
            committed_at: Timestamp::from_secs(at),
            number,
        };
        layout.event(&row, place).unwrap().id
    };
    for number in [20, 21, 23, 1700] {
        assert_eq!(id(number, 7, 0), id(number, 7, 0));
        assert_ne!(id(number, 7, 0), id(number, 8, 0));
        assert_ne!(id(number, 7, 0), id(number, 7, 1));
    }
    // Text is the producer's own name for it, however often it comes.
    assert_eq!(id(25, 7, 0), id(25, 8, 1));
}

#[test]
fn what_is_not_utf_8_is_told_by_that_name() {
    let columns = ["id", "organization_id", "event_name", "event_type", "payload"].map(Column::text);
    let layout = Layout::new(&of(Preset::Demae), "shop", columns.to_vec()).unwrap();
    let mut values = [ID, ORGANIZATION, "A", "a", "{}"].map(|text| Value::Text(text.as_bytes()));
    values[4] = Value::Text(b"{\"n\":\"\xe4\"}");
    assert_eq!(layout.event(&values, PLACE).unwrap_err(), "payload is not UTF-8");
}

#[test]
fn a_table_without_a_needed_column_is_told_by_name() {
    let row = [("id", Some(ID)), ("type", Some("a"))];
    let error = read(&of(Preset::Debezium), &row).unwrap_err();
    assert_eq!(error, "no column for payload: none of payload");
}

#[test]
fn a_rejected_row_is_described_within_its_bound() {
    let columns = ["id", "payload"].map(Column::text).to_vec();
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
    let read = |text: &str, at, organization| {
        let speaker = Speaker {
            source: "shop",
            organization,
        };
        message_event(text.as_bytes(), at, Timestamp::from_secs(7), speaker)
    };
    let event = |at| read(&text, at, None).unwrap();
    assert_eq!(event("0/1").id, event("0/1").id);
    assert_ne!(event("0/1").id, event("0/2").id);
    assert_eq!(event("0/1").data.get(), r#"{"n":1}"#);
    assert_eq!(event("0/1").traceparent.as_deref(), Some(TRACE));
    for wrong in ["", "{}", "\u{0}", r#"{"organization_id":"x"}"#] {
        assert!(read(wrong, "0/1", None).is_err());
    }
    // An id takes the place of the position, and belongs to the organization.
    let with_id = |organization: &str| {
        let text = text.replace(ORGANIZATION, organization);
        let text = text.replacen('{', &format!("{{\"id\":\"{ID}\","), 1);
        read(&text, "0/1", None).unwrap().id
    };
    assert_eq!(with_id(ORGANIZATION), of_shop(ORGANIZATION, ID));
    assert_eq!(with_id(OTHER), of_shop(OTHER, ID));
    // A source of one organization needs none in the message, and takes no other.
    let (pin, other) = (ORGANIZATION.parse().ok(), OTHER.parse().ok());
    let nobody = text.replace(&format!("\"organization_id\":\"{ORGANIZATION}\","), "");
    assert!(read(&text, "0/1", pin).is_ok() && read(&nobody, "0/1", pin).is_ok());
    assert!(
        read(&nobody, "0/1", None)
            .unwrap_err()
            .contains("organization_id")
    );
    let refused = read(&text, "0/1", other).unwrap_err();
    assert!(refused.contains("may only speak for"), "{refused}");
    let reserved = text.replace("\"A\"", "\"ENDPOINT_DISABLED\"");
    assert!(read(&reserved, "0/1", None).unwrap_err().contains("reserved"));
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
        let layout = Layout::new(&of(Preset::Seed), "s", ["id", "organization_id", "event_name", "event_type", "data", "headers", "occurred_at"].map(Column::text).to_vec()).unwrap();
        let mut values: Vec<_> = row.iter().map(|text| text.as_ref().map_or(Value::Null, |text| Value::Text(text.as_bytes()))).collect();
        let _ = layout.event(&values, PLACE);
        values.insert(0, Value::Text(id.as_bytes()));
        let _ = layout.event(&values, PLACE);
        let _ = layout.describe(&values);
        let _ = split_trace(Some(&headers));
        let _ = message_event(id.as_bytes(), "0/1", Timestamp::from_secs(1), Speaker { source: "s", organization: None });
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
