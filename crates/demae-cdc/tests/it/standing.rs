//! What can stand in somebody else's database. Every test is a row of the table in docs/attaching.md: either its events
//! come, or `attach` says why they would not, with the statement that mends it.

use std::time::Duration;

use demae_cdc::{
    Fault, Item, MissingSlot, Preset,
    attach::{Attachment, Plan},
    mapping::Ids,
    statement::{Blocker, Waiting},
};
use demae_event::{Event, EventId};
use demae_testkit::postgres::Durability;
use tokio::sync::mpsc;

use crate::support::{Database, ORGANIZATION, fault, insert, next, numbers, reader, take};

/// For statements that nothing holds up.
const LIMIT: Duration = Duration::from_mins(1);
const COLUMNS: &str = "id uuid PRIMARY KEY DEFAULT gen_random_uuid(), organization_id uuid NOT NULL, event_name text, \
    event_type text, payload jsonb";
const OTHER: &str = "018f0000-0000-7000-8000-00000000000b";

fn attachment(database: &Database, table: &str) -> Attachment {
    let mut config = database.config(MissingSlot::Refuse);
    table.clone_into(&mut config.table);
    config.publication = database.slot();
    Attachment::new(config, Preset::Demae, None)
}

async fn install(attachment: &Attachment) {
    let plan = attachment.plan().await.unwrap();
    assert!(plan.is_possible(), "{:?}", told(&plan));
    attachment.install(&plan, LIMIT, &mut |_| {}).await.unwrap();
}

/// What stands in the way, with the remedies.
fn told(plan: &Plan) -> Vec<String> {
    plan.findings
        .iter()
        .filter_map(|finding| finding.fault.as_ref())
        .map(|fault| format!("{fault}. {}", fault.remedy()))
        .collect()
}

/// The only thing in the way, which says all of these.
async fn refused(attachment: &Attachment, parts: &[&str]) -> String {
    let told = told(&attachment.plan().await.unwrap());
    let [only] = &told[..] else {
        panic!("{told:?}");
    };
    for part in parts {
        assert!(only.contains(part), "{only} lacks {part}");
    }
    only.clone()
}

/// Runs the statements of a remedy.
async fn mend(database: &mut Database, told: &str, begin: &str) {
    let at = told.find(begin).unwrap_or_else(|| panic!("{told} lacks {begin}"));
    let end = told.rfind(';').unwrap();
    database.run(&told[at..end]).await;
}

async fn version(database: &mut Database) -> u32 {
    let text = database
        .text("SELECT current_setting('server_version_num')")
        .await
        .unwrap();
    text.parse::<u32>().unwrap() / 10_000
}

fn insert_into(table: &str, number: u32) -> String {
    insert(number).replacen("outbox_events", table, 1)
}

/// Attaches, writes two rows, and reads them.
async fn arrives(database: &mut Database, attachment: &Attachment) {
    install(attachment).await;
    let mut reader = reader(attachment.config.clone());
    for number in [1, 2] {
        let table = attachment
            .config
            .table
            .split('.')
            .map(|part| format!("\"{part}\""));
        let table = table.collect::<Vec<_>>().join(".");
        database.run(insert_into(&table, number)).await;
    }
    assert_eq!(numbers(&take(&mut reader, 2).await), [1, 2]);
}

