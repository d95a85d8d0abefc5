//! The hot statements find their rows by index, however the tables are filled.

use std::collections::BTreeSet;

use demae_testkit::sqlite::SqliteFile;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use super::{MAX_ROWS, sql};
use crate::{Store, StoreOptions, Vault};

/// 20,000 deliveries, most of them waiting, to few endpoints: the case in which reading a whole lane would be dear.
const FILL: &str = "
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
    INSERT INTO deliveries (endpoint_id, event_id, organization_id, state, attempts, step, due_at, lease, worker_id,
                            manual, delivered_name, created_at)
    SELECT CAST(printf('endpoint%08d', i % 5) AS BLOB), CAST(printf('event%011d', i) AS BLOB), randomblob(16),
           CASE WHEN i % 100 = 0 THEN 1 WHEN i % 4 = 0 THEN 2 ELSE 0 END, 0, 0, random(),
           CASE WHEN i % 100 = 0 THEN randomblob(16) END, CASE WHEN i % 100 = 0 THEN randomblob(16) END, false, 'N', i
    FROM n;
    INSERT INTO messages (event_id, organization_id, application_id, event_name, event_type, payload, created_at)
    SELECT event_id, organization_id, organization_id, 'N', 't', '{}', created_at FROM deliveries;
    INSERT INTO outbox_events (id, organization_id, event_name, event_type, payload)
    SELECT event_id, organization_id, 'N', 't', '{}' FROM messages;
    INSERT INTO workers (id, started_at, heartbeat_at) VALUES (randomblob(16), 1, 1);";

const DELIVERY_BY_KEY: &str = "sqlite_autoindex_deliveries_1 (endpoint_id=? AND event_id=?)";
const MESSAGE_BY_KEY: &str = "sqlite_autoindex_messages_1 (event_id=?)";

/// Statements over many rows, with every index they use.
const MULTI_ROW: [(sql::MultiRow, &[&str]); 10] = [
    (sql::APPEND, &[MESSAGE_BY_KEY]),
    (sql::TAKE_OUT, &["outbox_events_id (id=?)"]),
    (sql::MESSAGES, &[]),
    (sql::DELIVERIES, &[]),
    (sql::LEASE, &[DELIVERY_BY_KEY]),
    (sql::HELD, &[DELIVERY_BY_KEY]),
    (sql::MOVE, &[DELIVERY_BY_KEY]),
    (sql::KEEP, &[]),
    (sql::RELEASE, &[DELIVERY_BY_KEY]),
    (sql::GIVE_BACK, &["deliveries_leased (due_at=?)"]),
];

/// The others.
const SINGLE: [(&str, &[&str]); 4] = [
    (
        sql::WAITING_ORGANIZATIONS,
        &["outbox_events_organization (organization_id>?)"],
    ),
    (
        sql::CLAIM,
        &[
            "deliveries_waiting (endpoint_id=? AND due_at<?)",
            "sqlite_autoindex_messages_1 (event_id=?) LEFT-JOIN",
        ],
    ),
    (
        sql::WAITING_LANES,
        &[
            "deliveries_waiting",
            "deliveries_waiting (endpoint_id>?)",
            "deliveries_waiting (endpoint_id=?)",
        ],
    ),
    (
        sql::RECOVER_LEASES,
        &["deliveries_leased", "sqlite_autoindex_workers_1 (id=?)"],
    ),
];

async fn plan(store: &Store, sql: &str) -> Vec<String> {
    let explain = Statement::from_string(DbBackend::Sqlite, format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = store.reader().query_all_raw(explain).await.unwrap();
    rows.iter()
        .map(|row| row.try_get("", "detail").unwrap())
        .collect()
}

async fn assert_uses(store: &Store, sql: &str, indices: &[&str]) {
    let plan = plan(store, sql).await;
    let used: BTreeSet<&str> = plan
        .iter()
        .filter_map(|line| line.split_once(" INDEX "))
        .map(|(_, index)| index)
        .collect();
    assert_eq!(used, indices.iter().copied().collect(), "{sql}\n{plan:#?}");
    assert!(
        !plan.iter().any(|line| line.contains("TEMP B-TREE")),
        "nothing is sorted: {sql}\n{plan:#?}"
    );
}

async fn assert_all(store: &Store) {
    for (statement, indices) in MULTI_ROW {
        for rows in [1, MAX_ROWS] {
            assert_uses(store, &sql::text(statement, rows).0, indices).await;
        }
    }
    for (statement, indices) in SINGLE {
        assert_uses(store, statement, indices).await;
    }
    let read = plan(store, sql::READ_OUTBOX_OF).await;
    assert!(!read.iter().any(|line| line.contains("TEMP B-TREE")), "{read:#?}");
    assert!(
        !read.iter().any(|line| line.starts_with("SCAN outbox_events")),
        "{read:#?}"
    );
    let step = "SEARCH outbox_events USING INDEX outbox_events_organization (organization_id=?)";
    assert_eq!(read.iter().filter(|line| *line == step).count(), 2, "{read:#?}");
    // Counted in the order of the rowid, which is the position; the limit ends it. Then each row by its position.
    let read = plan(store, sql::READ_OUTBOX).await;
    assert!(!read.iter().any(|line| line.contains("TEMP B-TREE")), "{read:#?}");
    for step in [
        "SCAN outbox_events",
        "SEARCH o USING INTEGER PRIMARY KEY (rowid=?)",
    ] {
        assert!(read.iter().any(|line| line == step), "{read:#?}");
    }
}

#[tokio::test]
async fn hot_statements_use_their_indices() {
    let file = SqliteFile::create().unwrap();
    let vault = Vault::from_text("a key of at least thirty-two characters").unwrap();
    let store = Store::connect(StoreOptions::new(file.url(), vault))
        .await
        .unwrap();
    store.migrate().await.unwrap();
    assert_all(&store).await;
    for change in [FILL, "ANALYZE"] {
        let transaction = store.begin().await.unwrap();
        transaction.connection().execute_unprepared(change).await.unwrap();
        transaction.commit().await.unwrap();
        assert_all(&store).await;
    }
}
