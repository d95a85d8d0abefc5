//! What somebody must repair before a source can be read: each is told with the statement that does it, and the source
//! goes on once it is run. Every test is a row of the table in docs/reliability.md.

use demae_cdc::{Fault, MissingSlot, Reader};
use demae_testkit::postgres::Durability;

use crate::support::{Database, active, fault, numbers, reader, take, while_reading};

#[tokio::test]
async fn wal_level_must_be_logical() {
    let (postgres, mut database) = Database::on_own_server(Durability::None).await;
    database.run("ALTER SYSTEM SET wal_level = 'replica'").await;
    postgres.restart().await.unwrap();
    let mut database = database.again().await;
    let config = database.config(MissingSlot::CreateAndReadTable);
    let error = Reader::check(&config).await.unwrap_err();
    assert!(
        matches!(&error.fault, Fault::WalLevel { found } if found == "replica"),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("ALTER SYSTEM SET wal_level = 'logical'"),
        "{error}"
    );

    // The statement does what it says.
    database.run("ALTER SYSTEM SET wal_level = 'logical'").await;
    let mut reader = reader(config);
    assert!(matches!(fault(&mut reader).await.fault, Fault::WalLevel { .. }));
    postgres.restart().await.unwrap();
    let mut database = database.again().await;
    database.emit(1).await;
    assert_eq!(numbers(&take(&mut reader, 1).await), [1]);
}

#[tokio::test]
async fn the_user_needs_the_right_to_replicate() {
    let mut database = Database::create().await;
    let (role, url) = database.create_role("").await;
    database
        .run(format!(
            "ALTER TABLE outbox_events OWNER TO {role}; \
             DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO {role}', current_database()); END $$"
        ))
        .await;
    let config = database.config_at(&url, MissingSlot::CreateAndReadTable);
    let error = Reader::check(&config).await.unwrap_err();
    assert!(matches!(error.fault, Fault::NoReplicationRight { .. }), "{error}");
    let mut reader = reader(config);
    let error = fault(&mut reader).await;
    let statement = format!("ALTER ROLE \"{role}\" WITH REPLICATION");
    assert!(error.to_string().contains(&statement), "{error}");

    database.emit(1).await;
    database.run(statement).await;
    assert_eq!(numbers(&take(&mut reader, 1).await), [1]);
    drop(reader);
    database.drop_role(&role).await;
}

#[tokio::test]
async fn a_wrong_password_is_no_reason_to_try_for_ever() {
    let database = Database::create().await;
    let (_, address) = database.url.rsplit_once('@').unwrap();
    let config = database.config_at(
        &format!("postgres://demae:hunter2@{address}"),
        MissingSlot::Create,
    );
    let error = fault(&mut reader(config)).await;
    assert!(matches!(error.fault, Fault::Refused { .. }), "{error}");
    assert!(!error.to_string().contains("hunter2"));
}

#[tokio::test]
async fn a_missing_table_and_a_missing_column_are_told() {
    let mut database = Database::create().await;
    database
        .run("ALTER TABLE outbox_events RENAME COLUMN payload TO body")
        .await;
    let mut config = database.config(MissingSlot::Create);
    let error = fault(&mut reader(config.clone())).await;
    assert!(
        matches!(&error.fault, Fault::ColumnMissing { wanted, .. } if wanted.contains("payload")),
        "{error}"
    );
    config.table = "elsewhere.events".to_owned();
    let error = fault(&mut reader(config)).await;
    assert!(
        matches!(&error.fault, Fault::TableMissing { table } if table == "elsewhere.events"),
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_publication_and_slot_are_told_with_the_statements_that_make_them() {
    let mut database = Database::create().await;
    let mut reader = reader(database.config(MissingSlot::Refuse));
    for expected in [
        "CREATE PUBLICATION \"demae_outbox\"",
        "SELECT pg_create_logical_replication_slot(",
    ] {
        let error = fault(&mut reader).await.to_string();
        let begin = error
            .find(expected)
            .unwrap_or_else(|| panic!("{error} lacks {expected}"));
        let statement = error[begin..].split(';').next().unwrap();
        database.run(statement).await;
    }
    database.emit(1).await;
    assert_eq!(numbers(&take(&mut reader, 1).await), [1]);
}

#[tokio::test]
async fn a_slot_of_another_database_is_not_ours() {
    let mut other = Database::create().await;
    let database = Database::create().await;
    let mut config = database.config(MissingSlot::Create);
    config.slot = other.slot();
    other
        .run(format!(
            "SELECT pg_create_logical_replication_slot('{}', 'pgoutput')",
            config.slot
        ))
        .await;
    let error = fault(&mut reader(config)).await;
    assert!(
        matches!(&error.fault, Fault::SlotTaken { owner, .. } if owner.contains("database")),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_without_a_free_slot_is_told() {
    let (_postgres, mut database) = Database::on_own_server(Durability::None).await;
    database
        .run("SELECT pg_create_physical_replication_slot('taken_' || n) FROM generate_series(1, 20) n")
        .await;
    let error = fault(&mut reader(database.config(MissingSlot::Create))).await;
    assert!(matches!(error.fault, Fault::NoFreeSlot), "{error}");
}

#[tokio::test]
async fn a_user_that_may_make_no_publication_is_told_the_statement_for_somebody_who_may() {
    let mut database = Database::create().await;
    let (role, url) = database.create_role("REPLICATION").await;
    database
        .run(format!("ALTER TABLE outbox_events OWNER TO {role}"))
        .await;
    let mut reader = reader(database.config_at(&url, MissingSlot::Create));
    let error = fault(&mut reader).await;
    let Fault::Denied { statement, .. } = &error.fault else {
        panic!("{error}");
    };
    assert!(statement.starts_with("CREATE PUBLICATION"), "{statement}");
    assert!(error.to_string().contains(&format!("{statement};")), "{error}");

    database.run(statement.clone()).await;
    while_reading(&mut reader, database.until(&active(&role), "true")).await;
    database.emit(1).await;
    assert_eq!(numbers(&take(&mut reader, 1).await), [1]);
    drop(reader);
    database.drop_role(&role).await;
}

#[tokio::test]
async fn a_row_larger_than_what_is_taken_into_memory_is_told_with_a_way_past_it() {
    let mut database = Database::create().await;
    let slot = database.slot();
    let mut reader = reader(database.config(MissingSlot::Create));
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    database
        .run(
            crate::support::insert(1)
                .replace("'{\"n\": 1}'", "jsonb_build_object('x', repeat('x', 70 << 20))"),
        )
        .await;
    let error = fault(&mut reader).await;
    assert!(matches!(error.fault, Fault::TooLarge { .. }), "{error}");
    let function = "pg_replication_slot_advance";
    assert!(error.to_string().contains(function), "{error}");

    drop(reader);
    database.until(&active(&slot), "false").await;
    database
        .run(format!("SELECT {function}('{slot}', pg_current_wal_lsn())"))
        .await;
    database.emit(2).await;
    let mut reader = crate::support::reader(database.config(MissingSlot::Refuse));
    assert_eq!(numbers(&take(&mut reader, 1).await), [2]);
}
