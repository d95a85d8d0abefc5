//! What is shown of an attempt, and asking for another.

use demae_delivery::management::{
    EndpointPatch, ManagementError, Page,
    history::{AttemptState, HistoryFilter, PlannedRetry},
};
use demae_event::{AttemptId, Scope};
use demae_store::engine::{AttemptStatus, DeliveryState, Disposition};

use crate::support::{NOW, World, code, owned, seconds};

in_every_scope!(
    the_words_are_those_of_the_issue,
    an_attempt_shows_what_was_sent,
    filters_take_either_name_and_types,
    a_retry_is_planned_and_keeps_the_schedule,
    a_retry_is_refused_where_it_cannot_be_made,
);

async fn retry(world: &World, scope: Scope, attempt: AttemptId) -> Result<PlannedRetry, ManagementError> {
    let mut transaction = world.begin().await;
    let planned = world
        .management
        .retry_attempt(&mut transaction, scope, attempt, NOW)
        .await?;
    transaction.commit().await.unwrap();
    Ok(planned)
}

async fn the_words_are_those_of_the_issue(world: &World) {
    let endpoint = world.endpoint().await;
    let later = NOW + seconds(60);
    for (status, disposition) in [
        (
            AttemptStatus::Success,
            Disposition::Finish(DeliveryState::Succeeded),
        ),
        (AttemptStatus::Failing, Disposition::Retry(later)),
        (AttemptStatus::Failed, Disposition::Finish(DeliveryState::Failed)),
        (
            AttemptStatus::Canceled,
            Disposition::Finish(DeliveryState::Canceled),
        ),
    ] {
        world.waiting(endpoint.id).await;
        let leased = world.claim(endpoint.id).await;
        world.record(&leased[0], status, disposition).await;
    }
    world.waiting(endpoint.id).await;
    world.claim(endpoint.id).await;
    let shown = world
        .management
        .history(world.mine, &HistoryFilter::default(), Page::first(9))
        .await
        .unwrap();
    let words: Vec<_> = shown
        .items
        .iter()
        .map(|entry| AttemptState::from(entry.status).as_str())
        .collect();
    assert_eq!(words, ["sending", "canceled", "failed", "failing", "success"]);
    assert_eq!(shown.items[3].next_attempt_at, Some(later));
    for word in AttemptState::ALL {
        assert_eq!(word.as_str().parse(), Ok(word));
        let filter = HistoryFilter {
            states: vec![word],
            ..HistoryFilter::default()
        };
        let chosen = world
            .management
            .history(world.mine, &filter, Page::first(9))
            .await
            .unwrap();
        assert_eq!(chosen.items.len(), 1, "{word}");
        assert_eq!(AttemptState::from(chosen.items[0].status), word);
        assert_eq!(
            world
                .management
                .history(world.theirs, &filter, Page::first(9))
                .await
                .unwrap()
                .items,
            []
        );
    }
    assert!("Success".parse::<AttemptState>().is_err());
}

async fn an_attempt_shows_what_was_sent(world: &World) {
    let endpoint = world.endpoint().await;
    let (event, attempt) = world.failed(endpoint.id).await;
    let detail = world.management.attempt(world.mine, attempt).await.unwrap();
    assert_eq!((detail.entry.event_id, detail.entry.number), (event, 1));
    let expected = concat!(
        r#"{"name":"CUSTOMER_CREATED","type":"com.kaiten.customer.v1.created","data":{"z": 1.50, "a": "ö"},"#,
        r#""headers":{"instance_id":"i"}}"#
    );
    assert_eq!(detail.request_body.unwrap(), expected);
    assert_eq!(
        code(world.management.attempt(world.theirs, attempt).await),
        "GetAttempt.NotFound"
    );
}

async fn filters_take_either_name_and_types(world: &World) {
    let endpoint = world.endpoint().await;
    world.failed(endpoint.id).await;
    for (event, count) in [
        ("CUSTOMER_CREATION", 1),
        ("CUSTOMER_CREATED", 1),
        ("com.kaiten.customer.v1.created", 1),
        ("CUSTOMER_UPDATE", 0),
        ("NOTHING", 0),
    ] {
        let filter = HistoryFilter {
            events: owned(&[event]),
            ..HistoryFilter::default()
        };
        let listed = world
            .management
            .history(world.mine, &filter, Page::first(9))
            .await
            .unwrap();
        assert_eq!(listed.items.len(), count, "{event}");
    }
}

async fn a_retry_is_planned_and_keeps_the_schedule(world: &World) {
    let endpoint = world.endpoint().await;
    let event = world.waiting(endpoint.id).await;
    let leased = world.claim(endpoint.id).await;
    let later = NOW + seconds(300);
    let attempt = world
        .record(&leased[0], AttemptStatus::Failing, Disposition::Retry(later))
        .await;
    let planned = retry(world, world.mine, attempt).await.unwrap();
    assert_eq!(
        planned,
        PlannedRetry {
            event_id: event,
            endpoint_id: endpoint.id,
            due_at: NOW
        }
    );
    let leased = world.claim(endpoint.id).await;
    assert!(leased[0].manual);
    assert_eq!(leased[0].resume, Some((DeliveryState::Waiting, later)));
}

async fn a_retry_is_refused_where_it_cannot_be_made(world: &World) {
    let endpoint = world.endpoint().await;
    let (_, attempt) = world.failed(endpoint.id).await;
    assert_eq!(
        code(retry(world, world.theirs, attempt).await),
        "RetryAttempt.NotFound"
    );
    assert_eq!(
        code(retry(world, world.mine, AttemptId::new(NOW)).await),
        "RetryAttempt.NotFound"
    );
    world.waiting(endpoint.id).await;
    let sending = world.claim(endpoint.id).await[0].lease;
    assert_eq!(
        code(retry(world, world.mine, sending).await),
        "RetryAttempt.UnderWay"
    );

    let mut transaction = world.begin().await;
    let disable = EndpointPatch {
        enabled: Some(false),
        ..EndpointPatch::default()
    };
    world
        .management
        .patch_endpoint(&mut transaction, world.mine, endpoint.id, disable, NOW)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(
        code(retry(world, world.mine, attempt).await),
        "RetryAttempt.EndpointDisabled"
    );
    let mut transaction = world.begin().await;
    world
        .management
        .delete_endpoint(&mut transaction, world.mine, endpoint.id, NOW)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(
        code(retry(world, world.mine, attempt).await),
        "RetryAttempt.EndpointDeleted"
    );
    // The history stays.
    assert!(world.management.attempt(world.mine, attempt).await.is_ok());
}
