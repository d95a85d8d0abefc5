//! Answers to requests that are repeated.

use demae_event::OrganizationId;
use demae_store::repository::idempotency::{Request, Reservation, complete, reserve};

use super::Two;
use crate::support::{NOW, TestStore, seconds};

on_both_databases!(
    a_repeated_request_finds_the_answer,
    a_key_for_another_request_is_a_mismatch,
    a_key_is_free_again_after_a_rollback_and_after_its_time,
    a_request_at_the_same_time_waits_for_the_answer,
);

fn request(organization: OrganizationId, body: u8) -> Request {
    Request {
        organization_id: organization,
        key_digest: [7; 32],
        request_digest: [body; 32],
        expires_at: NOW + seconds(60),
    }
}

async fn answer(store: &TestStore, request: &Request, answer: &str) {
    let mut transaction = store.begin().await;
    assert_eq!(
        reserve(&mut transaction, request, NOW).await.unwrap(),
        Reservation::New
    );
    complete(&mut transaction, request, 201, answer).await.unwrap();
    transaction.commit().await.unwrap();
}

fn answered(answer: &str) -> Reservation {
    Reservation::Answered {
        status: 201,
        answer: answer.to_owned(),
    }
}

async fn a_repeated_request_finds_the_answer(store: &TestStore) {
    let two = Two::organizations(store).await;
    let (mine, theirs) = (
        request(two.mine.organization, 1),
        request(two.theirs.organization, 1),
    );
    answer(store, &mine, "first").await;
    let mut transaction = store.begin().await;
    assert_eq!(
        reserve(&mut transaction, &mine, NOW).await.unwrap(),
        answered("first")
    );
    // The same key of another organization is another key.
    assert_eq!(
        reserve(&mut transaction, &theirs, NOW).await.unwrap(),
        Reservation::New
    );
    transaction.commit().await.unwrap();
}

async fn a_key_for_another_request_is_a_mismatch(store: &TestStore) {
    let two = Two::organizations(store).await;
    answer(store, &request(two.mine.organization, 1), "first").await;
    let mut transaction = store.begin().await;
    let other = reserve(&mut transaction, &request(two.mine.organization, 2), NOW)
        .await
        .unwrap();
    assert_eq!(other, Reservation::Mismatch);
}

async fn a_key_is_free_again_after_a_rollback_and_after_its_time(store: &TestStore) {
    let two = Two::organizations(store).await;
    let mine = request(two.mine.organization, 1);
    let mut transaction = store.begin().await;
    assert_eq!(
        reserve(&mut transaction, &mine, NOW).await.unwrap(),
        Reservation::New
    );
    transaction.rollback().await.unwrap();
    answer(store, &mine, "first").await;
    let mut transaction = store.begin().await;
    let expired = reserve(
        &mut transaction,
        &request(two.mine.organization, 2),
        mine.expires_at,
    )
    .await
    .unwrap();
    assert_eq!(expired, Reservation::New);
}

async fn a_request_at_the_same_time_waits_for_the_answer(store: &TestStore) {
    let two = Two::organizations(store).await;
    let mine = request(two.mine.organization, 1);
    let mut first = store.begin().await;
    assert_eq!(reserve(&mut first, &mine, NOW).await.unwrap(), Reservation::New);
    let second = async {
        let mut transaction = store.begin().await;
        reserve(&mut transaction, &mine, NOW).await.unwrap()
    };
    let finish = async {
        complete(&mut first, &mine, 201, "first").await.unwrap();
        first.commit().await.unwrap();
    };
    let (found, ()) = futures::join!(second, finish);
    assert_eq!(found, answered("first"));
}