#[tokio::test]
async fn a_partitioned_outbox_comes_under_its_own_name() {
    let mut database = Database::create().await;
    let attachment = attachment(&database, "shop_events");
    let columns = COLUMNS.replace(" PRIMARY KEY", "");
    database
        .run(format!(
            "CREATE TABLE shop_events ({columns}) PARTITION BY HASH (id); \
             CREATE TABLE shop_0 PARTITION OF shop_events FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
             CREATE TABLE shop_1 PARTITION OF shop_events FOR VALUES WITH (MODULUS 2, REMAINDER 1); \
             CREATE PUBLICATION {} FOR TABLE shop_events WITH (publish = 'insert')",
            database.slot()
        ))
        .await;
    let plan = attachment.plan().await.unwrap();
    let statement = format!(
        "ALTER PUBLICATION \"{}\" SET (publish_via_partition_root = true)",
        database.slot()
    );
    assert!(plan.statements.contains(&statement), "{:?}", plan.statements);
    assert!(
        !plan.statements.iter().any(|other| other.contains("ADD TABLE")),
        "{:?}",
        plan.statements
    );
    // Whoever writes the entry by hand is told the same.
    let told = fault(&mut reader(attachment.config.clone())).await.to_string();
    assert!(told.contains(&statement), "{told}");
    arrives(&mut database, &attachment).await;
    // A partition alone has no rows of its own.
    let mut partition = attachment.clone();
    partition.config.table = "shop_0".to_owned();
    refused(
        &partition,
        &["shop_0 is a partition of shop_events", "--table shop_events"],
    )
    .await;
}

#[tokio::test]
async fn a_row_filter_is_told_before_it_keeps_anything_back() {
    let mut database = Database::create().await;
    if version(&mut database).await < 15 {
        return;
    }
    let attachment = attachment(&database, "outbox_events");
    database
        .run(format!(
            "CREATE PUBLICATION {} FOR TABLE outbox_events WHERE (event_name = 'NEVER') WITH (publish = 'insert')",
            database.slot()
        ))
        .await;
    let told = refused(&attachment, &["keeps back all rows but those where", "NEVER"]).await;
    mend(&mut database, &told, "ALTER PUBLICATION").await;
    arrives(&mut database, &attachment).await;
}

#[tokio::test]
async fn a_column_list_must_hold_what_an_event_is_made_of() {
    let mut database = Database::create().await;
    if version(&mut database).await < 15 {
        return;
    }
    let attachment = attachment(&database, "outbox_events");
    database
        .run(format!(
            "CREATE PUBLICATION {} FOR TABLE outbox_events (position, id, organization_id, event_name, event_type, \
             created_at, traceparent) WITH (publish = 'insert')",
            database.slot()
        ))
        .await;
    let told = refused(&attachment, &["column list without payload, headers"]).await;
    let by_hand = fault(&mut reader(attachment.config.clone())).await.to_string();
    assert!(
        by_hand.contains("column list without payload, headers"),
        "{by_hand}"
    );
    mend(&mut database, &told, "ALTER PUBLICATION").await;
    arrives(&mut database, &attachment).await;
}

#[tokio::test]
async fn generated_columns_are_published_or_told() {
    let mut database = Database::create().await;
    let attachment = attachment(&database, "shop_events");
    let columns = COLUMNS.replace(
        "payload jsonb",
        "body jsonb, payload jsonb GENERATED ALWAYS AS (body) STORED",
    );
    database
        .run(format!("CREATE TABLE shop_events ({columns})"))
        .await;
    if version(&mut database).await < 18 {
        let told = refused(&attachment, &["does not publish the generated columns payload"]).await;
        mend(&mut database, &told, "ALTER TABLE").await;
        return arrives(&mut database, &attachment).await;
    }
    install(&attachment).await;
    let mut reader = reader(attachment.config.clone());
    let row = insert_into("shop_events", 1).replace("payload", "body");
    database.run(row).await;
    assert_eq!(numbers(&take(&mut reader, 1).await), [1]);
    // A publication that was there and does not.
    let slot = database.slot();
    database
        .run(format!(
            "ALTER PUBLICATION {slot} SET (publish_generated_columns = none)"
        ))
        .await;
    let plan = attachment.plan().await.unwrap();
    let statement = format!("ALTER PUBLICATION \"{slot}\" SET (publish_generated_columns = stored)");
    assert!(plan.statements.contains(&statement), "{:?}", plan.statements);
}

