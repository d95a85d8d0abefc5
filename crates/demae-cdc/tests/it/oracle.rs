//! Postgres as the oracle: what `SELECT` shows as committed is what the reader yields, in the order of each transaction.

use std::collections::{BTreeMap, HashMap};

use demae_cdc::{Item, Mapping, MissingSlot, Preset, Reader};
use demae_event::{Event, EventId};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use uuid::Uuid;

use crate::support::{Database, ORGANIZATION, active, insert, next, numbers, reader, take, while_reading};

/// Interleaved transactions in one case.
const SESSIONS: usize = 3;
const CASES: u32 = 24;

/// Rows and messages with their transaction and their place in it.
const COMMITTED: &str = "SELECT coalesce(json_agg(json_build_array(id, transaction, payload::text, headers::text, \
    traceparent, event_name, (extract(epoch FROM created_at) * 1000000)::bigint) ORDER BY position)::text, '[]') FROM ( \
    SELECT id, transaction, position, payload::text, headers, traceparent, event_name, created_at FROM outbox_events \
    UNION ALL SELECT id, transaction, position, payload, NULL, NULL, 'A_MESSAGE_WITH_A_NAME_THAT_NO_ROW_HAS', now() FROM witness) AS both_tables";

/// Longer than the name of any row.
const MESSAGE: &str = "A_MESSAGE_WITH_A_NAME_THAT_NO_ROW_HAS";

/// What [`COMMITTED`] answers, in its order.
type Row = (Uuid, i64, String, Option<String>, Option<String>, String, i64);

#[derive(Debug, Clone)]
enum Action {
    Row {
        payload: serde_json::Value,
        headers: Option<serde_json::Value>,
        name: String,
        padding: usize,
    },
    /// So many rows by one statement.
    Rows(u32),
    Message(serde_json::Value),
    Savepoint,
    RollbackToSavepoint,
    Commit,
    Rollback,
}

/// Whatever JSON can hold, to some depth.
fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        // What has no end in binary, and what is near the ends; neither NaN nor infinity is JSON.
        proptest::num::f64::NORMAL.prop_map(Into::into),
        "[^\u{0}]{0,20}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::vec(("[^\u{0}]{0,8}", inner), 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

fn action() -> impl Strategy<Value = (usize, Action)> {
    // Postgres refuses NUL, and so cannot hold it.
    let text = || "[^\u{0}]{0,20}";
    let json = proptest::collection::vec((text(), value()), 0..4)
        .prop_map(|members| serde_json::Value::Object(members.into_iter().collect()))
        .boxed();
    let headers =
        proptest::option::of((text(), text()).prop_map(|(key, value)| serde_json::json!({ key: value })));
    let row = (
        json.clone(),
        headers,
        "[^\u{0}]{1,30}",
        prop_oneof![9 => 0..100_usize, 1 => 2_000..20_000_usize],
    );
    let action = prop_oneof![
        6 => row.prop_map(|(payload, headers, name, padding)| Action::Row { payload, headers, name, padding }),
        1 => prop_oneof![4 => 2..50_u32, 1 => 1_000..3_000_u32].prop_map(Action::Rows),
        2 => json.prop_map(Action::Message),
        1 => Just(Action::Savepoint),
        1 => Just(Action::RollbackToSavepoint),
        2 => Just(Action::Commit),
        1 => Just(Action::Rollback),
    ];
    (0..SESSIONS, action)
}

/// A connection, whether it is in a transaction, and how many savepoints that has.
struct Session {
    database: Database,
    savepoints: Option<u32>,
}

