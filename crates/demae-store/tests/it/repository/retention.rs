//! Forgetting: what is old goes in chunks, what is open stays, and the other organization's is not touched.

use demae_event::{EndpointId, Event, EventId, JobId, Scope, Timestamp, id::new_uuid};
use demae_store::{
    Transaction,
    engine::{AttemptStatus, DeliveryState},
    entity::{audit_entry, endpoint},
    repository::{
        Page, audit,
        deliveries::{self, Planned},
        endpoints, idempotency,
        jobs::{self, NewJob, NextStep, Step},
        messages::{self, MessageCursor},
        retention::{self, Swept},
    },
};
use sea_orm::{ConnectionTrait as _, DbBackend, EntityTrait, Statement};
use uuid::Uuid;

use super::{Two, event};
use crate::support::{NOW, TestStore, json, new_endpoint, new_worker, seconds};

in_every_scope!(
    attempts_go_from_the_oldest,
    messages_go_with_their_finished_deliveries,
    a_step_removes_a_bounded_number_of_bytes,
    a_delivery_that_is_being_written_keeps_its_message,
    a_message_that_is_being_removed_gets_no_delivery,
    a_message_that_stays_does_not_hold_up_the_others,
    expired_keys_go,
    finished_jobs_go,
    old_audit_entries_go,
    deleted_endpoints_go_when_nothing_is_left_of_them,
    silent_workers_go,
);

async fn attempts_go_from_the_oldest(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = new_endpoint();
    let event = store.message_at(two.mine, NOW, "A").await;
    let mut ids = Vec::new();
    for after in 0..4 {
        ids.push(
            store
                .attempt_at(
                    (two.mine, endpoint, event),
                    NOW + seconds(after),
                    AttemptStatus::Failed,
                )
                .await,
        );
    }
    let theirs = store
        .attempt_at((two.theirs, endpoint, event), NOW, AttemptStatus::Failed)
        .await;
    let before = NOW + seconds(3);
    let mut transaction = store.begin().await;
    assert_eq!(
        retention::attempts(&mut transaction, two.mine, before, 2)
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        retention::attempts(&mut transaction, two.mine, before, 2)
            .await
            .unwrap(),
        1
    );
    transaction.commit().await.unwrap();
    let mut left: Vec<_> = store.attempts().await.iter().map(|row| row.id).collect();
    left.sort_unstable();
    let mut expected = vec![ids[3].0, theirs.0];
    expected.sort_unstable();
    assert_eq!(left, expected);
}

async fn sweep(store: &TestStore, scope: Scope, after: Option<MessageCursor>, limit: u64) -> Swept {
    let mut transaction = store.begin().await;
    let before = NOW + seconds(100);
    let swept = retention::messages(&mut transaction, scope, before, after, limit)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    swept
}

async fn messages_go_with_their_finished_deliveries(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoints = [store.endpoint(two.mine).await, store.endpoint(two.mine).await];
    let done = store.message_at(two.mine, NOW, "A").await;
    store
        .delivery_in((two.mine, endpoints[0], done), DeliveryState::Succeeded)
        .await;
    store
        .delivery_in((two.mine, endpoints[1], done), DeliveryState::Failed)
        .await;
    let open = store.message_at(two.mine, NOW, "A").await;
    store
        .delivery_in((two.mine, endpoints[0], open), DeliveryState::Waiting)
        .await;
    store
        .delivery_in((two.mine, endpoints[1], open), DeliveryState::Succeeded)
        .await;
    let young = store.message_at(two.mine, NOW + seconds(100), "A").await;
    let unwanted = store.message_at(two.mine, NOW, "A").await;
    let theirs = store.message_at(two.theirs, NOW, "A").await;

    assert_eq!(
        sweep(store, two.mine, None, 100).await,
        Swept {
            removed: 2,
            next: None
        }
    );
    for (event, there) in [
        (done, false),
        (unwanted, false),
        (open, true),
        (young, true),
        (theirs, true),
    ] {
        assert_eq!(store.message(event).await.is_some(), there, "{event}");
    }
    let left: Vec<_> = store.deliveries().await.iter().map(|row| row.event_id).collect();
    assert_eq!(left, [open.0, open.0]);
}

