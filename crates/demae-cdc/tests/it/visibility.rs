//! An event is not known before its cause: what is offered can be seen by everybody.

use demae_cdc::{Item, MissingSlot};
use demae_testkit::postgres::Durability;

use crate::support::{Database, active, insert, next, numbers, reader, take, while_reading};

/// The sessions that have written their commit and wait for a standby to confirm it.
const HELD: &str = "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

/// A commit that waits for its standby is in the log, and nobody can see it: the same moment that every commit has, made
/// long.
#[tokio::test]
async fn a_change_is_offered_once_its_transaction_can_be_seen() {
    let (_server, mut database) = Database::on_own_server(Durability::Full).await;
    let slot = database.slot();
    let mut reader = reader(database.config(MissingSlot::Create));
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    require_standby(&mut database, "'nobody'").await;

    // The server may need a moment to obey.
    let mut writer = database.again().await;
    let mut number = 1;
    let held = loop {
        let mut emitting = Box::pin(async move {
            writer.run(insert(number)).await;
            writer
        });
        tokio::select! {
            done = &mut emitting => writer = done,
            () = database.until(HELD, "1") => break emitting,
        }
        number += 1;
    };

    let since = database.text("SELECT clock_timestamp()::text").await.unwrap();
    let asked = format!(
        "SELECT (query_start > '{since}')::text FROM pg_stat_activity WHERE query LIKE '%pg_current_snapshot()%' \
         AND pid <> pg_backend_pid()"
    );
    let mut witness = database.again().await;
    loop {
        tokio::select! {
            items = next(&mut reader) => {
                let rows = witness.text("SELECT count(*)::text FROM outbox_events").await.unwrap();
                assert!(rows.parse::<u32>().unwrap() < number, "the last one cannot be seen");
                assert!(!items.iter().any(|item| is_number(item, number)), "and was offered");
                reader.acknowledge(items.iter().map(Item::position));
            }
            () = database.until(&asked, "true") => break,
        }
    }

    require_standby(&mut database, "''").await;
    held.await;
    let last = take(&mut reader, 1).await;
    assert_eq!(numbers(&last), [u64::from(number)]);
}

async fn require_standby(database: &mut Database, name: &str) {
    database
        .run(format!("ALTER SYSTEM SET synchronous_standby_names = {name}"))
        .await;
    database.run("SELECT pg_reload_conf()").await;
}

fn is_number(item: &Item, number: u32) -> bool {
    match item {
        Item::Event { event, .. } => numbers(std::slice::from_ref(event)) == [u64::from(number)],
        Item::Rejected(_) => false,
    }
}
