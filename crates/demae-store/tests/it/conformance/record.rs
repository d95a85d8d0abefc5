//! Recording finished attempts.

use demae_event::Timestamp;
use demae_store::engine::{
    AttemptRecord, AttemptStatus, DeliveryState, Disposition, LaneRequest, LeasedDelivery,
};

use crate::support::{
    NOW, TestStore, grant, new_attempt, new_endpoint, new_events, new_worker, routed, seconds,
};

on_both_databases!(
    every_outcome_moves_the_delivery_on,
    everything_about_an_attempt_is_kept,
    a_lost_lease_changes_nothing_but_the_attempt_is_kept,
    lost_and_held_leases_of_a_delivery_go_together,
    recording_again_is_harmless,
    a_manual_attempt_leaves_no_mark,
    hundreds_are_recorded_in_one_call,
    nul_characters_do_not_stop_the_batch,
    nothing_is_nothing,
);

/// A successful attempt under `leased`.
pub(super) fn success(leased: &LeasedDelivery) -> AttemptRecord {
    AttemptRecord {
        id: leased.lease,
        scope: leased.message.scope,
        endpoint_id: leased.endpoint_id,
        event_id: leased.message.event_id,
        event_name: leased.message.event_name.clone(),
        number: leased.attempts + 1,
        manual: leased.manual,
        status: AttemptStatus::Success,
        disposition: Disposition::Finish(DeliveryState::Succeeded),
        step: leased.step + 1,
        url: "https://example.com/hook".to_owned(),
        http_status: Some(200),
        error_kind: None,
        error_detail: None,
        request_headers: "{}".to_owned(),
        response_headers: "{}".to_owned(),
        response_body: String::new(),
        duration_ms: 12,
        started_at: NOW,
    }
}

async fn every_outcome_moves_the_delivery_on(store: &TestStore) {
    use DeliveryState::{Canceled, Failed, Succeeded, Waiting};
    let worker = new_worker();
    let retry_at = NOW + seconds(300);
    let until = grant(worker, NOW).until;
    for (status, disposition, state, due_at) in [
        (
            AttemptStatus::Success,
            Disposition::Finish(Succeeded),
            Succeeded,
            until,
        ),
        (
            AttemptStatus::Failing,
            Disposition::Retry(retry_at),
            Waiting,
            retry_at,
        ),
        (AttemptStatus::Failed, Disposition::Finish(Failed), Failed, until),
        (
            AttemptStatus::Canceled,
            Disposition::Finish(Canceled),
            Canceled,
            until,
        ),
    ] {
        let leased = store.leased(worker).await;
        let record = AttemptRecord {
            status,
            disposition,
            number: 3,
            step: 2,
            ..success(&leased)
        };
        assert_eq!(store.engine().record(&[record]).await.unwrap(), [true]);

        let row = store.delivery(leased.endpoint_id, leased.message.event_id).await;
        assert_eq!((row.state, row.due_at), (state as i16, due_at.as_micros()));
        assert_eq!((row.attempts, row.step), (3, 2));
        assert_eq!((row.lease, row.worker_id), (None, None));
        let attempts = store.attempts().await;
        let kept = attempts.iter().find(|kept| kept.id == leased.lease.0).unwrap();
        assert_eq!(kept.status, status as i16);
        let next = (state == Waiting).then(|| retry_at.as_micros());
        assert_eq!(kept.next_attempt_at, next);
    }
}

async fn everything_about_an_attempt_is_kept(store: &TestStore) {
    let leased = store.leased(new_worker()).await;
    let record = AttemptRecord {
        number: 4,
        manual: true,
        status: AttemptStatus::Failing,
        disposition: Disposition::Retry(NOW + seconds(60)),
        url: "https://例え.jp/?q=出前".to_owned(),
        http_status: Some(599),
        error_kind: Some("timeout"),
        error_detail: Some("no answer within 15 s \u{1f440}".to_owned()),
        request_headers: r#"{"webhook-id":"msg_1"}"#.to_owned(),
        response_headers: r#"{"server":"\u0000"}"#.to_owned(),
        response_body: "<h1>Größe</h1>\r\n\t'quoted' \u{fffd}".to_owned(),
        duration_ms: 15_003,
        started_at: Timestamp::from_micros(NOW.as_micros() + 1),
        ..success(&leased)
    };
    store
        .engine()
        .record(std::slice::from_ref(&record))
        .await
        .unwrap();

    let attempts = store.attempts().await;
    assert_eq!(attempts.len(), 1);
    let kept = &attempts[0];
    assert_eq!(
        (kept.id, kept.organization_id, kept.application_id),
        (
            record.id.0,
            record.scope.organization.0,
            record.scope.application.0
        )
    );
    assert_eq!(
        (kept.endpoint_id, kept.event_id),
        (record.endpoint_id.0, record.event_id.0)
    );
    assert_eq!(kept.event_name, record.event_name);
    assert_eq!((kept.number, kept.manual), (4, true));
    assert_eq!(kept.status, AttemptStatus::Failing as i16);
    assert_eq!(kept.next_attempt_at, Some((NOW + seconds(60)).as_micros()));
    assert_eq!(kept.url, record.url);
    assert_eq!(kept.http_status, Some(599));
    assert_eq!(kept.error_kind.as_deref(), record.error_kind);
    assert_eq!(kept.error_detail, record.error_detail);
    assert_eq!(kept.request_headers, record.request_headers);
    assert_eq!(kept.response_headers, record.response_headers);
    assert_eq!(kept.response_body, record.response_body);
    assert_eq!(kept.duration_ms, 15_003);
    assert_eq!(kept.started_at, record.started_at.as_micros());
}