async fn a_step_removes_a_bounded_number_of_bytes(store: &TestStore) {
    let two = Two::scopes(store).await;
    for after in 0..5 {
        let mut transaction = store.begin().await;
        let large = Event {
            data: json(&format!(r#"{{"text":"{}"}}"#, "x".repeat(12 * 1024 * 1024))),
            ..event(two.mine, NOW + seconds(after), "A")
        };
        messages::insert(&mut transaction, &large).await.unwrap();
        transaction.commit().await.unwrap();
    }
    let mut removed = Vec::new();
    let mut after = None;
    loop {
        let swept = sweep(store, two.mine, after, 500).await;
        removed.push(swept.removed);
        after = swept.next;
        if after.is_none() {
            break;
        }
    }
    // Of 32 MiB at most.
    assert_eq!(removed, [2, 2, 1]);
}

/// Runs `other` while `transaction` is open, until it has ended or waits for `transaction`; then commits.
async fn beside(store: &TestStore, transaction: Transaction, other: impl Future<Output = ()>) {
    let mut other = std::pin::pin!(other);
    let waits = async {
        // SQLite has one writer: the other waits for it, wherever it is.
        while store.is_postgres() && !someone_waits(store).await {}
    };
    tokio::select! {
        () = &mut other => {
            transaction.commit().await.unwrap();
            return;
        }
        () = waits => {}
    }
    let ((), ()) = tokio::join!(other, async { transaction.commit().await.unwrap() });
}

async fn someone_waits(store: &TestStore) -> bool {
    let statement = Statement::from_string(
        DbBackend::Postgres,
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );
    let row = store.store.reader().query_one_raw(statement).await.unwrap();
    row.unwrap().try_get_by_index(0).unwrap()
}

async fn a_delivery_that_is_being_written_keeps_its_message(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = store.endpoint(two.mine).await;
    let event = store.message_at(two.mine, NOW, "A").await;
    let mut recovery = store.begin().await;
    let window = (NOW, NOW + seconds(1));
    assert_eq!(
        messages::walk(&mut recovery, two.mine, window, None, 10)
            .await
            .unwrap()
            .len(),
        1
    );
    plan(&mut recovery, two.mine, endpoint, event, 1).await;
    beside(store, recovery, async {
        sweep(store, two.mine, None, 100).await;
    })
    .await;
    assert!(store.message(event).await.is_some());
    assert_eq!(store.deliveries().await.len(), 1);
}

async fn a_message_that_is_being_removed_gets_no_delivery(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = store.endpoint(two.mine).await;
    let event = store.message_at(two.mine, NOW, "A").await;
    let mut removal = store.begin().await;
    let swept = retention::messages(&mut removal, two.mine, NOW + seconds(1), None, 10).await;
    assert_eq!(swept.unwrap().removed, 1);
    beside(store, removal, async {
        let mut recovery = store.begin().await;
        plan(&mut recovery, two.mine, endpoint, event, 0).await;
        recovery.commit().await.unwrap();
    })
    .await;
    assert!(store.message(event).await.is_none());
    assert!(store.deliveries().await.is_empty());
}

/// Writes a delivery as a recovery does; `written` says how many that should be.
async fn plan(
    transaction: &mut Transaction,
    scope: Scope,
    endpoint: EndpointId,
    event: EventId,
    written: u64,
) {
    let planned = Planned {
        event_id: event,
        delivered_name: "A".to_owned(),
    };
    let inserted = deliveries::insert(transaction, scope, endpoint, vec![planned], NOW).await;
    assert_eq!(inserted.unwrap(), written);
}

async fn a_message_that_stays_does_not_hold_up_the_others(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = store.endpoint(two.mine).await;
    let open = store.message_at(two.mine, NOW, "A").await;
    store
        .delivery_in((two.mine, endpoint, open), DeliveryState::Leased)
        .await;
    let done = store.message_at(two.mine, NOW + seconds(1), "A").await;
    let first = sweep(store, two.mine, None, 1).await;
    assert_eq!(
        (first.removed, first.next.map(|place| place.event_id)),
        (0, Some(open))
    );
    let second = sweep(store, two.mine, first.next, 1).await;
    assert_eq!(
        (second.removed, second.next.map(|place| place.event_id)),
        (1, Some(done))
    );
    assert_eq!(
        sweep(store, two.mine, second.next, 1).await,
        Swept {
            removed: 0,
            next: None
        }
    );
    assert!(store.message(open).await.is_some());
}

async fn expired_keys_go(store: &TestStore) {
    let two = Two::organizations(store).await;
    let mut transaction = store.begin().await;
    for (scope, key, life) in [(two.mine, 1, 10), (two.mine, 2, 20), (two.theirs, 1, 10)] {
        let request = idempotency::Request {
            organization_id: scope.organization,
            key_digest: [key; 32],
            request_digest: [0; 32],
            expires_at: NOW + seconds(life),
        };
        idempotency::reserve(&mut transaction, &request, NOW)
            .await
            .unwrap();
    }
    let removed = |now: Timestamp| (now, 1);
    for (now, expected) in [
        (NOW, 0),
        (NOW + seconds(10), 1),
        (NOW + seconds(10), 1),
        (NOW + seconds(10), 0),
    ] {
        let (now, limit) = removed(now);
        let removed = retention::idempotency_keys(&mut transaction, now, limit)
            .await
            .unwrap();
        assert_eq!(removed, expected);
    }
    transaction.commit().await.unwrap();
}

async fn finished_jobs_go(store: &TestStore) {
    let two = Two::scopes(store).await;
    let mut transaction = store.begin().await;
    let mut created = Vec::new();
    for scope in [two.mine, two.mine, two.theirs] {
        let new = NewJob {
            id: JobId::new(NOW),
            scope,
            kind: "test",
            endpoint_id: new_endpoint(),
            parameters: "{}".to_owned(),
        };
        created.push(jobs::create(&mut transaction, new, NOW).await.unwrap());
    }
    let mut job = created[0].clone();
    let step = Step {
        cursor: None,
        examined: 0,
        resent: 0,
        next: NextStep::Finish,
    };
    assert!(
        jobs::advance(&mut transaction, &mut job, step, NOW)
            .await
            .unwrap()
    );
    let later = NOW + seconds(60);
    assert_eq!(
        retention::jobs(&mut transaction, two.mine, NOW, 9).await.unwrap(),
        0
    );
    assert_eq!(
        retention::jobs(&mut transaction, two.theirs, later, 9)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        retention::jobs(&mut transaction, two.mine, later, 9)
            .await
            .unwrap(),
        1
    );
    transaction.commit().await.unwrap();
    assert_eq!(
        jobs::find(store.store.reader(), two.mine, job.id).await.unwrap(),
        None
    );
    assert!(
        jobs::find(store.store.reader(), two.mine, created[1].id)
            .await
            .unwrap()
            .is_some()
    );
}

async fn deleted_endpoints_go_when_nothing_is_left_of_them(store: &TestStore) {
    let two = Two::scopes(store).await;
    let ids = [
        store.endpoint(two.mine).await,
        store.endpoint(two.mine).await,
        store.endpoint(two.mine).await,
    ];
    let (kept, bare, alive) = (ids[0], ids[1], ids[2]);
    let event = store.message_at(two.mine, NOW, "A").await;
    store
        .attempt_at((two.mine, kept, event), NOW, AttemptStatus::Failed)
        .await;
    let later = NOW + seconds(60);
    let mut transaction = store.begin().await;
    for id in [kept, bare] {
        assert!(
            endpoints::delete(&mut transaction, two.mine, id, NOW)
                .await
                .unwrap()
        );
    }
    assert_eq!(
        retention::endpoints(&mut transaction, two.theirs, later, 9)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        retention::endpoints(&mut transaction, two.mine, NOW, 9)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        retention::endpoints(&mut transaction, two.mine, later, 9)
            .await
            .unwrap(),
        1
    );
    transaction.commit().await.unwrap();
    for (id, there) in [(kept, true), (bare, false), (alive, true)] {
        let row = endpoint::Entity::find_by_id(id.0)
            .one(store.store.reader())
            .await
            .unwrap();
        assert_eq!(row.is_some(), there);
    }
}

async fn old_audit_entries_go(store: &TestStore) {
    let two = Two::organizations(store).await;
    let mut transaction = store.begin().await;
    for (scope, after) in [(two.mine, 0), (two.mine, 1), (two.mine, 2), (two.theirs, 0)] {
        let entry = audit_entry::Model {
            id: new_uuid(NOW + seconds(after)),
            organization_id: scope.organization.0,
            event_name: "CUSTOMER_CREATION".to_owned(),
            event_type: "com.kaiten.customer.v1.created".to_owned(),
            resource: "customer".to_owned(),
            resource_id: Uuid::nil(),
            resource_slug: "acme".to_owned(),
            instance_id: None,
            instance_slug: None,
            payload: "{}".to_owned(),
            created_at: (NOW + seconds(after)).as_micros(),
            created_by_id: Uuid::nil(),
            created_by_name: None,
        };
        assert!(audit::insert(&mut transaction, entry).await.unwrap());
    }
    let before = NOW + seconds(2);
    for (limit, removed) in [(1, 1), (9, 1), (9, 0)] {
        assert_eq!(
            retention::audit_entries(&mut transaction, two.mine.organization, before, limit)
                .await
                .unwrap(),
            removed
        );
    }
    transaction.commit().await.unwrap();
    for (scope, left) in [(two.mine, NOW + seconds(2)), (two.theirs, NOW)] {
        let filter = audit::AuditFilter::default();
        let listing = audit::list(store.store.reader(), scope.organization, &filter, Page::first(9))
            .await
            .unwrap();
        let times: Vec<i64> = listing.items.iter().map(|entry| entry.created_at).collect();
        assert_eq!(times, [left.as_micros()]);
    }
}

async fn silent_workers_go(store: &TestStore) {
    store.engine().heartbeat(new_worker(), NOW).await.unwrap();
    store
        .engine()
        .heartbeat(new_worker(), NOW + seconds(10))
        .await
        .unwrap();
    let mut transaction = store.begin().await;
    assert_eq!(
        retention::workers(&mut transaction, NOW + seconds(10))
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        retention::workers(&mut transaction, NOW + seconds(10))
            .await
            .unwrap(),
        0
    );
}
