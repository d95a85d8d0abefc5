//! Bringing the schema up to date.

use futures::future::join_all;

use crate::support::TestStore;

const ALL: [&str; 6] = [
    "m0001_tenants",
    "m0002_engine",
    "m0003_management",
    "m0004_domains",
    "m0005_rejected",
    "m0006_timers",
];

#[tokio::test]
async fn an_empty_sqlite_file_is_brought_up_to_date() {
    from_nothing_and_again(&TestStore::empty_sqlite().await).await;
}

#[tokio::test]
async fn an_empty_postgres_database_is_brought_up_to_date() {
    from_nothing_and_again(&TestStore::empty_postgres().await).await;
}

#[tokio::test]
async fn several_processes_migrate_an_sqlite_file_at_once() {
    several_at_once(&TestStore::empty_sqlite().await).await;
}

#[tokio::test]
async fn several_processes_migrate_a_postgres_database_at_once() {
    several_at_once(&TestStore::empty_postgres().await).await;
}

async fn from_nothing_and_again(store: &TestStore) {
    assert_eq!(store.store.pending_migrations().await.unwrap(), ALL);
    store.store.migrate().await.unwrap();
    assert!(store.store.pending_migrations().await.unwrap().is_empty());
    store
        .execute("UPDATE counters SET value = 5 WHERE name = 'endpoints'")
        .await
        .unwrap();
    store.store.migrate().await.unwrap();
    assert_eq!(
        store.engine().endpoints_version().await.unwrap(),
        5,
        "what is there stays"
    );
}

async fn several_at_once(store: &TestStore) {
    let others = join_all((0..4).map(|_| store.open_again())).await;
    let tasks = others
        .iter()
        .cloned()
        .map(|store| tokio::spawn(async move { store.migrate().await }));
    for outcome in join_all(tasks).await {
        outcome.unwrap().unwrap();
    }
    assert!(store.store.pending_migrations().await.unwrap().is_empty());
    // Seeded by a migration: there is one row if it ran once.
    assert_eq!(store.engine().endpoints_version().await.unwrap(), 0);
}
