//! How fast it is, for people: `cargo nextest run --release -p demae-cdc --run-ignored only --no-capture throughput`.

use demae_cdc::{Item, MissingSlot};
use tokio::time::Instant;

use crate::support::{Database, ORGANIZATION, active, next, reader, take, while_reading};

const EVENTS: usize = 400_000;
const SINGLE: u32 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, asserts nothing"]
async fn throughput() {
    let mut database = Database::create().await;
    let slot = database.slot();
    let mut reader = reader(database.config(MissingSlot::Create));
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    let mut waits = Vec::new();
    for number in 0..SINGLE {
        database.emit(number).await;
        let committed = Instant::now();
        take(&mut reader, 1).await;
        waits.push(committed.elapsed());
    }
    waits.sort_unstable();
    let at = |share: usize| waits[waits.len() * share / 100];
    println!(
        "commit to offer: median {:?}, 99th percentile {:?}",
        at(50),
        at(99)
    );

    // The backlog of a reader that was away: transactions of a hundred events of 1 KB.
    drop(reader);
    database.until(&active(&slot), "false").await;
    database
        .run(format!(
            "CREATE PROCEDURE fill(count int) LANGUAGE plpgsql AS $$ BEGIN FOR n IN 1..count / 100 LOOP \
             INSERT INTO outbox_events (organization_id, event_name, event_type, payload) \
             SELECT '{ORGANIZATION}', 'A', 'a', jsonb_build_object('n', i, 'x', repeat('x', 1000)) \
             FROM generate_series(1, 100) i; COMMIT; END LOOP; END $$; CALL fill({EVENTS})"
        ))
        .await;
    let mut reader = crate::support::reader(database.config(MissingSlot::Create));
    let mut count = next(&mut reader).await.len();
    let start = Instant::now();
    while count < EVENTS {
        let items = next(&mut reader).await;
        reader.acknowledge(items.iter().map(Item::position));
        count += items.len();
    }
    println!(
        "backlog: {:.0} events/s",
        EVENTS as f64 / start.elapsed().as_secs_f64()
    );
}
