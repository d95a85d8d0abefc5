//! Life with a slot: every row of the table in docs/reliability.md is a test here.

use std::time::Duration;

use demae_cdc::{Fault, Item, MissingSlot, Reader};
use demae_testkit::{
    postgres::{Durability, PrivatePostgres},
    proxy::FaultProxy,
};

use crate::support::{Database, active, fault, next, numbers, reader, take, while_reading};

/// Positions of the slot, as the server sees them.
fn confirmed(slot: &str) -> String {
    format!("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{slot}'")
}

fn passed(slot: &str, position: &str) -> String {
    format!(
        "SELECT (confirmed_flush_lsn >= '{position}')::text FROM pg_replication_slots WHERE slot_name = '{slot}'"
    )
}

#[tokio::test]
async fn nothing_is_confirmed_before_it_is_acknowledged_and_all_of_it_after() {
    let mut database = Database::create().await;
    let slot = database.slot();
    let mut reader = reader(database.config(MissingSlot::Create));
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    database.emit(1).await;
    let written = database.text("SELECT pg_current_wal_lsn()::text").await.unwrap();
    let items = next(&mut reader).await;
    assert_eq!(items.len(), 1);

    // Not acknowledged: the same is offered again, and the slot stays where it is.
    let again = next(&mut reader).await;
    assert_eq!(again[0].position(), items[0].position());
    assert_eq!(
        database.text(passed(&slot, &written)).await.as_deref(),
        Some("false")
    );

    reader.acknowledge([again[0].position()]);
    while_reading(&mut reader, database.until(&passed(&slot, &written), "true")).await;
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_after_a_restart_and_what_was_does_not() {
    let mut database = Database::create().await;
    let slot = database.slot();
    let mut first = reader(database.config(MissingSlot::Create));
    while_reading(&mut first, database.until(&active(&slot), "true")).await;
    database.emit(1).await;
    take(&mut first, 1).await;
    let done = database.text("SELECT pg_current_wal_lsn()::text").await.unwrap();
    while_reading(&mut first, database.until(&passed(&slot, &done), "true")).await;
    database.emit(2).await;
    next(&mut first).await;
    drop(first);

    let mut second = reader(database.config(MissingSlot::Refuse));
    assert_eq!(numbers(&take(&mut second, 1).await), [2]);
}

#[tokio::test]
async fn an_idle_database_in_a_busy_server_does_not_hold_back_the_log() {
    let mut idle = Database::create().await;
    let mut busy = Database::create().await;
    let slot = idle.slot();
    let mut reader = reader(idle.config(MissingSlot::Create));
    while_reading(&mut reader, idle.until(&active(&slot), "true")).await;
    let before = idle.text(confirmed(&slot)).await.unwrap();
    busy.run("CREATE TABLE noise AS SELECT generate_series(1, 10000)")
        .await;
    let written = busy.text("SELECT pg_current_wal_lsn()::text").await.unwrap();
    assert_ne!(before, written);
    while_reading(&mut reader, idle.until(&passed(&slot, &written), "true")).await;
}

#[tokio::test]
async fn deleting_rows_is_no_event_and_frees_the_log() {
    let mut database = Database::create().await;
    let slot = database.slot();
    let mut reader = reader(database.config(MissingSlot::Create));
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    database.emit(1).await;
    take(&mut reader, 1).await;
    database
        .run("UPDATE outbox_events SET event_name = 'B'; DELETE FROM outbox_events; TRUNCATE outbox_events")
        .await;
    let written = database.text("SELECT pg_current_wal_lsn()::text").await.unwrap();
    while_reading(&mut reader, database.until(&passed(&slot, &written), "true")).await;
}

#[tokio::test]
async fn a_publication_that_was_made_anew_is_younger_than_the_slot() {
    let mut database = Database::create().await;
    let mut reader = reader(database.config(MissingSlot::Create));
    let slot = database.slot();
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    drop(reader);
    database.until(&active(&slot), "false").await;
    database.run("DROP PUBLICATION demae_outbox").await;
    database.emit(1).await;
    let mut reader = crate::support::reader(database.config(MissingSlot::Create));
    let error = fault(&mut reader).await;
    assert!(
        matches!(error.fault, Fault::PublicationTooYoung { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("pg_drop_replication_slot"), "{error}");
}

#[tokio::test]
async fn our_own_outbox_outlives_its_publication() {
    let mut database = Database::create().await;
    let slot = database.slot();
    let config = database.config(MissingSlot::CreateAndReadTable);
    let mut first = reader(config.clone());
    while_reading(&mut first, database.until(&active(&slot), "true")).await;
    drop(first);
    database.until(&active(&slot), "false").await;
    database.emit(1).await;
    database.run("DROP PUBLICATION demae_outbox").await;
    database.emit(2).await;
    let mut second = reader(config);
    // The old slot still shows the first, before it comes to what it cannot read; the table shows both.
    let mut seen = Vec::new();
    collect(&mut second, &mut seen, 2).await;
    seen.dedup();
    assert_eq!(seen, [1, 2]);
    database.emit(3).await;
    collect(&mut second, &mut seen, 3).await;
}

#[tokio::test]
async fn a_dropped_slot_of_others_is_told_and_not_made_anew() {
    let mut database = Database::create().await;
    let slot = database.slot();
    let mut made = reader(database.config(MissingSlot::Create));
    while_reading(&mut made, database.until(&active(&slot), "true")).await;
    drop(made);
    database.until(&active(&slot), "false").await;
    database
        .run(format!("SELECT pg_drop_replication_slot('{slot}')"))
        .await;
    let error = fault(&mut reader(database.config(MissingSlot::Refuse))).await;
    assert!(matches!(error.fault, Fault::SlotMissing { .. }), "{error}");
    assert!(error.to_string().contains("is not read"), "{error}");
}

#[tokio::test]
async fn our_own_outbox_loses_nothing_with_its_slot() {
    let mut database = Database::create().await;
    let slot = database.slot();
    let mut first = reader(database.config(MissingSlot::CreateAndReadTable));
    while_reading(&mut first, database.until(&active(&slot), "true")).await;
    drop(first);
    database.until(&active(&slot), "false").await;
    database
        .run(format!("SELECT pg_drop_replication_slot('{slot}')"))
        .await;
    for number in 1..=300 {
        database.emit(number).await;
    }

    // Killed half-way through the table, the next one reads it from the beginning.
    let mut second = reader(database.config(MissingSlot::CreateAndReadTable));
    let items = tokio::time::timeout(Duration::from_mins(1), second.next(10))
        .await
        .unwrap()
        .unwrap();
    second.acknowledge(items.iter().map(Item::position));
    drop(second);
    database.until(&active(&slot), "false").await;

    let mut third = reader(database.config(MissingSlot::CreateAndReadTable));
    let events = take(&mut third, 300).await;
    assert_eq!(numbers(&events), (1..=300).collect::<Vec<_>>());
    database.emit(301).await;
    assert_eq!(numbers(&take(&mut third, 1).await), [301]);
    let mark = "SELECT coalesce(obj_description(oid, 'pg_publication'), '') FROM pg_publication";
    while_reading(&mut third, database.until(mark, "")).await;
}

#[tokio::test]
async fn a_slot_that_the_server_gave_up_is_told_or_made_anew_for_our_own_outbox() {
    let (_postgres, mut database) = Database::on_own_server(Durability::None).await;
    database
        .run("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        .await;
    database.run("ALTER SYSTEM SET min_wal_size = '32MB'").await;
    database.run("ALTER SYSTEM SET max_wal_size = '32MB'").await;
    database.run("SELECT pg_reload_conf()").await;
    let slot = database.slot();
    let mut reader = reader(database.config(MissingSlot::CreateAndReadTable));
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    drop(reader);
    database.until(&active(&slot), "false").await;
    database.emit(1).await;
    let status = format!("SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{slot}'");
    while database.text(status.clone()).await.as_deref() != Some("lost") {
        database
            .run("CREATE TABLE noise AS SELECT 1; DROP TABLE noise; SELECT pg_switch_wal(); CHECKPOINT")
            .await;
    }

    let error = fault(&mut crate::support::reader(database.config(MissingSlot::Refuse))).await;
    assert!(matches!(error.fault, Fault::SlotLost { .. }), "{error}");
    assert!(error.to_string().contains("max_slot_wal_keep_size"), "{error}");
    let mut reader = crate::support::reader(database.config(MissingSlot::CreateAndReadTable));
    assert_eq!(numbers(&take(&mut reader, 1).await), [1]);
}

#[tokio::test]
async fn a_standby_takes_over_when_the_active_one_is_gone() {
    let mut database = Database::create().await;
    let slot = database.slot();
    let config = database.config(MissingSlot::Create);
    let mut active_one = reader(config.clone());
    while_reading(&mut active_one, database.until(&active(&slot), "true")).await;
    database.emit(1).await;
    let offered = next(&mut active_one).await;
    assert_eq!(offered.len(), 1);

    let mut standby = reader(config);
    let looked = "SELECT (count(*) > 0)::text FROM pg_stat_activity \
                  WHERE application_name = 'demae' AND datname = current_database() AND query LIKE '%pg_replication_slots%' \
                  AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    while_reading(&mut standby, database.until(looked, "true")).await;
    drop(active_one);
    assert_eq!(numbers(&take(&mut standby, 1).await), [1]);
}

#[tokio::test]
async fn a_connection_that_is_cut_is_made_again() {
    let mut database = Database::create().await;
    let postgres: std::net::SocketAddr = address(&database.url);
    let proxy = FaultProxy::start(postgres).await.unwrap();
    let url = proxy.in_front_of(&database.url).unwrap();
    let mut config = database.config_at(&url, MissingSlot::CreateAndReadTable);
    // Measuring would be a second connection in the proxy.
    config.measure = Duration::from_hours(1);
    let mut reader = reader(config);
    database.emit(1).await;
    assert_eq!(numbers(&take(&mut reader, 1).await), [1]);
    for number in 2..6 {
        proxy.cut().await.unwrap();
        database.emit(number).await;
        proxy.pass();
        // What was acknowledged just before the cut may come again; what is new comes.
        while numbers(&take(&mut reader, 1).await) != [u64::from(number)] {}
    }
}

#[tokio::test]
async fn a_silent_connection_is_given_up() {
    let mut database = Database::create().await;
    let proxy = FaultProxy::start(address(&database.url)).await.unwrap();
    let url = proxy.in_front_of(&database.url).unwrap();
    let mut config = database.config_at(&url, MissingSlot::CreateAndReadTable);
    config.silence = Duration::from_secs(1);
    config.measure = Duration::from_hours(1);
    let mut reader = reader(config);
    database.emit(1).await;
    assert_eq!(numbers(&take(&mut reader, 1).await), [1]);
    proxy.stall();
    database.emit(2).await;
    // The frozen connection stays frozen; the server gives the slot free and a new connection gets through.
    let released = async {
        let slot = database.slot();
        database.until(&active(&slot), "false").await;
        proxy.cut().await.unwrap();
        proxy.pass();
    };
    while_reading(&mut reader, released).await;
    let mut seen = Vec::new();
    while !seen.contains(&2) {
        let items = next(&mut reader).await;
        reader.acknowledge(items.iter().map(Item::position));
        for item in items {
            if let Item::Event { event, .. } = item {
                seen.extend(numbers(&[event]));
            }
        }
    }
}

#[tokio::test]
async fn a_restarted_server_and_a_new_timeline_lose_nothing() {
    let (postgres, mut database) = Database::on_own_server(Durability::Full).await;
    let mut reader = reader(database.config(MissingSlot::CreateAndReadTable));
    database.emit(1).await;
    assert_eq!(numbers(&take(&mut reader, 1).await), [1]);
    database.emit(2).await;
    postgres.stop_immediate().await.unwrap();
    postgres.start_again().await.unwrap();
    let mut seen = vec![1];
    collect(&mut reader, &mut seen, 2).await;

    // A standby that is promoted goes on under a new timeline.
    let mut database = database.again().await;
    database.emit(3).await;
    database
        .run("COPY (SELECT 1) TO PROGRAM 'touch standby.signal'")
        .await;
    postgres.restart().await.unwrap();
    let mut database = database.again().await;
    database.until("SELECT pg_is_in_recovery()::text", "true").await;
    database.run("SELECT pg_promote()").await;
    let mut database = database.again().await;
    database
        .until("SELECT timeline_id::text FROM pg_control_checkpoint()", "2")
        .await;
    database.emit(4).await;
    collect(&mut reader, &mut seen, 4).await;
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [1, 2, 3, 4]);
}

/// Servers since Postgres 17 can; of an older one there is nothing to be said.
#[tokio::test]
async fn a_slot_is_kept_for_a_failover_where_the_server_can_though_it_was_made_without() {
    let mut database = Database::create().await;
    let slot = database.slot();
    let mut first = reader(database.config(MissingSlot::Create));
    while_reading(&mut first, database.until(&active(&slot), "true")).await;
    let kept =
        format!("SELECT to_jsonb(s) ->> 'failover' FROM pg_replication_slots s WHERE slot_name = '{slot}'");
    let kept = database.text(kept).await;
    assert!(matches!(kept.as_deref(), None | Some("true")), "{kept:?}");
    let version = database.text("SHOW server_version_num").await.unwrap();
    assert_eq!(kept.is_some(), version.parse::<u32>().unwrap() >= 170_000);
    database.emit(1).await;
    assert_eq!(numbers(&take(&mut first, 1).await), [1]);
}

/// The slot goes with the rows: what the old primary had committed and nobody had acknowledged is read from the new one.
#[tokio::test]
#[ignore = "needs Postgres 17 or later, which copies slots to standbys: scripts/test-postgres"]
async fn a_failover_to_a_standby_with_the_slot_loses_nothing() {
    let (primary, mut database) = Database::on_own_server(Durability::Full).await;
    database
        .run("SELECT pg_create_physical_replication_slot('standby')")
        .await;
    let standby = PrivatePostgres::start(Durability::Full).await.unwrap();
    let settings = "primary_slot_name = 'standby'\nhot_standby_feedback = on\nsync_replication_slots = on";
    standby.follow(&primary, settings).await.unwrap();
    let mut database = database.again().await;
    // No event is read before the standby has it, or a failover could take back what was delivered.
    database
        .run("ALTER SYSTEM SET synchronized_standby_slots = 'standby'")
        .await;
    database.run("SELECT pg_reload_conf()").await;
    let slot = database.slot();
    let mut before = reader(database.config(MissingSlot::Create));
    while_reading(&mut before, database.until(&active(&slot), "true")).await;
    let moved = database
        .url
        .replace(&primary.address().to_string(), &standby.address().to_string());
    let mut there = Database::open(&moved).await;
    let copied = format!(
        "SELECT (synced AND NOT temporary)::text FROM pg_replication_slots WHERE slot_name = '{slot}'"
    );
    // A slot is copied once it has moved past what the standby has forgotten.
    while there.text(&copied).await.as_deref() != Some("true") {
        database.run("SELECT pg_log_standby_snapshot()").await;
        database.emit(1).await;
        take(&mut before, 1).await;
    }
    database.emit(2).await;
    let arrived = "SELECT count(*)::text FROM outbox_events WHERE payload ->> 'n' = '2'";
    there.until(arrived, "1").await;
    drop(before);
    primary.stop_immediate().await.unwrap();

    there.run("SELECT pg_promote()").await;
    there.until("SELECT pg_is_in_recovery()::text", "false").await;
    let mut after = reader(there.config(MissingSlot::Refuse));
    there.emit(3).await;
    let mut seen = Vec::new();
    collect(&mut after, &mut seen, 3).await;
    assert!(seen.ends_with(&[2, 3]), "{seen:?}");
}

/// Takes events until one has the number.
async fn collect(reader: &mut Reader, seen: &mut Vec<u64>, number: u64) {
    while !seen.contains(&number) {
        let items = next(reader).await;
        reader.acknowledge(items.iter().map(Item::position));
        for item in items {
            if let Item::Event { event, .. } = item {
                seen.extend(numbers(&[event]));
            }
        }
    }
}

#[tokio::test]
async fn a_column_more_is_read_on_and_a_column_less_is_told_without_a_loss() {
    let mut database = Database::create().await;
    let slot = database.slot();
    let mut reader = reader(database.config(MissingSlot::Create));
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    database.emit(1).await;
    database
        .run("ALTER TABLE outbox_events ADD COLUMN note text DEFAULT 'x'")
        .await;
    database.emit(2).await;
    database
        .run("ALTER TABLE outbox_events DROP COLUMN headers, DROP COLUMN traceparent")
        .await;
    database.emit(3).await;
    // The preset knows both names.
    database
        .run("ALTER TABLE outbox_events RENAME COLUMN payload TO data")
        .await;
    database
        .run(crate::support::insert(4).replace("payload", "data"))
        .await;
    assert_eq!(numbers(&take(&mut reader, 4).await), [1, 2, 3, 4]);

    database
        .run("ALTER TABLE outbox_events RENAME COLUMN data TO body")
        .await;
    database
        .run(crate::support::insert(5).replace("payload", "body"))
        .await;
    let error = fault(&mut reader).await;
    assert!(matches!(error.fault, Fault::ColumnMissing { .. }), "{error}");
    drop(reader);
    let mut config = database.config(MissingSlot::Refuse);
    config.mapping.payload.push("body".to_owned());
    let mut reader = crate::support::reader(config);
    collect(&mut reader, &mut Vec::new(), 5).await;
}

fn address(url: &str) -> std::net::SocketAddr {
    let (_, rest) = url.rsplit_once('@').unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

/// Otherwise the administrator's restart waits for a confirmation that cannot come.
#[tokio::test]
async fn a_server_that_shuts_down_is_let_go_though_nothing_is_acknowledged() {
    let (postgres, mut database) = Database::on_own_server(Durability::Full).await;
    let slot = database.slot();
    let mut reader = reader(database.config(MissingSlot::Create));
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    database.emit(1).await;
    assert_eq!(next(&mut reader).await.len(), 1);

    // Nobody asks the reader for anything meanwhile.
    postgres.restart().await.unwrap();

    let mut database = database.again().await;
    database.emit(2).await;
    // What was offered and not acknowledged is still offered, and comes once more from the log.
    assert_eq!(numbers(&take(&mut reader, 3).await), [1, 1, 2]);
}

#[tokio::test]
async fn the_session_that_watches_for_a_shutdown_comes_back_and_the_stream_does_not_notice() {
    const SESSIONS: &str = "FROM pg_stat_activity WHERE application_name = 'demae' \
        AND backend_type = 'client backend' AND datname = current_database()";
    let (postgres, mut database) = Database::on_own_server(Durability::Full).await;
    let slot = database.slot();
    let mut config = database.config(MissingSlot::Create);
    // The sessions that measure the slot are not meant.
    config.measure = Duration::from_hours(1);
    let mut reader = reader(config);
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    database.emit(1).await;
    take(&mut reader, 1).await;
    let stream = format!("SELECT active_pid::text FROM pg_replication_slots WHERE slot_name = '{slot}'");
    let before = database.text(&stream).await;
    let watching = database
        .text(format!("SELECT min(pid)::text {SESSIONS}"))
        .await
        .unwrap();
    database
        .run(format!("SELECT pg_terminate_backend({watching})"))
        .await;
    database
        .until(
            &format!("SELECT (count(*) = 1 AND min(pid) <> {watching})::text {SESSIONS}"),
            "true",
        )
        .await;
    database.emit(2).await;
    assert_eq!(next(&mut reader).await.len(), 1);
    assert_eq!(database.text(&stream).await, before);

    postgres.restart().await.unwrap();
    assert_eq!(numbers(&take(&mut reader, 1).await), [2]);
}

/// While there is no room to read, the server's questions are not read either, and it hears from the reader all the same.
#[tokio::test]
async fn a_server_hears_from_a_reader_that_has_no_room_for_more() {
    let mut database = Database::create().await;
    let slot = database.slot();
    let mut config = database.config(MissingSlot::Create);
    // After so long the server would give the reader up.
    config.silence = Duration::from_secs(3);
    let mut reader = reader(config);
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    // A slot is active before the reader has heard of it; one that took something is under way.
    database.emit(0).await;
    take(&mut reader, 1).await;
    let large = crate::support::insert(1).replace(
        "'{\"n\": 1}'",
        "jsonb_build_object('n', 1, 'x', repeat('x', 4 << 20))",
    );
    for _ in 0..8 {
        database.run(large.clone()).await;
    }
    let of_slot = format!(
        "FROM pg_stat_replication JOIN pg_replication_slots ON pid = active_pid WHERE slot_name = '{slot}'"
    );
    let stream = format!("SELECT pid::text {of_slot}");
    let before = database.text(&stream).await;
    assert!(before.is_some());
    let heard = format!("SELECT (reply_time IS NOT NULL)::text {of_slot}");
    database.until(&heard, "true").await;
    let first = database
        .text(format!("SELECT reply_time::text {of_slot}"))
        .await
        .unwrap();
    // Nobody takes anything meanwhile.
    let later =
        format!("SELECT (reply_time > '{first}'::timestamptz + interval '7 seconds')::text {of_slot}");
    database.until(&later, "true").await;
    assert_eq!(take(&mut reader, 8).await.len(), 8);
    assert_eq!(database.text(&stream).await, before);
}

/// A restart of the reader repeats nothing of what it acknowledged, though positions are told once a second only.
#[tokio::test]
async fn the_last_position_is_told_when_a_reader_leaves() {
    let mut database = Database::create().await;
    let slot = database.slot();
    let mut reader = reader(database.config(MissingSlot::Create));
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    for number in 1..=3 {
        database.emit(number).await;
        take(&mut reader, 1).await;
    }
    // The end of the last transaction is read with the next question.
    let end = database.text("SELECT pg_current_wal_lsn()::text").await.unwrap();
    database.emit(4).await;
    next(&mut reader).await;
    drop(reader);
    database.until(&passed(&slot, &end), "true").await;
}