impl Session {
    async fn act(&mut self, action: &Action) {
        if self.savepoints.is_none() {
            self.database.run("BEGIN").await;
            self.savepoints = Some(0);
        }
        let depth = self.savepoints.unwrap_or_default();
        match action {
            Action::Row {
                payload,
                headers,
                name,
                padding,
            } => {
                let mut payload = payload.clone();
                payload["padding"] = "ä".repeat(*padding).into();
                let headers = headers
                    .as_ref()
                    .map_or("NULL".to_owned(), |headers| quoted(&headers.to_string()));
                self.database
                    .run(format!(
                        "INSERT INTO outbox_events (organization_id, event_name, event_type, payload, headers, created_at) \
                         VALUES ('{ORGANIZATION}', {}, 'a', {}, {headers}, clock_timestamp())",
                        quoted(name),
                        quoted(&payload.to_string())
                    ))
                    .await;
            }
            Action::Rows(count) => {
                self.database
                    .run(format!(
                        "INSERT INTO outbox_events (organization_id, event_name, event_type, payload, created_at) \
                         SELECT '{ORGANIZATION}', 'R', 'r', jsonb_build_object('n', n), clock_timestamp() \
                         FROM generate_series(1, {count}) n"
                    ))
                    .await;
            }
            Action::Message(payload) => {
                let id = Uuid::new_v4();
                let message = serde_json::json!({
                    "id": id, "organization_id": ORGANIZATION, "event_name": MESSAGE, "event_type": "m", "payload": payload,
                });
                self.database
                    .run(format!(
                        "SELECT pg_logical_emit_message(true, 'demae', {}); \
                         SELECT pg_logical_emit_message(true, 'somebody else', 'noise'); \
                         INSERT INTO witness (id, payload) VALUES ('{id}', {})",
                        quoted(&message.to_string()),
                        quoted(&payload.to_string())
                    ))
                    .await;
            }
            Action::Savepoint => {
                self.database.run(format!("SAVEPOINT s{}", depth + 1)).await;
                self.savepoints = Some(depth + 1);
            }
            Action::RollbackToSavepoint if depth > 0 => {
                self.database.run(format!("ROLLBACK TO SAVEPOINT s{depth}")).await;
                self.savepoints = Some(depth - 1);
            }
            Action::RollbackToSavepoint => {}
            Action::Commit => self.end("COMMIT").await,
            Action::Rollback => self.end("ROLLBACK").await,
        }
    }

