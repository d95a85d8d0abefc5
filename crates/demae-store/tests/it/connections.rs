//! How many connections a process has to Postgres.

use std::sync::Arc;

use demae_store::{Store, StoreOptions, Vault};
use futures::future::join_all;
use sea_orm::sqlx::{Connection as _, PgConnection, query, query_scalar};

use crate::support::{TestStore, new_event};

/// Far more statements of the engine at once than it has connections.
#[tokio::test]
async fn the_engine_has_so_many_connections_and_no_more() {
    const CONNECTIONS: u32 = 2;
    let database = TestStore::postgres().await;
    let vault = Vault::from_text(&Vault::generate_text()).unwrap();
    let options = StoreOptions {
        engine_connections: CONNECTIONS,
        ..StoreOptions::new(database.url(), vault)
    };
    let store = Store::connect(options).await.unwrap();
    let mut watcher = PgConnection::connect(&database.url()).await.unwrap();
    let mut holder = PgConnection::connect(&database.url()).await.unwrap();
    query("BEGIN").execute(&mut holder).await.unwrap();
    query("LOCK TABLE outbox_events")
        .execute(&mut holder)
        .await
        .unwrap();

    let engine = Arc::clone(store.engine());
    let appended = tokio::spawn(async move {
        let events: Vec<_> = (0..6).map(|_| new_event()).collect();
        join_all(
            events
                .iter()
                .map(|event| engine.append(std::slice::from_ref(event))),
        )
        .await
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut seen = 0;
    while seen < i64::from(CONNECTIONS) {
        seen = query_scalar(waiting).fetch_one(&mut watcher).await.unwrap();
    }
    query("ROLLBACK").execute(&mut holder).await.unwrap();
    for outcome in appended.await.unwrap() {
        assert_eq!(outcome.unwrap().len(), 1);
    }
    // Connections stay open: all that there ever were are there.
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND query LIKE '%INTO outbox_events%' AND pid <> pg_backend_pid()";
    let sessions: i64 = query_scalar(sessions).fetch_one(&mut watcher).await.unwrap();
    assert_eq!(sessions, i64::from(CONNECTIONS));
    store.close().await;
}
