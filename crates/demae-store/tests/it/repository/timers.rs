//! Timers: due order, leases, failures, turns of organizations, and who is woken.

use std::time::Duration;

use demae_event::{OrganizationId, Timestamp};
use demae_store::{
    Store,
    engine::LeaseGrant,
    entity::timer::Model,
    inspect,
    repository::timers::{self, DueTimer, INSTALLATION, NewTimer, Timer},
};
use uuid::Uuid;

use crate::support::{NOW, TestStore, grant, new_worker, seconds};

on_both_databases!(
    timers_are_due_in_the_order_of_their_times,
    a_timer_is_claimed_by_one_worker_and_completed_by_it_alone,
    a_timer_that_is_set_again_moves_and_ends_the_run_in_flight,
    a_failed_run_keeps_its_error_and_its_due_time,
    an_expired_lease_returns_and_counts_as_a_failure,
    the_timers_of_a_dead_worker_return_at_once,
    an_orderly_stop_returns_timers_without_a_failure,
    a_held_timer_is_claimed_by_no_other_worker,
    every_organization_has_its_turn_behind_a_backlog,
    the_first_timer_of_each_kind_is_known,
    an_early_timer_wakes_the_workers_and_a_late_one_does_not,
);

const KIND: &str = "test.kind";
/// A test whose signal does not come ends here.
const PATIENCE: Duration = Duration::from_mins(1);

fn timer(subject: &str, organization_id: OrganizationId, due_at: Timestamp) -> NewTimer {
    NewTimer {
        kind: KIND,
        subject: subject.to_owned(),
        organization_id,
        due_at,
        data: None,
    }
}

