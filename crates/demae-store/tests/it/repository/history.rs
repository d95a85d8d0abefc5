//! The history: pages, filters, attempts under way.

use demae_event::{AttemptId, EventId, Scope};
use demae_store::{
    engine::{AttemptStatus, DeliveryState},
    entity::attempt,
    repository::{
        PAGE_BYTES, Page,
        history::{self, HistoryEntry, HistoryFilter, HistoryStatus},
    },
};
use sea_orm::EntityTrait;

use super::Two;
use crate::support::{NOW, TestStore, new_endpoint, seconds};

in_every_scope!(
    pages_go_from_new_to_old_without_gaps,
    a_page_of_long_answers_is_short_and_has_a_next_one,
    attempts_under_way_come_first_and_only_once,
    filters_choose,
    a_rare_filter_stops_at_its_bound_and_goes_on,
    an_attempt_is_found_under_way_and_finished,
    an_attempt_outlives_its_message,
);

async fn list(
    store: &TestStore,
    scope: Scope,
    filter: &HistoryFilter,
    page: Page<AttemptId>,
) -> (Vec<AttemptId>, Option<AttemptId>) {
    let listing = history::list(store.store.reader(), scope, filter, page)
        .await
        .unwrap();
    (listing.items.iter().map(|entry| entry.id).collect(), listing.next)
}

async fn pages_go_from_new_to_old_without_gaps(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = store.endpoint(two.mine).await;
    let event = store.message_at(two.mine, NOW, "A").await;
    let mut ids = Vec::new();
    for after in 0..5 {
        ids.push(
            store
                .attempt_at(
                    (two.mine, endpoint, event),
                    NOW + seconds(after),
                    AttemptStatus::Failing,
                )
                .await,
        );
        store
            .attempt_at(
                (two.theirs, endpoint, event),
                NOW + seconds(after),
                AttemptStatus::Failing,
            )
            .await;
    }
    ids.reverse();
    let any = HistoryFilter::default();
    let (first, next) = list(store, two.mine, &any, Page::first(2)).await;
    let (second, next) = list(
        store,
        two.mine,
        &any,
        Page {
            limit: 2,
            after: next,
        },
    )
    .await;
    let (third, end) = list(
        store,
        two.mine,
        &any,
        Page {
            limit: 2,
            after: next,
        },
    )
    .await;
    assert_eq!([first, second, third].concat(), ids);
    assert_eq!(end, None);
    assert_eq!(list(store, two.mine, &any, Page::first(5)).await, (ids, None));
}

async fn a_page_of_long_answers_is_short_and_has_a_next_one(store: &TestStore) {
    let two = Two::scopes(store).await;
    let of = (
        two.mine,
        new_endpoint(),
        store.message_at(two.mine, NOW, "A").await,
    );
    let mut ids = Vec::new();
    for after in 0..5 {
        ids.push(
            store
                .attempt_at(of, NOW + seconds(after), AttemptStatus::Failed)
                .await,
        );
    }
    ids.reverse();
    let text = "x".repeat(PAGE_BYTES as usize / 2 - 10);
    store
        .execute(&format!("UPDATE attempts SET response_body = '{text}'"))
        .await
        .unwrap();
    let failed = HistoryStatus::Finished(AttemptStatus::Failed);
    let of_a_status = HistoryFilter {
        statuses: Some(vec![failed]),
        ..HistoryFilter::default()
    };
    for filter in [HistoryFilter::default(), of_a_status] {
        let mut pages = Vec::new();
        let mut page = Page::first(200);
        loop {
            let (found, next) = list(store, two.mine, &filter, page).await;
            pages.push(found);
            page.after = next;
            if next.is_none() {
                break;
            }
        }
        let lengths: Vec<usize> = pages.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 2, 1]);
        assert_eq!(pages.concat(), ids);
    }
}

async fn attempts_under_way_come_first_and_only_once(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = store.endpoint(two.mine).await;
    let mut leases = Vec::new();
    for _ in 0..2 {
        let event = store.message_at(two.mine, NOW, "A").await;
        leases.extend(
            store
                .delivery_in((two.mine, endpoint, event), DeliveryState::Leased)
                .await,
        );
    }
    let event = store.message_at(two.mine, NOW, "A").await;
    store
        .delivery_in((two.mine, endpoint, event), DeliveryState::Waiting)
        .await;
    let finished = store
        .attempt_at((two.mine, endpoint, event), NOW, AttemptStatus::Failing)
        .await;
    leases.reverse();

    let any = HistoryFilter::default();
    let (first, next) = list(store, two.mine, &any, Page::first(2)).await;
    assert_eq!(first, leases);
    assert_eq!(
        list(
            store,
            two.mine,
            &any,
            Page {
                limit: 2,
                after: next
            }
        )
        .await,
        (vec![finished], None)
    );
    assert_eq!(
        list(store, two.mine, &any, Page::first(9)).await.0,
        [leases, vec![finished]].concat()
    );
    assert_eq!(list(store, two.theirs, &any, Page::first(9)).await.0, []);
}

