//! What a declaration promises of its reader, its check and its schema.

#![expect(
    clippy::option_option,
    reason = "a field that is absent, null or a value: what is declared"
)]

use std::collections::BTreeMap;

use demae_event::{Fault, Timestamp};
use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{PartialSchema, ToSchema};

use super::{schema::words, *};

/// A text of 2 to 5 characters.
struct Dish;

impl Kind<String> for Dish {
    fn read(&self, node: Node<'_>) -> Option<String> {
        node.string(2..=5)
    }

    fn schema(&self) -> RefOrSchema {
        schema::text(Some(2), Some(5), None)
    }

    fn check(&self, value: &String, at: &str, faults: &mut Faults) {
        if value.len() > 5 {
            faults.push(at, "must be short");
        }
    }
}

/// How it is served.
struct Served;

impl Kind<String> for Served {
    fn read(&self, node: Node<'_>) -> Option<String> {
        node.one_of(&["hot", "cold"])
    }

    fn schema(&self) -> RefOrSchema {
        words(&["hot", "cold"])
    }
}

/// An order.
/// Of one dish.
#[derive(Debug, PartialEq, Input)]
#[input(name = "NewOrder", example = json!({"dish": "udon"}))]
struct Order {
    /// What is eaten.
    #[input(kind = Dish)]
    dish: String,
    #[input(kind = Whole(1..=9), not_null)]
    how_many: Option<i64>,
    #[input(kind = List(0..=3, Served))]
    notes: Option<Vec<String>>,
    until: Option<Option<Timestamp>>,
    #[input(default, rename = "hot")]
    spicy: bool,
    /// Where it goes.
    table: Option<Table>,
    #[input(kind = Entries(2, Natural), default)]
    guests: BTreeMap<String, Guest>,
    #[input(flatten)]
    payment: Payment,
}

/// A table.
#[derive(Debug, PartialEq, Input)]
struct Table {
    #[input(kind = Whole(1..=20))]
    number: i32,
}

#[derive(Debug, PartialEq, Input)]
#[input(snake_case)]
struct Guest {
    #[input(kind = Dish)]
    short_name: String,
}

#[derive(Debug, PartialEq, Input)]
struct Payment {
    /// Whether it was paid.
    paid: bool,
}

fn read_order(body: &Value, unknown: Unknown) -> Result<Order, Vec<Fault>> {
    read(body, "body", unknown, Order::read)
}

fn faults(body: &Value, unknown: Unknown) -> Vec<(String, String)> {
    let faults = read_order(body, unknown).unwrap_err();
    let mut places: Vec<_> = faults
        .into_iter()
        .map(|fault| (fault.location, fault.message))
        .collect();
    places.sort();
    places
}

fn owned(places: &[(&str, &str)]) -> Vec<(String, String)> {
    places
        .iter()
        .map(|(at, message)| ((*at).to_owned(), (*message).to_owned()))
        .collect()
}

#[test]
fn a_body_that_fits_is_read_with_absence_null_and_value_told_apart() {
    let full = json!({
        "dish": "ramen", "howMany": 3.0, "notes": null, "until": null, "hot": true, "table": {"number": 7},
        "guests": {"a b": {"short_name": "Ann"}}, "paid": false,
    });
    let expected = Order {
        dish: "ramen".to_owned(),
        how_many: Some(3),
        notes: None,
        until: Some(None),
        spicy: true,
        table: Some(Table { number: 7 }),
        guests: BTreeMap::from([(
            "a b".to_owned(),
            Guest {
                short_name: "Ann".to_owned(),
            },
        )]),
        payment: Payment { paid: false },
    };
    assert_eq!(read_order(&full, Unknown::Refuse), Ok(expected));
    let least = read_order(
        &json!({"dish": "udon", "paid": true, "guests": null, "hot": null}),
        Unknown::Refuse,
    )
    .unwrap();
    assert_eq!(
        (least.until, least.spicy, least.table, least.guests.len()),
        (None, false, None, 0)
    );
    let dated = json!({"dish": "udon", "paid": true, "until": "2026-01-02T03:04:05Z"});
    let dated = read_order(&dated, Unknown::Refuse).unwrap();
    assert_eq!(dated.until, Some(Some("2026-01-02T03:04:05Z".parse().unwrap())));
}

