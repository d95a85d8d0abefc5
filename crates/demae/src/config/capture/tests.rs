use demae_cdc::{MissingSlot, Preset, mapping::Ids};

use crate::config::{Faults, Mode, OutboxReading, Settings, Sources};

fn sources(text: &str, variables: &[(&str, &str)]) -> Sources {
    Sources {
        file: Some(("demae.toml".into(), text.to_owned())),
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Sources::default()
    }
}

fn fault(text: &str) -> String {
    let Err(Faults(faults)) = Settings::load(&sources(text, &[]), Mode::Serve) else {
        panic!("accepted: {text}");
    };
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(
        (faults[0].setting.as_str(), faults[0].origin.as_str()),
        ("source", "demae.toml")
    );
    format!("{}; {}", faults[0].problem, faults[0].remedy)
}

#[test]
fn nothing_is_followed_unless_somebody_says_so() {
    let settings = Settings::load(&Sources::default(), Mode::Serve).unwrap();
    assert_eq!(settings.capture.outbox, OutboxReading::Poll);
    assert!(settings.capture.sources.is_empty());
}

#[test]
fn an_entry_becomes_a_reader_and_a_url_may_be_in_a_variable() {
    let text = r#"
        [[source]]
        name = "shop"
        url = "$SHOP_URL"

        [[source]]
        name = "billing"
        url = "postgres://demae@billing.example.com/billing?sslmode=verify-full"
        preset = "debezium"
        table = "billing.events"
        organization = "018f0000-0000-7000-8000-00000000000a"
        columns = { id = "event_id", payload = ["body", "payload"], created_at = "at" }
        header_columns = ["region"]
        derive_ids = true
        messages = true
        publication = "billing"
        slot = "billing"
        missing_slot = "create"
    "#;
    let variables = [("SHOP_URL", "postgres://demae:hunter2@shop.example.com/shop")];
    let settings = Settings::load(&sources(text, &variables), Mode::Serve).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
    let [shop, billing] = settings.capture.sources.as_slice() else {
        panic!("{:?}", settings.capture.sources);
    };
    assert_eq!(shop.target.label(), "demae@shop.example.com:5432/shop");
    assert_eq!(shop.mapping, Preset::Demae.into());
    assert_eq!(
        (shop.table_parts(), shop.slot.as_str()),
        (("public", "outbox_events"), "demae_outbox")
    );
    assert_eq!(shop.missing_slot, MissingSlot::Refuse);
    assert!(!shop.messages && billing.messages);
    assert!(!settings.capture.outbox_messages);
    assert_eq!(shop.retained_warning, 1 << 30);
    assert_eq!(billing.table_parts(), ("billing", "events"));
    assert_eq!(billing.mapping.id, ["event_id"]);
    assert_eq!(billing.mapping.payload, ["body", "payload"]);
    assert_eq!(
        billing.mapping.event_type,
        ["type"],
        "what is not named stays the preset's"
    );
    assert_eq!(billing.mapping.header_columns, ["region"]);
    assert_eq!(billing.mapping.ids, Ids::Derived);
    assert!(billing.mapping.fixed_organization.is_some());
    assert_eq!(billing.missing_slot, MissingSlot::Create);
}

#[test]
fn what_is_wrong_with_an_entry_is_told_without_its_url() {
    let entry =
        |more: &str| format!("[[source]]\nname = \"shop\"\nurl = \"postgres://demae:hunter2@h/d\"\n{more}\n");
    let cases = [
        (
            "[[source]]\nurl = \"postgres://u@h/d\"".to_owned(),
            "entry 1 \"\": it has no name",
        ),
        ("[[source]]\nname = \"shop\"".to_owned(), "it has no url"),
        (
            "[[source]]\nname = \"a b\"\nurl = \"postgres://u@h/d\"".to_owned(),
            "no name for a source",
        ),
        (
            "[[source]]\nname = \"shop\"\nurl = \"$NOT_SET\"".to_owned(),
            "NOT_SET",
        ),
        (
            "[[source]]\nname = \"shop\"\nurl = \"mysql://u:hunter2@h/d\"".to_owned(),
            "no URL like postgres://",
        ),
        (entry("urll = 1"), "no member urll"),
        (
            entry("preset = \"kafka\""),
            "write demae or seed or debezium or cloudevents",
        ),
        (entry("organization = \"mine\""), "organization is no UUID"),
        (entry("columns = \"id\""), "columns is no table"),
        (entry("columns = { body = \"x\" }"), "columns has no member body"),
        (entry("slot = \"Shop\""), "no name for a replication slot"),
        (entry("publication = \"a,b\""), "publication"),
        (entry("messages = \"some\""), "write true or false"),
        (entry("missing_slot = \"ignore\""), "refuse or create"),
        (
            entry("") + &entry("slot = \"other\""),
            "two entries have the same name",
        ),
        (
            entry("") + &entry("").replace("shop", "shop2"),
            "the same slot in one database",
        ),
        ("source = [1]".to_owned(), "this setting takes tables"),
    ];
    for (text, part) in cases {
        let told = fault(&text);
        assert!(told.contains(part), "{told:?} lacks {part:?}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn the_log_of_sqlite_cannot_be_followed() {
    let wal = ("DEMAE_OUTBOX_SOURCE", "wal");
    let Err(Faults(faults)) = Settings::load(&sources("", &[wal]), Mode::Serve) else {
        panic!("accepted");
    };
    assert_eq!((faults.len(), faults[0].setting.as_str()), (1, "outbox_source"));
    let postgres = ("DEMAE_DATABASE_URL", "postgres://u@h/d");
    let settings = Settings::load(&sources("", &[wal, postgres]), Mode::Serve).unwrap();
    assert_eq!(settings.capture.outbox, OutboxReading::Wal);
}
