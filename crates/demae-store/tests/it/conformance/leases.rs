//! Leases that end without an attempt, and the workers that hold them.

use demae_store::engine::{DeliveryState, LeasedDelivery, Release};

use super::record::success;
use crate::support::{NOW, TestStore, new_attempt, new_worker, seconds};

on_both_databases!(
    a_released_delivery_waits_again,
    only_the_holder_releases,
    leases_of_a_grant_are_given_back_and_no_others,
    lapsed_leases_are_recovered,
    leases_of_the_dead_are_recovered_and_of_the_living_kept,
    recovery_keeps_to_its_limit,
    a_recovered_delivery_keeps_its_history,
    signing_off_gives_leases_up,
);

fn release(leased: &LeasedDelivery) -> Release {
    Release {
        lease: leased.lease,
        endpoint_id: leased.endpoint_id,
        event_id: leased.message.event_id,
        due_at: NOW + seconds(3),
    }
}

async fn state(store: &TestStore, leased: &LeasedDelivery) -> (i16, i64) {
    let row = store.delivery(leased.endpoint_id, leased.message.event_id).await;
    assert_eq!(row.worker_id.is_some(), row.state == DeliveryState::Leased as i16);
    (row.state, row.due_at)
}

fn waiting(due_at: demae_event::Timestamp) -> (i16, i64) {
    (DeliveryState::Waiting as i16, due_at.as_micros())
}

fn still(leased: &LeasedDelivery) -> (i16, i64) {
    (DeliveryState::Leased as i16, leased.lease_until.as_micros())
}

async fn a_released_delivery_waits_again(store: &TestStore) {
    let worker = new_worker();
    let (one, two, kept) = (
        store.leased(worker).await,
        store.leased(worker).await,
        store.leased(worker).await,
    );
    store
        .engine()
        .release(&[release(&one), release(&two)])
        .await
        .unwrap();
    for leased in [&one, &two] {
        assert_eq!(state(store, leased).await, waiting(NOW + seconds(3)));
        let row = store.delivery(leased.endpoint_id, leased.message.event_id).await;
        assert_eq!((row.lease, row.attempts, row.step), (None, 0, 0));
    }
    assert_eq!(state(store, &kept).await, still(&kept));
    assert!(store.attempts().await.is_empty());
    store.engine().release(&[]).await.unwrap();
}

async fn only_the_holder_releases(store: &TestStore) {
    let held = store.leased(new_worker()).await;
    let other = Release {
        lease: new_attempt(),
        ..release(&held)
    };
    store.engine().release(&[other]).await.unwrap();
    assert_eq!(state(store, &held).await, still(&held));

    store.engine().record(&[success(&held)]).await.unwrap();
    store.engine().release(&[release(&held)]).await.unwrap();
    let (state, _) = state(store, &held).await;
    assert_eq!(state, DeliveryState::Succeeded as i16, "finished is not reopened");
}

async fn leases_of_a_grant_are_given_back_and_no_others(store: &TestStore) {
    let (worker, other) = (new_worker(), new_worker());
    let (one, two, another) = (
        store.leased(worker).await,
        store.leased(worker).await,
        store.leased(other).await,
    );
    let later = one.lease_until + seconds(1);
    store
        .execute(&format!(
            "UPDATE deliveries SET due_at = {} WHERE lease = {}",
            later.as_micros(),
            store.literal(two.lease.0)
        ))
        .await
        .unwrap();
    let given_back = async |ends: &[demae_event::Timestamp]| {
        store
            .engine()
            .give_back(worker, ends, NOW + seconds(3))
            .await
            .unwrap()
    };
    assert_eq!(given_back(&[]).await, 0);
    assert_eq!(given_back(&[NOW, one.lease_until, later + seconds(1)]).await, 1);
    assert_eq!(state(store, &one).await, waiting(NOW + seconds(3)));
    let row = store.delivery(one.endpoint_id, one.message.event_id).await;
    assert_eq!((row.lease, row.attempts, row.step), (None, 0, 0));
    let (of_another_grant, _) = state(store, &two).await;
    assert_eq!(of_another_grant, DeliveryState::Leased as i16);
    assert_eq!(state(store, &another).await, still(&another), "another worker's");
    assert_eq!(given_back(&[one.lease_until, later]).await, 1);
}