async fn a_rare_filter_stops_at_its_bound_and_goes_on(store: &TestStore) {
    let two = Two::scopes(store).await;
    let key = (two.mine, new_endpoint(), EventId::new(NOW));
    let rare = store.attempt_at(key, NOW, AttemptStatus::Success).await;
    let template = store.attempts().await.remove(0);
    let transaction = store.begin().await;
    for _ in 0..history::SCAN_LIMIT / 500 {
        let rows = (0..500).map(|_| {
            let id = AttemptId::new(NOW + seconds(1)).0;
            attempt::ActiveModel::from(attempt::Model {
                id,
                status: AttemptStatus::Failed as i16,
                ..template.clone()
            })
        });
        attempt::Entity::insert_many(rows)
            .exec_without_returning(transaction.connection())
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    let statuses = Some(vec![HistoryStatus::Finished(AttemptStatus::Success)]);
    let filter = HistoryFilter {
        statuses,
        ..HistoryFilter::default()
    };
    let (found, next) = list(store, two.mine, &filter, Page::first(5)).await;
    assert_eq!(found, []);
    let page = Page {
        limit: 5,
        after: next,
    };
    assert!(next.is_some());
    assert_eq!(list(store, two.mine, &filter, page).await, (vec![rare], None));
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn filters_choose(store: &TestStore) {
    let two = Two::scopes(store).await;
    let (endpoint, other) = (store.endpoint(two.mine).await, store.endpoint(two.mine).await);
    let event = store.message_at(two.mine, NOW, "CUSTOMER_CREATION").await;
    let old = store
        .attempt_at((two.mine, endpoint, event), NOW, AttemptStatus::Failed)
        .await;
    let sent = store.message_at(two.mine, NOW, "CUSTOMER_UPDATE").await;
    let sending = store
        .delivery_in((two.mine, endpoint, sent), DeliveryState::Leased)
        .await
        .unwrap();
    // Last: ids never go back in time within a process.
    let new = store
        .attempt_at(
            (two.mine, other, event),
            NOW + seconds(60),
            AttemptStatus::Success,
        )
        .await;
    let any = HistoryFilter::default;
    let failed = HistoryStatus::Finished(AttemptStatus::Failed);
    for (filter, expected) in [
        (any(), vec![sending, new, old]),
        (
            HistoryFilter {
                statuses: Some(vec![failed]),
                ..any()
            },
            vec![old],
        ),
        (
            HistoryFilter {
                statuses: Some(vec![HistoryStatus::Sending]),
                ..any()
            },
            vec![sending],
        ),
        (
            HistoryFilter {
                statuses: Some(vec![HistoryStatus::Sending, failed]),
                ..any()
            },
            vec![sending, old],
        ),
        (
            HistoryFilter {
                event_names: Some(vec!["CUSTOMER_UPDATE".to_owned()]),
                ..any()
            },
            vec![sending],
        ),
        (
            HistoryFilter {
                event_names: Some(vec!["CUSTOMER_CREATION".to_owned()]),
                ..any()
            },
            vec![new, old],
        ),
        (
            HistoryFilter {
                event_id: Some(event),
                ..any()
            },
            vec![new, old],
        ),
        (
            HistoryFilter {
                endpoint_id: Some(endpoint),
                ..any()
            },
            vec![sending, old],
        ),
        (
            HistoryFilter {
                since: Some(NOW + seconds(30)),
                ..any()
            },
            vec![new],
        ),
        (
            HistoryFilter {
                until: Some(NOW + seconds(60)),
                endpoint_id: Some(endpoint),
                ..any()
            },
            vec![sending, old],
        ),
        (
            HistoryFilter {
                until: Some(NOW),
                ..any()
            },
            vec![],
        ),
    ] {
        let (found, next) = list(store, two.mine, &filter, Page::first(9)).await;
        assert_eq!((found, next), (expected, None), "{filter:?}");
        assert_eq!(
            list(store, two.theirs, &filter, Page::first(9)).await,
            (vec![], None),
            "{filter:?}"
        );
    }
}

async fn find(store: &TestStore, scope: Scope, id: AttemptId) -> Option<HistoryEntry> {
    history::find(store.store.reader(), scope, id).await.unwrap()
}

async fn an_attempt_is_found_under_way_and_finished(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = store.endpoint(two.mine).await;
    let event = store.message_at(two.mine, NOW, "CUSTOMER_CREATION").await;
    let sending = store
        .delivery_in((two.mine, endpoint, event), DeliveryState::Leased)
        .await
        .unwrap();
    let finished = store
        .attempt_at((two.mine, endpoint, event), NOW, AttemptStatus::Failing)
        .await;

    let entry = find(store, two.mine, sending).await.unwrap();
    assert_eq!(
        (entry.status, entry.number, entry.outcome),
        (HistoryStatus::Sending, 3, None)
    );
    assert_eq!(
        (entry.event_name.as_str(), entry.url.as_str()),
        ("CUSTOMER_CREATION", "https://example.com/hook")
    );
    assert_eq!(entry.event_type.as_deref(), Some("test.customer_creation"));
    let entry = find(store, two.mine, finished).await.unwrap();
    assert_eq!(entry.status, HistoryStatus::Finished(AttemptStatus::Failing));
    let outcome = entry.outcome.unwrap();
    assert_eq!(
        (outcome.http_status, outcome.response_body.as_str()),
        (Some(503), "busy")
    );
    assert_eq!(entry.event_created_at, Some(NOW));
    for id in [sending, finished] {
        assert_eq!(find(store, two.theirs, id).await, None);
    }
    assert_eq!(find(store, two.mine, AttemptId::new(NOW)).await, None);
}

async fn an_attempt_outlives_its_message(store: &TestStore) {
    let two = Two::scopes(store).await;
    let endpoint = store.endpoint(two.mine).await;
    let id = store
        .attempt_at(
            (two.mine, endpoint, EventId::new(NOW)),
            NOW,
            AttemptStatus::Failed,
        )
        .await;
    let entry = find(store, two.mine, id).await.unwrap();
    assert_eq!((entry.event_type, entry.event_created_at), (None, None));
    assert_eq!(entry.event_name, "CUSTOMER_CREATION");
}