#[tokio::test]
async fn names_that_differ_in_case_or_schema_are_told_and_not_made_anew() {
    let mut database = Database::create().await;
    database
        .run(format!(
            "CREATE SCHEMA shop; CREATE TABLE shop.\"Shop_Events\" ({COLUMNS})"
        ))
        .await;
    let attachment_of = |table| attachment(&database, table);
    for written in ["shop_events", "shop.shop_events"] {
        refused(&attachment_of(written), &["--table 'shop.Shop_Events'"]).await;
    }
    let right = attachment_of("shop.Shop_Events");
    arrives(&mut database, &right).await;
    database
        .run("CREATE TABLE odd (id uuid, organization_id uuid, event_name text, event_type text, \"Payload\" jsonb)")
        .await;
    let odd = attachment(&database, "odd");
    refused(&odd, &["no column for payload", "there is \"Payload\""]).await;
}

#[tokio::test]
async fn tables_that_inherit_are_told() {
    let mut database = Database::create().await;
    let attachment = attachment(&database, "outbox_events");
    database
        .run("CREATE TABLE newer () INHERITS (outbox_events)")
        .await;
    let told = refused(&attachment, &["newer inherit from outbox_events"]).await;
    let by_hand = fault(&mut reader(attachment.config.clone())).await.to_string();
    assert!(by_hand.contains("newer inherit"), "{by_hand}");
    mend(&mut database, &told, "ALTER TABLE").await;
    arrives(&mut database, &attachment).await;
}

#[tokio::test]
async fn a_publication_without_inserts_gets_them_and_keeps_what_it_has() {
    let mut database = Database::create().await;
    let attachment = attachment(&database, "outbox_events");
    let slot = database.slot();
    database
        .run(format!(
            "CREATE PUBLICATION {slot} FOR TABLE outbox_events WITH (publish = 'update, delete')"
        ))
        .await;
    arrives(&mut database, &attachment).await;
    let kept = format!(
        "SELECT (pubinsert AND pubupdate AND pubdelete)::text FROM pg_publication WHERE pubname = '{slot}'"
    );
    assert_eq!(database.text(kept).await.as_deref(), Some("true"));
}

#[tokio::test]
async fn a_publication_of_deletes_needs_a_replica_identity() {
    let mut database = Database::create().await;
    let attachment = attachment(&database, "shop_events");
    let columns = COLUMNS.replace(" PRIMARY KEY", "");
    database
        .run(format!(
            "CREATE TABLE shop_events ({columns}); CREATE PUBLICATION {}",
            database.slot()
        ))
        .await;
    let told = refused(&attachment, &["has no replica identity"]).await;
    mend(&mut database, &told, "ALTER TABLE").await;
    arrives(&mut database, &attachment).await;
    database.run("DELETE FROM shop_events").await;
}

#[tokio::test]
async fn what_is_no_table_in_the_log_is_told() {
    let mut database = Database::create().await;
    database
        .run(format!(
            "CREATE VIEW seen AS SELECT * FROM outbox_events; CREATE UNLOGGED TABLE light ({COLUMNS}); \
             CREATE TABLE raw ({})",
            COLUMNS.replace("jsonb", "bytea")
        ))
        .await;
    for (table, part) in [
        ("seen", "seen is a view"),
        ("light", "light is an unlogged"),
        ("raw", "payload of raw is bytea"),
    ] {
        let told = told(&attachment(&database, table).plan().await.unwrap());
        assert!(told[0].contains(part), "{told:?}");
    }
}