    async fn end(&mut self, how: &str) {
        if self.savepoints.take().is_some() {
            self.database.run(how).await;
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// One database for all cases, one after the other; a failing one is shown as it is, because a smaller one would need a
/// fresh database for each attempt.
#[tokio::test]
async fn what_is_committed_is_what_is_read() {
    let (mut database, mut sessions, mut reader) = prepare().await;
    let strategy = proptest::collection::vec(action(), 1..60);
    let mut runner = TestRunner::default();
    for _ in 0..CASES {
        let script = strategy.new_tree(&mut runner).unwrap().current();
        println!("{script:?}");
        for (session, action) in &script {
            sessions[*session].act(action).await;
        }
        for session in &mut sessions {
            session.end("COMMIT").await;
        }
        compare(&mut database, &mut reader).await;
    }
}

async fn prepare() -> (Database, Vec<Session>, Reader) {
    let mut database = Database::create().await;
    database
        .run(
            "ALTER TABLE outbox_events ADD COLUMN transaction bigint DEFAULT txid_current(); \
             CREATE TABLE witness (id uuid, payload text, transaction bigint DEFAULT txid_current(), \
             position bigint DEFAULT nextval('outbox_events_position_seq'))",
        )
        .await;
    let mut config = database.config(MissingSlot::Create);
    config.messages = true;
    let mut reader = reader(config);
    let active = active(&database.slot());
    while_reading(&mut reader, database.until(&active, "true")).await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(Session {
            database: database.again().await,
            savepoints: None,
        });
    }
    (database, sessions, reader)
}

/// Reads up to a last event and compares with the tables, which are empty again afterwards.
async fn compare(database: &mut Database, reader: &mut Reader) {
    let committed = database.text(COMMITTED).await.unwrap();
    database
        .run("BEGIN; DELETE FROM outbox_events; DELETE FROM witness; COMMIT")
        .await;
    database.emit(0).await;
    let last = database
        .text("DELETE FROM outbox_events RETURNING id::text")
        .await
        .unwrap();

    let mut read: Vec<Event> = Vec::new();
    while read.last().is_none_or(|event| event.id.to_string() != last) {
        read.extend(take_some(reader).await);
    }
    read.pop();

    let mut committed: Vec<Row> = serde_json::from_str(&committed).unwrap();
    for row in committed.iter_mut().filter(|row| row.5 == MESSAGE) {
        row.0 = derived(row.0).0;
    }
    assert_eq!(read.len(), committed.len());
    let transactions: HashMap<Uuid, i64> = committed.iter().map(|row| (row.0, row.1)).collect();
    let mut order: BTreeMap<i64, (Vec<Uuid>, Vec<Uuid>)> = BTreeMap::new();
    for row in &committed {
        order.entry(row.1).or_default().0.push(row.0);
    }
    for event in &read {
        let transaction = transactions
            .get(&event.id.0)
            .expect("an event that was not committed");
        order.get_mut(transaction).unwrap().1.push(event.id.0);
    }
    for (written, read) in order.values() {
        assert_eq!(read, written, "the order within a transaction");
    }
    let by_id: HashMap<Uuid, &Event> = read.iter().map(|event| (event.id.0, event)).collect();
    for (id, _, payload, headers, traceparent, name, created_at) in committed {
        let event = by_id[&id];
        assert_eq!(event.name, name);
        assert_eq!(event.scope.organization.to_string(), ORGANIZATION);
        assert_eq!(event.traceparent, traceparent);
        // Of a row it is jsonb's text, of a message the writer's own.
        assert_eq!(event.data.get(), payload);
        if event.event_type != "m" {
            assert_eq!(
                event.headers.as_ref().map(|headers| headers.get()),
                headers.as_deref().filter(|text| *text != "{}")
            );
            assert_eq!(event.created_at.as_micros(), created_at);
        }
    }
}

/// What the id of a message or of another source's row becomes.
fn derived(id: Uuid) -> EventId {
    EventId::of_source(
        demae_event::Scope::default_of(ORGANIZATION.parse().unwrap()),
        "test",
        &id.to_string(),
    )
}

async fn take_some(reader: &mut Reader) -> Vec<Event> {
    let items = next(reader).await;
    reader.acknowledge(items.iter().map(Item::position));
    items
        .into_iter()
        .map(|item| match item {
            Item::Event { event, .. } => event,
            Item::Rejected(rejected) => panic!("{rejected:?}"),
        })
        .collect()
}

#[tokio::test]
async fn large_payloads_arrive_whole() {
    let mut database = Database::create().await;
    let mut reader = reader(database.config(MissingSlot::CreateAndReadTable));
    let large = "SELECT jsonb_build_object('x', string_agg(md5(n::text || random()), '')) FROM generate_series(1, 160000) n";
    database
        .run(format!(
            "INSERT INTO outbox_events (organization_id, event_name, event_type, payload) \
             SELECT '{ORGANIZATION}', 'A', 'a', ({large}) FROM generate_series(1, 3)"
        ))
        .await;
    let events = take(&mut reader, 3).await;
    let length: usize = events.iter().map(|event| event.data.get().len()).sum();
    assert!(length > 15_000_000);
    for event in events {
        let same = format!(
            "SELECT (md5(payload::text) = md5({}))::text FROM outbox_events WHERE id = '{}'",
            quoted(event.data.get()),
            event.id
        );
        assert_eq!(database.text(same).await.as_deref(), Some("true"));
    }
}

#[tokio::test]
async fn a_transaction_larger_than_a_batch_is_given_in_parts_and_confirmed_whole() {
    const ROWS: usize = 20_000;
    let mut database = Database::create().await;
    // The server keeps the transaction on its disk long before it ends.
    database
        .run("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET logical_decoding_work_mem = ''64kB''', current_database()); END $$")
        .await;
    let slot = database.slot();
    let mut reader = reader(database.config(MissingSlot::Create));
    let active = active(&slot);
    while_reading(&mut reader, database.until(&active, "true")).await;
    let before = database.text("SELECT pg_current_wal_lsn()::text").await.unwrap();
    let rows = |from: usize, to: usize| {
        format!(
            "INSERT INTO outbox_events (organization_id, event_name, event_type, payload) \
             SELECT '{ORGANIZATION}', 'A', 'a', jsonb_build_object('n', n) FROM generate_series({from}, {to}) n;"
        )
    };
    let mut other = database.again().await;
    database.run(format!("BEGIN; {}", rows(1, ROWS / 2))).await;
    other.run(insert(0)).await;
    database
        .run(format!(
            "SAVEPOINT a; {} ROLLBACK TO a; {} COMMIT",
            rows(1, 5_000),
            rows(ROWS / 2 + 1, ROWS)
        ))
        .await;

    assert_eq!(
        numbers(&take(&mut reader, 1).await),
        [0],
        "what commits first comes first"
    );
    let first = take(&mut reader, 512).await;
    let passed = format!(
        "SELECT (confirmed_flush_lsn > '{before}')::text FROM pg_replication_slots WHERE slot_name = '{slot}'"
    );
    let rest = take(&mut reader, ROWS - 512).await;
    let read = numbers(&[first, rest].concat());
    assert_eq!(read, (1..=ROWS as u64).collect::<Vec<_>>());
    while_reading(&mut reader, database.until(&passed, "true")).await;
}

#[tokio::test]
async fn what_cannot_be_an_event_is_handed_out_and_does_not_stop_the_stream() {
    let mut database = Database::create().await;
    database
        .run("CREATE TABLE foreign_events (id text, aggregatetype text, aggregateid text, type text, payload text)")
        .await;
    let mut config = database.config(MissingSlot::Create);
    config.table = "foreign_events".to_owned();
    config.messages = true;
    config.mapping = Mapping {
        fixed_organization: Some(ORGANIZATION.parse().unwrap()),
        ..Preset::Debezium.into()
    };
    let slot = database.slot();
    let mut reader = reader(config);
    let active = active(&slot);
    while_reading(&mut reader, database.until(&active, "true")).await;
    let good = Uuid::new_v4();
    database
        .run(format!(
            "INSERT INTO foreign_events VALUES ('17', 'order', '1', 'OrderCreated', '{{}}'); \
             INSERT INTO foreign_events VALUES (gen_random_uuid(), 'order', '1', 'OrderCreated', '[1]'); \
             INSERT INTO foreign_events VALUES (gen_random_uuid(), 'order', '1', 'OrderCreated', NULL); \
             SELECT pg_logical_emit_message(false, 'demae', '{{}}'); \
             SELECT pg_logical_emit_message(true, 'demae', 'no json'); \
             INSERT INTO foreign_events VALUES ('{good}', 'order', '1', 'OrderCreated', '{{\"n\":1}}')"
        ))
        .await;
    // Refused by Postgres itself, and so never seen.
    assert!(
        database
            .try_run("SELECT '{\"a\": \"\\u0000\"}'::jsonb")
            .await
            .is_err()
    );

    let mut reasons = Vec::new();
    let event = 'read: loop {
        let items = next(&mut reader).await;
        reader.acknowledge(items.iter().map(Item::position));
        for item in items {
            match item {
                Item::Rejected(rejected) => reasons.push((rejected.reason, rejected.body)),
                Item::Event { event, .. } => break 'read event,
            }
        }
    };
    assert_eq!(event.id, derived(good));
    assert_eq!(reasons.len(), 5, "{reasons:?}");
    let told = |reason: &str, body: &str| {
        reasons
            .iter()
            .any(|(found_reason, found_body)| found_reason.contains(reason) && found_body.contains(body))
    };
    assert!(told("id is no UUID", r#""aggregatetype":"order""#), "{reasons:?}");
    assert!(told("payload is no JSON object", "[1]"), "{reasons:?}");
    assert!(told("payload is NULL", "OrderCreated"), "{reasons:?}");
    assert!(told("not part of a transaction", "{}"), "{reasons:?}");
    assert!(told("expected", "no json"), "{reasons:?}");
    let written = database.text("SELECT pg_current_wal_lsn()::text").await.unwrap();
    let passed = format!(
        "SELECT (confirmed_flush_lsn >= '{written}')::text FROM pg_replication_slots WHERE slot_name = '{slot}'"
    );
    while_reading(&mut reader, database.until(&passed, "true")).await;
}