async fn set(store: &TestStore, new: NewTimer) {
    let mut transaction = store.begin().await;
    timers::set(&mut transaction, new, NOW).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn set_at(store: &TestStore, subject: &str, due_at: Timestamp) {
    set(store, timer(subject, INSTALLATION, due_at)).await;
}

async fn claim_in(store: &Store, subjects: &[&str], grant: LeaseGrant) -> Vec<Timer> {
    let subjects: Vec<String> = subjects.iter().map(|subject| (*subject).to_owned()).collect();
    let mut transaction = store.begin().await.unwrap();
    let claimed = timers::claim(&mut transaction, KIND, &subjects, grant)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    claimed
}

async fn claim_one(store: &TestStore, subject: &str, grant: LeaseGrant) -> Timer {
    claim_in(&store.store, &[subject], grant).await.remove(0)
}

async fn row(store: &TestStore, subject: &str) -> Option<Model> {
    timers::find(store.store.reader(), KIND, subject).await.unwrap()
}

/// Runs `action` in a transaction of its own.
macro_rules! commit {
    ($store:expr, |$transaction:ident| $action:expr) => {{
        let mut transaction = $store.begin().await;
        let $transaction = &mut transaction;
        let result = $action.await.unwrap();
        transaction.commit().await.unwrap();
        result
    }};
}

async fn due(store: &TestStore, now: Timestamp, limit: u64) -> Vec<String> {
    let due = timers::due(store.store.reader(), KIND, now, limit).await.unwrap();
    due.into_iter().map(|timer| timer.subject).collect()
}

async fn timers_are_due_in_the_order_of_their_times(store: &TestStore) {
    for (subject, after) in [("third", 30), ("first", 10), ("second", 20), ("late", 40)] {
        set_at(store, subject, NOW + seconds(after)).await;
    }
    assert!(due(store, NOW + seconds(9), 9).await.is_empty());
    assert_eq!(
        due(store, NOW + seconds(30), 9).await,
        ["first", "second", "third"]
    );
    assert_eq!(due(store, NOW + seconds(30), 2).await, ["first", "second"]);
    let claimed = claim_in(
        &store.store,
        &["late", "second", "first"],
        grant(new_worker(), NOW + seconds(30)),
    )
    .await;
    let claimed: Vec<_> = claimed.iter().map(|timer| timer.subject.as_str()).collect();
    assert_eq!(claimed, ["first", "second"], "what is not due is not claimed");
    assert_eq!(due(store, NOW + seconds(30), 9).await, ["third"]);
}

async fn a_timer_is_claimed_by_one_worker_and_completed_by_it_alone(store: &TestStore) {
    set_at(store, "one", NOW).await;
    let stores = if store.is_postgres() {
        vec![
            store.store.clone(),
            store.open_again().await,
            store.open_again().await,
        ]
    } else {
        vec![store.store.clone(); 3]
    };
    let claims = stores
        .iter()
        .map(|store| claim_in(store, &["one"], grant(new_worker(), NOW)));
    let claimed: Vec<Timer> = futures::future::join_all(claims).await.concat();
    assert_eq!(claimed.len(), 1);
    // Its lease ends, and another worker runs it.
    let end = NOW + seconds(31);
    commit!(store, |t| timers::recover(t, end, Timestamp::default()));
    let second = claim_one(store, "one", grant(new_worker(), end)).await;
    let first = &claimed[0];
    assert!(!commit!(store, |t| timers::hold(t, first)));
    assert!(!commit!(store, |t| timers::complete(t, first)));
    assert!(!commit!(store, |t| timers::reschedule(t, first, end, None)));
    assert!(!commit!(store, |t| timers::fail(t, first, "x", end)));
    assert_eq!(
        row(store, "one").await.unwrap().failures,
        1,
        "of the expired lease"
    );
    assert!(commit!(store, |t| timers::hold(t, &second)));
    assert!(commit!(store, |t| timers::complete(t, &second)));
    assert_eq!(row(store, "one").await, None);
    assert!(!commit!(store, |t| timers::complete(t, &second)));
}

async fn a_timer_that_is_set_again_moves_and_ends_the_run_in_flight(store: &TestStore) {
    set_at(store, "one", NOW).await;
    let claimed = claim_one(store, "one", grant(new_worker(), NOW)).await;
    // The same again changes nothing, not even the lease.
    set_at(store, "one", NOW).await;
    assert!(commit!(store, |t| timers::hold(t, &claimed)));
    let ensured = commit!(store, |t| timers::ensure(
        t,
        timer("one", INSTALLATION, NOW + seconds(5)),
        NOW
    ));
    assert!(!ensured, "the timer exists");
    let moved = NewTimer {
        data: Some("anew".to_owned()),
        ..timer("one", INSTALLATION, NOW + seconds(60))
    };
    set(store, moved).await;
    assert!(!commit!(store, |t| timers::complete(t, &claimed)));
    assert!(due(store, NOW + seconds(59), 9).await.is_empty());
    let again = claim_one(store, "one", grant(new_worker(), NOW + seconds(60))).await;
    assert_eq!(
        (again.due_at, again.data.as_deref()),
        (NOW + seconds(60), Some("anew"))
    );
    assert!(commit!(store, |t| timers::cancel(t, KIND, "one")));
    assert!(!commit!(store, |t| timers::complete(t, &again)));
    assert!(!commit!(store, |t| timers::cancel(t, KIND, "one")));
}

async fn a_failed_run_keeps_its_error_and_its_due_time(store: &TestStore) {
    set_at(store, "one", NOW).await;
    let claimed = claim_one(store, "one", grant(new_worker(), NOW)).await;
    let error = format!("a\0{}ö", "x".repeat(timers::ERROR_BYTES - 3));
    let next = NOW + seconds(8);
    assert!(commit!(store, |t| timers::fail(t, &claimed, &error, next)));
    assert!(due(store, NOW + seconds(7), 9).await.is_empty());
    let again = claim_one(store, "one", grant(new_worker(), next)).await;
    assert_eq!((again.due_at, again.failures), (NOW, 1));
    let failing = inspect::failing_timers(store.store.reader(), 1, 9).await.unwrap();
    let kept = failing[0].last_error.as_deref().unwrap();
    assert!(kept.starts_with("a\u{fffd}xx") && kept.ends_with('x'), "{kept}");
    assert!(
        inspect::failing_timers(store.store.reader(), 2, 9)
            .await
            .unwrap()
            .is_empty()
    );
    let later = next + seconds(60);
    assert!(commit!(store, |t| timers::reschedule(
        t,
        &again,
        later,
        Some("1".to_owned())
    )));
    let row = row(store, "one").await.unwrap();
    assert_eq!((row.failures, row.last_error), (0, None));
    assert_eq!((row.due_at, row.data.as_deref()), (later.as_micros(), Some("1")));
}

async fn an_expired_lease_returns_and_counts_as_a_failure(store: &TestStore) {
    let worker = new_worker();
    store
        .engine()
        .heartbeat(worker, NOW + seconds(100_000))
        .await
        .unwrap();
    set_at(store, "one", NOW).await;
    let mut now = NOW;
    let mut pauses = Vec::new();
    for _ in 0..4 {
        claim_one(store, "one", grant(worker, now)).await;
        // The lease has not expired, and the worker lives.
        let reader = store.store.reader();
        assert!(
            !timers::is_any_abandoned(reader, now + seconds(30), NOW)
                .await
                .unwrap()
        );
        assert_eq!(commit!(store, |t| timers::recover(t, now + seconds(30), NOW)), 0);
        now = now + seconds(31);
        assert!(timers::is_any_abandoned(reader, now, NOW).await.unwrap());
        assert_eq!(commit!(store, |t| timers::recover(t, now, NOW)), 1);
        let wake_at = Timestamp::from_micros(row(store, "one").await.unwrap().wake_at);
        pauses.push(wake_at.since(now).as_secs());
        now = wake_at;
    }
    assert_eq!(pauses, [0, 0, 60, 90], "at once, then later and later");
    let row = row(store, "one").await.unwrap();
    assert_eq!(row.failures, 4);
    assert!(row.last_error.unwrap().contains("lease expired"));
}

async fn the_timers_of_a_dead_worker_return_at_once(store: &TestStore) {
    let (dead, alive) = (new_worker(), new_worker());
    store.engine().heartbeat(dead, NOW).await.unwrap();
    store.engine().heartbeat(alive, NOW + seconds(9)).await.unwrap();
    for (subject, worker) in [("theirs", dead), ("ours", alive), ("lost", new_worker())] {
        set_at(store, subject, NOW).await;
        claim_one(store, subject, grant(worker, NOW)).await;
    }
    let now = NOW + seconds(10);
    let recovered = commit!(store, |t| timers::recover(t, now, NOW + seconds(5)));
    assert_eq!(
        recovered, 2,
        "the silent worker's, and the one of no registered worker"
    );
    let mut due = due(store, now, 9).await;
    due.sort_unstable();
    assert_eq!(due, ["lost", "theirs"]);
}

async fn an_orderly_stop_returns_timers_without_a_failure(store: &TestStore) {
    let worker = new_worker();
    set_at(store, "one", NOW).await;
    claim_one(store, "one", grant(worker, NOW)).await;
    assert_eq!(commit!(store, |t| timers::release(t, new_worker(), NOW)), 0);
    assert_eq!(commit!(store, |t| timers::release(t, worker, NOW)), 1);
    assert_eq!(row(store, "one").await.unwrap().failures, 0);
    assert_eq!(due(store, NOW, 9).await, ["one"]);
}

/// A worker that was paused beyond its lease still excludes the next one while its transaction lasts.
async fn a_held_timer_is_claimed_by_no_other_worker(store: &TestStore) {
    set_at(store, "one", NOW).await;
    let claimed = claim_one(store, "one", grant(new_worker(), NOW)).await;
    let mut holding = store.begin().await;
    assert!(timers::hold(&mut holding, &claimed).await.unwrap());
    if store.is_postgres() {
        let other = store.open_again().await;
        let mut transaction = other.begin().await.unwrap();
        let now = NOW + seconds(100);
        let recovered = timers::recover(&mut transaction, now, now).await.unwrap();
        assert_eq!(recovered, 0, "the row is locked");
        transaction.rollback().await.unwrap();
    }
    assert!(timers::complete(&mut holding, &claimed).await.unwrap());
    holding.commit().await.unwrap();
}

async fn every_organization_has_its_turn_behind_a_backlog(store: &TestStore) {
    let organization = |number: u128| OrganizationId(Uuid::from_u128(number));
    let backlog = organization(2);
    let mut transaction = store.begin().await;
    for number in 0..1_000 {
        let new = timer(&format!("backlog {number:04}"), backlog, NOW + seconds(number));
        timers::set(&mut transaction, new, NOW).await.unwrap();
    }
    transaction.commit().await.unwrap();
    let now = NOW + seconds(5_000);
    for (subject, of, due_at) in [
        ("installation", INSTALLATION, now),
        ("one", organization(1), now),
        ("three", organization(3), now + seconds(1)),
        ("four", organization(4), now),
    ] {
        set(store, timer(subject, of, due_at)).await;
    }
    assert!(
        due(store, now, 64)
            .await
            .iter()
            .all(|found| found.starts_with("backlog"))
    );
    let reader = store.store.reader();
    let mut found: Vec<DueTimer> = Vec::new();
    let mut after = None;
    let mut looks = 0;
    loop {
        let (due, next) = timers::due_by_organization(reader, KIND, now, after, 2)
            .await
            .unwrap();
        found.extend(due);
        looks += 1;
        after = next;
        if after.is_none() {
            break;
        }
    }
    let subjects: Vec<_> = found.iter().map(|timer| timer.subject.as_str()).collect();
    assert_eq!(subjects, ["installation", "one", "backlog 0000", "four"]);
    assert_eq!(looks, 3, "five organizations, two at a time");
    let (all, next) = timers::due_by_organization(reader, KIND, now, None, 9)
        .await
        .unwrap();
    assert_eq!((all, next), (found, None));
}

async fn the_first_timer_of_each_kind_is_known(store: &TestStore) {
    let reader = store.store.reader();
    assert_eq!(timers::earliest(reader).await.unwrap(), []);
    for (kind, subject, after) in [("b", "1", 20), ("b", "2", 10), ("a", "1", 30), ("c", "1", 5)] {
        let new = NewTimer {
            kind,
            ..timer(subject, INSTALLATION, NOW + seconds(after))
        };
        set(store, new).await;
    }
    let mut transaction = store.begin().await;
    let of_c = ["1".to_owned()];
    let claimed = timers::claim(
        &mut transaction,
        "c",
        &of_c,
        grant(new_worker(), NOW + seconds(5)),
    )
    .await;
    assert_eq!(claimed.unwrap().len(), 1);
    transaction.commit().await.unwrap();
    let expected = [
        ("a".to_owned(), NOW + seconds(30)),
        ("b".to_owned(), NOW + seconds(10)),
    ];
    assert_eq!(
        timers::earliest(reader).await.unwrap(),
        expected,
        "a leased one does not wait"
    );
    let overdue = inspect::overdue_timers(reader, NOW + seconds(15)).await.unwrap();
    assert_eq!(overdue.len(), 1);
    assert_eq!(
        (overdue[0].kind.as_str(), overdue[0].subject.as_str()),
        ("b", "2")
    );
}

async fn an_early_timer_wakes_the_workers_and_a_late_one_does_not(store: &TestStore) {
    set_at(store, "late", NOW + timers::SCAN_INTERVAL).await;
    set_at(store, "soon", NOW + seconds(2)).await;
    set_at(store, "sooner", NOW + seconds(1)).await;
    let told = tokio::time::timeout(PATIENCE, store.engine().timers_changed()).await;
    assert_eq!(told.expect("a signal comes"), NOW + seconds(1));
    if !store.is_postgres() {
        return;
    }
    let other = store.open_again().await;
    // Until the other process listens, signals are lost.
    let mut number = 0;
    let heard = async { other.engine().timers_changed().await };
    tokio::pin!(heard);
    loop {
        number += 1;
        set_at(store, &number.to_string(), NOW + seconds(3)).await;
        tokio::select! {
            at = &mut heard => {
                assert!(at <= NOW + seconds(3));
                return;
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => assert!(number < 2_000),
        }
    }
}