#[tokio::test]
async fn columns_may_be_domains_enums_and_padded_text() {
    let mut database = Database::create().await;
    let attachment = attachment(&database, "shop_events");
    database
        .run(
            "CREATE DOMAIN document AS jsonb CHECK (jsonb_typeof(VALUE) = 'object'); CREATE TYPE kind AS ENUM ('A', 'B'); \
             CREATE TABLE shop_events (id varchar(36) PRIMARY KEY DEFAULT gen_random_uuid(), organization_id char(36), \
             event_name kind, event_type kind, payload document, created_at date)",
        )
        .await;
    install(&attachment).await;
    let mut reader = reader(attachment.config.clone());
    let row = insert_into("shop_events", 1).replace("'a'", "'B'");
    database.run(row).await;
    // So does the function, although it has the types of a table of ours.
    database
        .run(format!(
            "SELECT demae_emit('{ORGANIZATION}', 'B', 'A', '{{\"n\": 2}}')"
        ))
        .await;
    let events = take(&mut reader, 2).await;
    let names: Vec<_> = events
        .iter()
        .map(|event| (event.name.as_str(), event.event_type.as_str()))
        .collect();
    assert_eq!(names, [("A", "B"), ("B", "A")]);
    assert_eq!(numbers(&events), [1, 2]);
}

/// A Debezium outbox with numbers as ids.
async fn numbered() -> (Database, Attachment) {
    let mut database = Database::create().await;
    database
        .run(
            "CREATE DOMAIN number AS bigint; CREATE TABLE shop_events (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
             aggregatetype text, aggregateid text, type text, payload jsonb)",
        )
        .await;
    let mut config = database.config(MissingSlot::Refuse);
    "shop_events".clone_into(&mut config.table);
    let attachment = Attachment::new(config, Preset::Debezium, ORGANIZATION.parse().ok());
    (database, attachment)
}

async fn write_numbered(database: &mut Database, number: u32) {
    database
        .run(format!(
            "INSERT INTO shop_events (aggregatetype, aggregateid, type, payload) VALUES ('order', '1', 'a', '{{\"n\": {number}}}')"
        ))
        .await;
}

#[tokio::test]
async fn numbers_as_ids_are_derived_by_attach_and_refused_where_nobody_said_so() {
    let (mut database, attachment) = numbered().await;
    let plan = attachment.plan().await.unwrap();
    assert!(plan.is_possible() && plan.derives_ids, "{:?}", told(&plan));
    attachment.install(&plan, LIMIT, &mut |_| {}).await.unwrap();

    let mut config = attachment.config.clone();
    let error = fault(&mut reader(config.clone())).await.to_string();
    assert!(error.contains("id of shop_events is bigint"), "{error}");
    assert!(error.contains("derive_ids = true"), "{error}");

    // Nothing was taken, so nothing is lost.
    write_numbered(&mut database, 1).await;
    config.mapping.ids = Ids::Derived;
    assert_eq!(numbers(&take(&mut reader(config), 1).await), [1]);
}

#[tokio::test]
async fn a_sequence_that_starts_again_makes_new_events() {
    for id in ["bigint", "number"] {
        let (mut database, attachment) = numbered().await;
        // A domain has no identity; its sequence is as good.
        database
            .run(format!(
                "ALTER TABLE shop_events ALTER COLUMN id DROP IDENTITY; ALTER TABLE shop_events ALTER COLUMN id TYPE {id}; CREATE SEQUENCE ids OWNED \
                 BY shop_events.id; ALTER TABLE shop_events ALTER COLUMN id SET DEFAULT nextval('ids')"
            ))
            .await;
        install(&attachment).await;
        let mut config = attachment.config.clone();
        config.mapping.ids = Ids::Derived;
        for number in 1..=3 {
            write_numbered(&mut database, number).await;
            // Also within one transaction.
            database
                .run("BEGIN; TRUNCATE shop_events RESTART IDENTITY; COMMIT")
                .await;
        }
        let of = |items: Vec<Item>| -> Vec<Event> {
            let event = |item| match item {
                Item::Event { event, .. } => event,
                Item::Rejected(rejected) => panic!("{rejected:?}"),
            };
            items.into_iter().map(event).collect()
        };
        let ids = |events: &[Event]| -> Vec<EventId> { events.iter().map(|event| event.id).collect() };
        let mut once = reader(config.clone());
        // Nothing is acknowledged: it is read again by the next one, and has the same ids.
        let first = of(next(&mut once).await);
        drop(once);
        let again = take(&mut reader(config), 3).await;
        assert_eq!(numbers(&again), [1, 2, 3]);
        assert_eq!(ids(&again)[..first.len()], ids(&first));
        let different: std::collections::HashSet<_> = ids(&again).into_iter().collect();
        assert_eq!(different.len(), 3);
    }
}