#[test]
fn every_fault_is_noted_at_its_place() {
    let body = json!({
        "dish": "x", "howMany": null, "notes": ["hot", "warm", 7], "until": "soon", "hot": "very",
        "table": {"number": 21, "chair": 1}, "guests": {"a b": {"short_name": 5}, "c": {}}, "extra": 1, "spicy": true,
    });
    let unknown = [
        ("body.extra", "is not a known property"),
        ("body.spicy", "is not a known property"),
        ("body.table.chair", "is not a known property"),
    ];
    let others = [
        ("body.dish", "must have at least 2 characters"),
        ("body.guests.a b.short_name", "must be a string"),
        ("body.guests.c.short_name", "is required"),
        ("body.hot", "must be a boolean"),
        ("body.howMany", "must be an integer"),
        ("body.notes[1]", "must be one of hot, cold"),
        ("body.notes[2]", "must be one of hot, cold"),
        ("body.paid", "is required"),
        ("body.table.number", "must be from 1 to 20"),
        ("body.until", "must be an RFC 3339 date-time"),
    ];
    assert_eq!(faults(&body, Unknown::Ignore), owned(&others));
    let mut all = [owned(&unknown), owned(&others)].concat();
    all.sort();
    assert_eq!(faults(&body, Unknown::Refuse), all);
    assert_eq!(
        faults(&json!([]), Unknown::Refuse),
        owned(&[("body", "must be an object")])
    );
}

#[test]
fn no_list_of_faults_is_longer_than_its_bound() {
    let many: Map<String, Value> = (0..3 * MAX_FAULTS)
        .map(|place| (format!("k{place}"), json!(1)))
        .collect();
    assert_eq!(
        read_order(&Value::Object(many), Unknown::Refuse)
            .unwrap_err()
            .len(),
        MAX_FAULTS
    );
    let three = json!({"dish": "udon", "paid": true, "guests": {"a": {}, "b": {}, "c": {}}, "notes": ["hot", "hot", "hot", "hot"]});
    let expected = [
        ("body.guests", "must have at most 2 entries"),
        ("body.notes", "must have 0 to 3 items"),
    ];
    assert_eq!(faults(&three, Unknown::Refuse), owned(&expected));
}

#[test]
fn a_value_is_checked_at_the_places_of_the_domain() {
    let order = Order {
        dish: "bouillabaisse".to_owned(),
        how_many: Some(10),
        notes: None,
        until: Some(None),
        spicy: true,
        table: Some(Table { number: 0 }),
        guests: BTreeMap::from([(
            "a.b".to_owned(),
            Guest {
                short_name: "Annabel".to_owned(),
            },
        )]),
        payment: Payment { paid: false },
    };
    let places: Vec<_> = order
        .check()
        .into_vec()
        .into_iter()
        .map(|fault| fault.location)
        .collect();
    assert_eq!(
        places,
        ["dish", "how_many", "table.number", "guests[\"a.b\"].short_name"]
    );
}

#[test]
fn the_schema_says_what_the_reader_takes() {
    assert_eq!(Order::name(), "NewOrder");
    let expected = json!({
        "type": "object", "description": "An order.\nOf one dish.", "required": ["dish", "paid"],
        "properties": {
            "dish": {"type": "string", "description": "What is eaten.", "maxLength": 5, "minLength": 2},
            "howMany": {"type": "integer", "format": "int64", "maximum": 9, "minimum": 1},
            "notes": {"type": ["array", "null"], "items": {"type": "string", "enum": ["hot", "cold"]}, "maxItems": 3},
            "until": {"type": ["string", "null"], "format": "date-time"},
            "hot": {"type": ["boolean", "null"]},
            "table": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Table"}]},
            "guests": {"type": ["object", "null"], "additionalProperties": {"$ref": "#/components/schemas/Guest"},
                "propertyNames": {"type": "string"}},
            "paid": {"type": "boolean", "description": "Whether it was paid."},
        },
        "example": {"dish": "udon"},
    });
    assert_eq!(serde_json::to_value(Order::schema()).unwrap(), expected);
    let mut components = Components::new();
    Order::schemas(&mut components);
    let names: Vec<_> = components.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Table", "Guest"]);
}

/// When it happened.
#[derive(Serialize, Shown)]
#[serde(rename_all = "camelCase")]
struct Stamp {
    /// When.
    served_at: Timestamp,
}

