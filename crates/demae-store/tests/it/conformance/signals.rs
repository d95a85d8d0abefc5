//! Who is told of new work. A signal is waited for, never a time: a test whose signal does not come does not end.

use std::{collections::HashSet, time::Duration};

use demae_event::{EndpointId, Scope};
use demae_store::{
    Store,
    repository::deliveries::{self, Retry},
};

use crate::{
    repository::organization,
    support::{NOW, TestStore, grant, new_endpoint, new_event, new_worker, routed},
};

on_both_databases!(
    a_manual_retry_is_told_to_the_scheduler_of_this_process,
    a_change_that_is_undone_is_not_told,
);

const PATIENCE: Duration = Duration::from_mins(1);

async fn told(store: &Store) -> HashSet<EndpointId> {
    tokio::time::timeout(PATIENCE, store.engine().deliveries_changed())
        .await
        .expect("a signal comes")
}

/// A delivery that another attempt can be asked for.
async fn delivered(store: &TestStore) -> (Scope, EndpointId, demae_event::EventId) {
    let scope = Scope::default_of(organization(store, "Test").await);
    let endpoint = store.endpoint(scope).await;
    let event = demae_event::Event { scope, ..new_event() };
    let event = store.enqueue(event, &[endpoint], NOW).await;
    (scope, endpoint, event)
}

async fn retry(store: &TestStore, commit: bool) -> EndpointId {
    let (scope, endpoint, event) = delivered(store).await;
    let mut transaction = store.store.begin().await.unwrap();
    let planned = deliveries::retry(&mut transaction, scope, (endpoint, event), NOW)
        .await
        .unwrap();
    assert_eq!(planned, Retry::Planned);
    if commit {
        transaction.commit().await.unwrap();
    } else {
        transaction.rollback().await.unwrap();
    }
    endpoint
}

async fn a_manual_retry_is_told_to_the_scheduler_of_this_process(store: &TestStore) {
    let endpoint = retry(store, true).await;
    assert_eq!(told(&store.store).await, HashSet::from([endpoint]));
}

async fn a_change_that_is_undone_is_not_told(store: &TestStore) {
    retry(store, false).await;
    let committed = retry(store, true).await;
    assert_eq!(told(&store.store).await, HashSet::from([committed]));
}

/// Makes sure that `store` listens: asks for signals until one of `speaker` arrives.
async fn listening(store: &Store, speaker: &TestStore) {
    let endpoint = new_endpoint();
    let spoken = async {
        loop {
            speaker.enqueue(new_event(), &[endpoint], NOW).await;
            if let Ok(told) =
                tokio::time::timeout(Duration::from_millis(50), store.engine().deliveries_changed()).await
            {
                return told;
            }
        }
    };
    let told = tokio::time::timeout(PATIENCE, spoken).await.expect("it listens");
    assert_eq!(told, HashSet::from([endpoint]));
}

#[tokio::test]
async fn postgres_tells_other_processes_of_deliveries_that_wait() {
    let store = TestStore::postgres().await;
    let other = store.open_again().await;
    listening(&other, &store).await;
    let [waits, leased] = [new_endpoint(), new_endpoint()];
    let lease = crate::support::new_attempt();
    let message = routed(new_event(), [(waits, None), (leased, Some(lease))]);
    store
        .engine()
        .route(&[message], grant(new_worker(), NOW))
        .await
        .unwrap();
    // What was said to find out whether it listens may still be on its way.
    let mut heard = HashSet::new();
    while !heard.contains(&waits) {
        heard.extend(told(&other).await);
    }
    assert!(!heard.contains(&leased));
    let manual = retry(&store, true).await;
    while !heard.contains(&manual) {
        heard.extend(told(&other).await);
    }
}

#[tokio::test]
async fn postgres_tells_other_processes_of_events() {
    let store = TestStore::postgres().await;
    let other = store.open_again().await;
    listening(&other, &store).await;
    // Beginning to listen wakes once, for what was said before.
    other.engine().outbox_changed().await;
    store.engine().append(&[new_event()]).await.unwrap();
    tokio::time::timeout(PATIENCE, other.engine().outbox_changed())
        .await
        .expect("a signal comes");
}