#[tokio::test]
async fn triggers_and_row_security_are_noted_and_hide_nothing() {
    let mut database = Database::create().await;
    let attachment = attachment(&database, "outbox_events");
    database
        .run(
            "CREATE FUNCTION drop_second() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.payload ->> 'n' = '2' THEN RETURN NULL; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER gate BEFORE INSERT ON outbox_events FOR EACH ROW EXECUTE FUNCTION drop_second(); \
             CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             DELETE FROM outbox_events WHERE id = NEW.id; RETURN NULL; END $$; \
             CREATE TRIGGER tidy AFTER INSERT ON outbox_events FOR EACH ROW EXECUTE FUNCTION tidy(); \
             ALTER TABLE outbox_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; \
             CREATE POLICY own ON outbox_events FOR INSERT WITH CHECK (true)",
        )
        .await;
    let plan = attachment.plan().await.unwrap();
    assert!(plan.is_possible(), "{:?}", told(&plan));
    let notes = plan.notes.join("\n");
    assert!(notes.contains("trigger gate of outbox_events"), "{notes}");
    assert!(!notes.contains("tidy"), "{notes}");
    assert!(notes.contains("row security"), "{notes}");
    install(&attachment).await;
    let (role, url) = database.create_role("REPLICATION").await;
    let mut config = attachment.config.clone();
    config.target = url.parse().unwrap();
    let mut reader = reader(config);
    for number in 1..=3 {
        database.emit(number).await;
    }
    assert_eq!(numbers(&take(&mut reader, 2).await), [1, 3]);
    drop(reader);
    database.drop_role(&role).await;
}

#[tokio::test]
async fn every_way_of_inserting_is_an_event_and_no_update_is() {
    let mut database = Database::create().await;
    let attachment = attachment(&database, "shop_events");
    let columns = COLUMNS.replace("payload jsonb", "payload jsonb, key int UNIQUE");
    database
        .run(format!("CREATE TABLE shop_events ({columns})"))
        .await;
    install(&attachment).await;
    let mut reader = reader(attachment.config.clone());
    let values = |number: u32| format!("'{ORGANIZATION}', 'A', 'a', '{{\"n\": {number}}}'");
    let list = "organization_id, event_name, event_type, payload, key";
    database
        .run(format!(
            "COPY shop_events ({list}) FROM PROGRAM 'printf \"{ORGANIZATION}\\tA\\ta\\t{{\\\"n\\\": 1}}\\t1\\n\"'; \
             INSERT INTO shop_events ({list}) VALUES ({}, 1) ON CONFLICT (key) DO UPDATE SET event_name = 'B'; \
             INSERT INTO shop_events ({list}) VALUES ({}, 2) ON CONFLICT (key) DO NOTHING; \
             WITH written AS (INSERT INTO shop_events ({list}) VALUES ({}, 3) RETURNING id) SELECT * FROM written",
            values(0),
            values(2),
            values(3)
        ))
        .await;
    let mut expected = vec![1, 2, 3];
    if version(&mut database).await >= 15 {
        database
            .run(format!(
                "MERGE INTO shop_events s USING (VALUES (3), (4)) v(key) ON s.key = v.key \
                 WHEN MATCHED THEN UPDATE SET event_name = 'C' WHEN NOT MATCHED THEN INSERT ({list}) VALUES ({}, 4)",
                values(4)
            ))
            .await;
        expected.push(4);
    }
    assert_eq!(numbers(&take(&mut reader, expected.len()).await), expected);
}

