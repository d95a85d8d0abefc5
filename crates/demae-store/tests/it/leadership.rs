//! One process leads, another takes over when it goes.

use std::time::Duration;

use demae_store::leadership::{Leadership, Task};
use tokio::time::timeout;

use crate::support::TestStore;

const PATIENCE: Duration = Duration::from_mins(1);

async fn won(leadership: &mut Leadership) {
    timeout(PATIENCE, leadership.won()).await.expect("it leads");
}

#[tokio::test]
async fn the_one_process_of_an_sqlite_file_leads() {
    let store = TestStore::sqlite().await;
    let mut leadership = Leadership::stand(&store.store, Task::Outbox);
    won(&mut leadership).await;
    assert!(leadership.leads());
}

#[tokio::test]
async fn another_process_takes_over_when_the_leader_goes() {
    let store = TestStore::postgres().await;
    let other = store.open_again().await;
    let mut first = Leadership::stand(&store.store, Task::Outbox);
    won(&mut first).await;
    let mut second = Leadership::stand(&other, Task::Outbox);
    drop(first);
    won(&mut second).await;

    // The third one leads only after the second has gone.
    let mut third = Leadership::stand(&store.store, Task::Outbox);
    assert!(!third.leads());
    end_sessions_that_lock(&store).await;
    timeout(PATIENCE, second.lost()).await.expect("it notices");
    tokio::select! {
        () = won(&mut second) => assert!(!third.leads()),
        () = won(&mut third) => assert!(!second.leads()),
    }
}

/// As an administrator, or the database itself when a process was silent for too long.
async fn end_sessions_that_lock(store: &TestStore) {
    store
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .await
        .unwrap();
}
