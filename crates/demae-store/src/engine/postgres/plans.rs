//! The hot statements find their rows by index, however the tables are filled and whatever the planner knows of it.

use std::{collections::BTreeSet, str::FromStr};

use demae_testkit::postgres::TestDatabase;
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, PgConnection, postgres::PgConnectOptions};
use serde_json::Value;

use super::sql;
use crate::{Store, StoreOptions, Vault, connect::engine_session};

/// 20,000 deliveries, most of them waiting, to few endpoints: the case in which reading a whole lane would be dear.
/// Due in no order that the table has, which makes an index look expensive.
const FILL: &str = "
    INSERT INTO deliveries (endpoint_id, event_id, organization_id, state, attempts, step, due_at, lease, worker_id,
                            manual, delivered_name, created_at)
    SELECT lpad((i % 5)::text, 32, '0')::uuid, lpad(i::text, 32, '0')::uuid, gen_random_uuid(),
           CASE WHEN i % 100 = 0 THEN 1 WHEN i % 4 = 0 THEN 2 ELSE 0 END, 0, 0, (random() * 1e9)::bigint,
           CASE WHEN i % 100 = 0 THEN gen_random_uuid() END, CASE WHEN i % 100 = 0 THEN gen_random_uuid() END,
           false, 'N', i
    FROM generate_series(1, 20000) AS i;
    INSERT INTO messages (event_id, organization_id, application_id, event_name, event_type, payload, created_at)
    SELECT event_id, organization_id, organization_id, 'N', 't', '{}', created_at FROM deliveries;
    INSERT INTO outbox_events (id, organization_id, event_name, event_type, payload)
    SELECT event_id, organization_id, 'N', 't', '{}' FROM messages;
    INSERT INTO workers (id, started_at, heartbeat_at) VALUES (gen_random_uuid(), 1, 1);";

/// Every hot statement with every index it uses.
const STATEMENTS: [(&str, &[&str]); 12] = [
    (sql::APPEND, &["messages_pkey"]),
    (sql::READ_OUTBOX, &["outbox_events_pkey"]),
    (sql::READ_OUTBOX_OF_OTHERS, &["outbox_events_organization"]),
    (sql::ROUTE, &["outbox_events_id"]),
    (sql::TAKE_OUT, &["outbox_events_id"]),
    (sql::CLAIM, &["deliveries_waiting", "messages_pkey"]),
    (sql::LEASE, &["deliveries_pkey"]),
    (sql::WAITING_LANES, &["deliveries_waiting"]),
    (sql::RECORD, &["deliveries_pkey"]),
    (sql::RELEASE, &["deliveries_pkey"]),
    (sql::GIVE_BACK, &["deliveries_leased"]),
    (
        sql::RECOVER_LEASES,
        &["deliveries_leased", "deliveries_pkey", "workers_pkey"],
    ),
];

/// The plan for unknown parameters, which is the one that the engine's sessions keep.
async fn plan(connection: &mut PgConnection, statement: &str) -> Value {
    let parameters = (1..=21)
        .rev()
        .find(|number| statement.contains(&format!("${number}")));
    let arguments = parameters.map(|count| format!("({})", vec!["NULL"; count].join(",")));
    for preparation in ["DEALLOCATE ALL".to_owned(), format!("PREPARE hot AS {statement}")] {
        sqlx::raw_sql(AssertSqlSafe(preparation))
            .execute(&mut *connection)
            .await
            .unwrap();
    }
    let explain = format!(
        "EXPLAIN (FORMAT JSON) EXECUTE hot{}",
        arguments.unwrap_or_default()
    );
    sqlx::query_scalar(AssertSqlSafe(explain))
        .persistent(false)
        .fetch_one(connection)
        .await
        .unwrap()
}

/// The values of `key` anywhere in `plan`.
fn values<'a>(plan: &'a Value, key: &str) -> BTreeSet<&'a str> {
    match plan {
        Value::Array(parts) => parts.iter().flat_map(|part| values(part, key)).collect(),
        Value::Object(parts) => parts
            .iter()
            .flat_map(|(name, part)| match part {
                Value::String(text) if name == key => BTreeSet::from([text.as_str()]),
                part => values(part, key),
            })
            .collect(),
        _ => BTreeSet::new(),
    }
}

/// The columns of an index that finds one row.
const KEYS: [(&str, &[&str]); 7] = [
    ("deliveries_pkey", &["endpoint_id", "event_id"]),
    ("messages_pkey", &["event_id"]),
    ("outbox_events_id", &["id"]),
    ("outbox_events_pkey", &["\"position\""]),
    ("workers_pkey", &["id"]),
    ("outbox_events_organization", &["organization_id"]),
    // Of one endpoint: the order of the rest is the order in which they are taken.
    ("deliveries_waiting", &["endpoint_id"]),
];

/// The indices that `plan` searches by less than their key.
fn half_searched(plan: &Value) -> BTreeSet<&str> {
    match plan {
        Value::Array(parts) => parts.iter().flat_map(half_searched).collect(),
        Value::Object(parts) => {
            let text = |key: &str| parts.get(key).and_then(Value::as_str);
            let key = KEYS.iter().find(|(index, _)| text("Index Name") == Some(index));
            let condition = text("Index Cond").unwrap_or_default();
            // As in `(endpoint_id = …` and `AND (event_id = …`.
            let half = key.filter(|(_, columns)| {
                !columns
                    .iter()
                    .all(|column| condition.contains(&format!("({column} ")))
            });
            let half = half.map(|(index, _)| *index);
            parts.values().flat_map(half_searched).chain(half).collect()
        }
        _ => BTreeSet::new(),
    }
}

async fn assert_all(connection: &mut PgConnection) {
    for (statement, indices) in STATEMENTS {
        let plan = plan(connection, statement).await;
        assert_eq!(
            values(&plan, "Index Name"),
            indices.iter().copied().collect(),
            "{statement}\n{plan:#}"
        );
        let half = half_searched(&plan);
        assert!(
            half.is_empty() || statement == sql::WAITING_LANES,
            "{half:?} in {statement}\n{plan:#}"
        );
        let nodes = values(&plan, "Node Type");
        for dear in ["Seq Scan", "Bitmap Heap Scan", "Sort"] {
            assert!(!nodes.contains(dear), "{dear} in {statement}\n{plan:#}");
        }
    }
    // Comparing each delivery with each message would cost the square of the batch.
    let route = plan(connection, sql::ROUTE).await;
    assert!(!values(&route, "Node Type").contains("Nested Loop"), "{route:#}");
}

#[tokio::test]
async fn hot_statements_use_their_indices_over_tables_of_all_sizes() {
    let database = TestDatabase::create().await.unwrap();
    let vault = Vault::from_text("a key of at least thirty-two characters").unwrap();
    let store = Store::connect(StoreOptions::new(database.url(), vault))
        .await
        .unwrap();
    store.migrate().await.unwrap();
    let options = PgConnectOptions::from_str(&database.url()).unwrap();
    let mut connection = engine_session(options).connect().await.unwrap();
    assert_all(&mut connection).await;
    // A plan outlives the size for which it was made.
    let empty = "TRUNCATE deliveries, messages, outbox_events, workers";
    for rows in [1, 2, 5, 20, 100, 1_000, 20_000] {
        let fill = FILL.replace("20000", &rows.to_string());
        for change in [empty, "VACUUM ANALYZE", &fill, "ANALYZE", "VACUUM"] {
            sqlx::raw_sql(AssertSqlSafe(change))
                .execute(&mut connection)
                .await
                .unwrap();
            assert_all(&mut connection).await;
        }
    }
}