#[tokio::test]
async fn a_database_in_another_encoding_arrives_in_utf_8_and_one_in_none_is_told() {
    let mut server = Database::create().await;
    for (encoding, fits) in [("LATIN1", true), ("SQL_ASCII", false)] {
        let name = format!("{}_{}", server.slot(), encoding.to_lowercase());
        server
            .run(format!(
                "CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
            ))
            .await;
        let (address, _) = server.url.rsplit_once('/').unwrap();
        let mut database = Database::open(&format!("{address}/{name}")).await;
        let attachment = attachment(&database, "outbox_events");
        if fits {
            install(&attachment).await;
            let mut reader = reader(attachment.config.clone());
            let row = insert(1).replace("{\"n\": 1}", "{\"n\": 1, \"s\": \"gr\u{fc}n\"}");
            database.run(row).await;
            let event = take(&mut reader, 1).await.remove(0);
            assert!(event.data.get().contains("gr\u{fc}n"), "{event:?}");
        } else {
            refused(&attachment, &["the database is in SQL_ASCII", "ENCODING 'UTF8'"]).await;
        }
        drop(database);
        let slot = attachment.config.slot;
        server
            .until(
                &format!("SELECT (count(*) = 0)::text FROM pg_replication_slots WHERE slot_name = '{slot}' AND active"),
                "true",
            )
            .await;
        server
            .run(format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}'"
            ))
            .await;
        server.run(format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }
}

#[tokio::test]
async fn messages_are_events_only_where_somebody_said_so_and_only_for_whom() {
    let mut database = Database::create().await;
    let attachment = attachment(&database, "outbox_events");
    install(&attachment).await;
    let emit = |organization: &str, name: &str, number: u32| {
        format!(
            "SELECT pg_logical_emit_message(true, 'demae', '{{\"organization_id\": \"{organization}\", \
             \"event_name\": \"{name}\", \"event_type\": \"a\", \"payload\": {{\"n\": {number}}}}}');"
        )
    };
    database.run(emit(ORGANIZATION, "A", 1) + &insert(2)).await;
    let mut config = attachment.config.clone();
    assert_eq!(numbers(&take(&mut reader(config.clone()), 1).await), [2]);

    config.messages = true;
    config.mapping.fixed_organization = ORGANIZATION.parse().ok();
    let mut pinned = reader(config);
    let messages = [
        emit(OTHER, "A", 3),
        emit(ORGANIZATION, "ENDPOINT_DISABLED", 4),
        emit(ORGANIZATION, "A", 5),
    ];
    database.run(messages.concat()).await;
    let (mut events, mut reasons) = (Vec::new(), Vec::new());
    // What came before may come again.
    while numbers(&events).last() != Some(&5) {
        let items = next(&mut pinned).await;
        pinned.acknowledge(items.iter().map(Item::position));
        for item in items {
            match item {
                Item::Event { event, .. } => events.push(event),
                Item::Rejected(rejected) => reasons.push(rejected.reason),
            }
        }
    }
    let read = numbers(&events);
    assert!(!read.contains(&3) && !read.contains(&4), "{read:?}");
    assert!(reasons[0].contains("may only speak for"), "{reasons:?}");
    assert!(
        reasons[1].contains("ENDPOINT_DISABLED is reserved"),
        "{reasons:?}"
    );
}

/// Begins to install and tells what is said meanwhile.
fn begin(
    attachment: &Attachment,
    plan: Plan,
    limit: Duration,
) -> (
    tokio::task::JoinHandle<Result<(), demae_cdc::CdcError>>,
    mpsc::UnboundedReceiver<Waiting>,
) {
    let (sender, said) = mpsc::unbounded_channel();
    let attachment = attachment.clone();
    let task = tokio::spawn(async move {
        let tell = &mut |waiting: &Waiting| sender.send(waiting.clone()).unwrap();
        attachment.install(&plan, limit, tell).await
    });
    (task, said)
}