async fn lapsed_leases_are_recovered(store: &TestStore) {
    let worker = new_worker();
    let leased = store.leased(worker).await;
    let until = leased.lease_until;
    store.engine().heartbeat(worker, until).await.unwrap();
    assert_eq!(
        store.engine().recover_leases(until, NOW, 10).await.unwrap(),
        0,
        "not over yet"
    );
    assert_eq!(state(store, &leased).await, still(&leased));
    let after = until + seconds(1);
    assert_eq!(store.engine().recover_leases(after, NOW, 10).await.unwrap(), 1);
    assert_eq!(state(store, &leased).await, waiting(after));
    assert_eq!(store.engine().recover_leases(after, NOW, 10).await.unwrap(), 0);
}

async fn leases_of_the_dead_are_recovered_and_of_the_living_kept(store: &TestStore) {
    let (dead, alive, unknown) = (new_worker(), new_worker(), new_worker());
    let (of_dead, of_alive, of_unknown) = (
        store.leased(dead).await,
        store.leased(alive).await,
        store.leased(unknown).await,
    );
    store.engine().heartbeat(dead, NOW).await.unwrap();
    store.engine().heartbeat(alive, NOW).await.unwrap();
    store.engine().heartbeat(alive, NOW + seconds(8)).await.unwrap();
    let now = NOW + seconds(10);
    let recovered = store
        .engine()
        .recover_leases(now, NOW + seconds(8), 10)
        .await
        .unwrap();
    assert_eq!(recovered, 2);
    assert_eq!(state(store, &of_dead).await, waiting(now));
    assert_eq!(state(store, &of_unknown).await, waiting(now));
    assert_eq!(state(store, &of_alive).await, still(&of_alive));
}

async fn recovery_keeps_to_its_limit(store: &TestStore) {
    let worker = new_worker();
    for _ in 0..5 {
        store.leased(worker).await;
    }
    for expected in [2, 2, 1, 0] {
        assert_eq!(
            store.engine().recover_leases(NOW, NOW, 2).await.unwrap(),
            expected
        );
    }
    let rows = store.deliveries().await;
    assert!(rows.iter().all(|row| row.state == DeliveryState::Waiting as i16));
}

async fn a_recovered_delivery_keeps_its_history(store: &TestStore) {
    let leased = store.leased(new_worker()).await;
    store
        .execute(
            "UPDATE deliveries SET attempts = 4, step = 3, manual = true, resume_state = 3, resume_due_at = 17",
        )
        .await
        .unwrap();
    store.engine().recover_leases(NOW, NOW, 1).await.unwrap();
    let row = store.delivery(leased.endpoint_id, leased.message.event_id).await;
    assert_eq!((row.state, row.attempts, row.step), (0, 4, 3));
    // The attempt that a person asked for was not recorded: it is still owed.
    assert_eq!(
        (row.manual, row.resume_state, row.resume_due_at),
        (true, Some(3), Some(17))
    );
}

async fn signing_off_gives_leases_up(store: &TestStore) {
    let (leaver, stayer) = (new_worker(), new_worker());
    let (left, kept) = (store.leased(leaver).await, store.leased(stayer).await);
    for worker in [leaver, stayer] {
        store.engine().heartbeat(worker, NOW).await.unwrap();
    }
    store.engine().retire(leaver).await.unwrap();
    store.engine().retire(leaver).await.unwrap();
    assert_eq!(store.engine().recover_leases(NOW, NOW, 10).await.unwrap(), 1);
    assert_eq!(state(store, &left).await, waiting(NOW));
    assert_eq!(state(store, &kept).await, still(&kept));
}