/// A bill.
#[derive(Serialize, Shown)]
#[serde(rename_all = "camelCase")]
#[shown(name = "Bill")]
struct ShownBill {
    /// What it comes to.
    #[serde(rename = "sum")]
    #[shown(example = 12)]
    total_amount: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    paid_by: Option<String>,
    tip: Option<f64>,
    #[shown(schema = words(&["cash", "card"]))]
    means: String,
    #[serde(flatten)]
    stamp: Stamp,
    others: Vec<Stamp>,
}

#[test]
fn what_is_shown_is_described_as_it_is_written() {
    let expected = json!({
        "type": "object", "description": "A bill.",
        "required": ["sum", "tip", "means", "servedAt", "others"],
        "properties": {
            "sum": {"type": "integer", "format": "int32", "description": "What it comes to.", "examples": [12]},
            "paidBy": {"type": "string"},
            "tip": {"type": ["number", "null"], "format": "double"},
            "means": {"type": "string", "enum": ["cash", "card"]},
            "servedAt": {"type": "string", "format": "date-time", "description": "When."},
            "others": {"type": "array", "items": {"$ref": "#/components/schemas/Stamp"}},
        },
    });
    assert_eq!(serde_json::to_value(ShownBill::schema()).unwrap(), expected);
    let stamp = || Stamp {
        served_at: Timestamp::from_micros(0),
    };
    let bill = ShownBill {
        total_amount: 1,
        paid_by: Some(String::new()),
        tip: None,
        means: "cash".to_owned(),
        stamp: stamp(),
        others: vec![stamp()],
    };
    let written = serde_json::to_value(bill).unwrap();
    let described = expected["properties"].as_object().unwrap();
    assert!(
        written.as_object().unwrap().keys().eq(described.keys()),
        "{written}"
    );
}

#[test]
fn the_values_of_a_map_of_texts_are_never_repeated() {
    let body = json!({"labels": {"Key": "a-credential", "four": "x"}});
    let labels = |fields: &mut Fields<'_>| {
        fields
            .field("labels")
            .required(|node| node.text_map(2, 1..=3, 0..=3))
    };
    let faults = read(&body, "body", Unknown::Refuse, labels).unwrap_err();
    assert!(!format!("{faults:?}").contains("a-credential"));
    let places: Vec<_> = faults.into_iter().map(|fault| fault.location).collect();
    assert_eq!(places, ["body.labels.Key", "body.labels.four"]);
}

#[test]
fn characters_are_counted_at_the_bounds() {
    for (dish, fits) in [
        ("あ", false),
        ("あい", true),
        ("あいうえお", true),
        ("あいうえおか", false),
    ] {
        let body = json!({"dish": dish, "paid": true});
        assert_eq!(read_order(&body, Unknown::Refuse).is_ok(), fits, "{dish}");
    }
    for (count, fits) in [
        (json!(0), false),
        (json!(1), true),
        (json!(9), true),
        (json!(1e30), false),
        (json!(1.5), false),
    ] {
        let body = json!({"dish": "udon", "paid": true, "howMany": count});
        assert_eq!(read_order(&body, Unknown::Refuse).is_ok(), fits, "{count}");
    }
}

/// Any JSON for a field, with values that fit among them.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..12).prop_map(Value::from),
        "[a-z]{0,7}".prop_map(Value::from),
        Just(json!("2026-01-02T03:04:05Z")),
        Just(json!(["hot", "cold"])),
        Just(json!({"number": 3})),
        Just(json!({"number": "3", "x": null})),
    ]
}

const NAMES: [&str; 9] = [
    "dish", "howMany", "notes", "until", "hot", "table", "guests", "paid", "extra",
];

proptest! {
    /// The faults of a body are those of its fields, each read as if it were the only wrong one.
    #[test]
    fn the_faults_of_a_body_are_those_of_its_fields(values in proptest::collection::btree_map(0..NAMES.len(), any_value(), 0..9)) {
        let good = json!({"dish": "udon", "paid": true});
        let mut body = good.clone();
        let mut expected = Vec::new();
        for (name, value) in &values {
            let mut one = good.clone();
            one[NAMES[*name]] = value.clone();
            expected.extend(read_order(&one, Unknown::Refuse).err().into_iter().flatten().map(|fault| (fault.location, fault.message)));
            body[NAMES[*name]] = value.clone();
        }
        expected.sort();
        if read_order(&body, Unknown::Refuse).is_ok() {
            prop_assert!(expected.is_empty());
        } else {
            prop_assert_eq!(faults(&body, Unknown::Refuse), expected);
        }
    }
}