async fn a_lost_lease_changes_nothing_but_the_attempt_is_kept(store: &TestStore) {
    let lost = store.leased(new_worker()).await;
    let (endpoint, event) = (lost.endpoint_id, lost.message.event_id);
    let later = NOW + seconds(60);
    store.engine().recover_leases(later, NOW, 10).await.unwrap();
    let waiting = store.delivery(endpoint, event).await;
    assert_eq!(
        store.engine().record(&[success(&lost)]).await.unwrap(),
        [false],
        "waiting"
    );
    assert_eq!(store.delivery(endpoint, event).await, waiting);
    assert_eq!(store.attempts().await.len(), 1, "it happened all the same");

    let held = store
        .claim(endpoint, 1, grant(new_worker(), later))
        .await
        .remove(0);
    let before = store.delivery(endpoint, event).await;
    assert_eq!(before.lease, Some(held.lease.0));
    let stranger = AttemptRecord {
        id: new_attempt(),
        ..success(&held)
    };
    assert_eq!(
        store.engine().record(&[stranger]).await.unwrap(),
        [false],
        "another's"
    );
    assert_eq!(store.delivery(endpoint, event).await, before);
    assert_eq!(store.attempts().await.len(), 2);
}

/// A worker may lose a lease, get the delivery again, and end both attempts at about the same time.
async fn lost_and_held_leases_of_a_delivery_go_together(store: &TestStore) {
    let worker = new_worker();
    for held_first in [true, false] {
        let lost = store.leased(worker).await;
        let (endpoint, event) = (lost.endpoint_id, lost.message.event_id);
        let later = NOW + seconds(60);
        store.engine().recover_leases(later, NOW, 10).await.unwrap();
        let held = store.claim(endpoint, 1, grant(worker, later)).await.remove(0);
        let retry = AttemptRecord {
            disposition: Disposition::Retry(later),
            ..success(&lost)
        };
        let (records, expected) = if held_first {
            ([success(&held), retry], [true, false])
        } else {
            ([retry, success(&held)], [false, true])
        };
        assert_eq!(store.engine().record(&records).await.unwrap(), expected);
        let row = store.delivery(endpoint, event).await;
        assert_eq!(row.state, DeliveryState::Succeeded as i16);
    }
    assert_eq!(store.attempts().await.len(), 4);
}

async fn recording_again_is_harmless(store: &TestStore) {
    let leased = store.leased(new_worker()).await;
    let retry = || AttemptRecord {
        status: AttemptStatus::Failing,
        disposition: Disposition::Retry(NOW + seconds(5)),
        ..success(&leased)
    };
    let moved = store.engine().record(&[retry(), retry()]).await.unwrap();
    assert_eq!(moved, [true, false]);
    let before = (store.deliveries().await, store.attempts().await);
    assert_eq!(store.engine().record(&[retry()]).await.unwrap(), [false]);
    assert_eq!((store.deliveries().await, store.attempts().await), before);
    assert_eq!(before.1.len(), 1);
}

async fn a_manual_attempt_leaves_no_mark(store: &TestStore) {
    let leased = store.leased(new_worker()).await;
    store
        .execute("UPDATE deliveries SET manual = true, resume_state = 3, resume_due_at = 17")
        .await
        .unwrap();
    assert_eq!(store.engine().record(&[success(&leased)]).await.unwrap(), [true]);
    let row = store.delivery(leased.endpoint_id, leased.message.event_id).await;
    assert_eq!(
        (row.manual, row.resume_state, row.resume_due_at),
        (false, None, None)
    );
}

async fn hundreds_are_recorded_in_one_call(store: &TestStore) {
    let (endpoint, worker) = (new_endpoint(), new_worker());
    let messages: Vec<_> = new_events(300)
        .into_iter()
        .map(|event| routed(event, [(endpoint, None)]))
        .collect();
    store.engine().route(&messages, grant(worker, NOW)).await.unwrap();
    let lane = LaneRequest {
        endpoint_id: endpoint,
        limit: 300,
    };
    let mut leased = store.engine().claim(&[lane], grant(worker, NOW)).await.unwrap();
    assert_eq!(leased.len(), 300);
    leased[17].lease = new_attempt();
    let records: Vec<_> = leased.iter().map(success).collect();
    let mut expected = vec![true; 300];
    expected[17] = false;
    assert_eq!(store.engine().record(&records).await.unwrap(), expected);
    let finished = |row: &&demae_store::entity::delivery::Model| row.state == DeliveryState::Succeeded as i16;
    assert_eq!(store.deliveries().await.iter().filter(finished).count(), 299);
    assert_eq!(store.attempts().await.len(), 300);
}

/// Postgres refuses them in text; a receiver that answers with one must not hold up other receivers' attempts.
async fn nul_characters_do_not_stop_the_batch(store: &TestStore) {
    let leased = store.leased(new_worker()).await;
    let record = AttemptRecord {
        error_detail: Some("a\0b".to_owned()),
        response_body: "\0\0x".to_owned(),
        ..success(&leased)
    };
    assert_eq!(store.engine().record(&[record]).await.unwrap(), [true]);
    let kept = store.attempts().await.remove(0);
    assert_eq!(kept.response_body, "\u{fffd}\u{fffd}x");
    assert_eq!(kept.error_detail.as_deref(), Some("a\u{fffd}b"));
}

async fn nothing_is_nothing(store: &TestStore) {
    assert!(store.engine().record(&[]).await.unwrap().is_empty());
}