#[tokio::test]
async fn an_open_transaction_is_named_and_giving_up_leaves_no_half_made_slot() {
    let (_postgres, mut database) = Database::on_own_server(Durability::None).await;
    let attachment = attachment(&database, "outbox_events");
    let mut other = database.again().await;
    other
        .run("CREATE TABLE unrelated (n int); BEGIN; INSERT INTO unrelated VALUES (1)")
        .await;
    let pid = other.text("SELECT pg_backend_pid()::text").await.unwrap();

    let plan = attachment.plan().await.unwrap();
    let (task, mut said) = begin(&attachment, plan, LIMIT);
    let waiting = said.recv().await.unwrap();
    let Blocker::Session { pid: named, what } = &waiting.blockers[0] else {
        panic!("{waiting}");
    };
    assert_eq!(
        (named.to_string(), what.contains("idle in transaction")),
        (pid.clone(), true)
    );
    // Whoever tries again meanwhile is told by whom the slot is being made, and what that waits for.
    refused(
        &attachment,
        &["is still being made by pid", &format!("waits for pid {pid}")],
    )
    .await;
    // Ctrl-C.
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    attachment.wait_until_none_is_unfinished().await.unwrap();
    let slots = "SELECT count(*)::text FROM pg_replication_slots";
    assert_eq!(database.text(slots).await.as_deref(), Some("0"));
    let waiting = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'SELECT pg_create_logical%'";
    database.until(waiting, "0").await;

    // The limit.
    let plan = attachment.plan().await.unwrap();
    let (task, _said) = begin(&attachment, plan, Duration::from_secs(1));
    let error = task.await.unwrap().unwrap_err();
    assert!(
        matches!(&error.fault, Fault::Blocked { blockers, .. } if blockers.contains(&pid)),
        "{error}"
    );
    assert_eq!(database.text(slots).await.as_deref(), Some("0"));

    // Once it ends, the rest is made.
    let plan = attachment.plan().await.unwrap();
    let (task, mut said) = begin(&attachment, plan, LIMIT);
    said.recv().await.unwrap();
    other.run("COMMIT").await;
    task.await.unwrap().unwrap();
    arrives(&mut database, &attachment).await;
}

#[tokio::test]
async fn prepared_transactions_are_named_and_are_events_once_they_commit() {
    let (postgres, mut database) = Database::on_own_server(Durability::None).await;
    database
        .run("ALTER SYSTEM SET max_prepared_transactions = 10")
        .await;
    postgres.restart().await.unwrap();
    let mut database = database.again().await;
    let attachment = attachment(&database, "outbox_events");
    database
        .run(format!("BEGIN; {} PREPARE TRANSACTION 'forgotten'", insert(0)))
        .await;
    let plan = attachment.plan().await.unwrap();
    let (task, mut said) = begin(&attachment, plan, LIMIT);
    let waiting = said.recv().await.unwrap();
    assert!(
        waiting
            .to_string()
            .contains("the prepared transaction \"forgotten\""),
        "{waiting}"
    );
    database.run("ROLLBACK PREPARED 'forgotten'").await;
    task.await.unwrap().unwrap();

    let mut reader = reader(attachment.config.clone());
    database
        .run(format!(
            "BEGIN; {} PREPARE TRANSACTION 'kept'; BEGIN; {} PREPARE TRANSACTION 'dropped'",
            insert(1),
            insert(2)
        ))
        .await;
    database.run("ROLLBACK PREPARED 'dropped'").await;
    database.run("COMMIT PREPARED 'kept'").await;
    database.emit(3).await;
    assert_eq!(numbers(&take(&mut reader, 2).await), [1, 3]);
}
