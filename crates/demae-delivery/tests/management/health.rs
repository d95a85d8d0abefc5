//! Telling owners about their endpoints, once.

use std::sync::Arc;

use demae_delivery::{
    endpoint::EndpointConfig,
    management::{
        health::{DisableReason, LastAttempt, disable, mark_failing, mark_working, notify_failing},
        load_endpoints,
    },
};
use demae_event::{AttemptId, EventId, catalogue};
use serde_json::Value;

use crate::support::{NOW, World, seconds};

in_every_scope!(
    an_owner_is_told_once_per_failure,
    an_endpoint_is_disabled_once,
    a_success_ends_the_failure,
);

async fn config(world: &World) -> Arc<EndpointConfig> {
    Arc::new(load_endpoints(&world.store).await.unwrap().remove(0))
}

fn attempt() -> LastAttempt {
    LastAttempt {
        id: AttemptId::new(NOW),
        event_id: EventId::new(NOW),
        status: Some(503),
        error_kind: Some("http_status"),
        timestamp: NOW,
    }
}

async fn an_owner_is_told_once_per_failure(world: &World) {
    world.endpoint().await;
    mark_failing(&world.store, &*config(world).await, NOW)
        .await
        .unwrap();
    // Two workers that know the same come to the same conclusion.
    let known = config(world).await;
    assert_eq!(known.health.failing_since(), Some(NOW));
    let later = NOW + seconds(60);
    let both = [(); 2].map(|()| {
        let known = known.clone();
        async move {
            notify_failing(&world.store, &known, &attempt(), later)
                .await
                .unwrap();
        }
    });
    futures::future::join_all(both).await;
    assert_eq!(config(world).await.health.failing_notified_at(), Some(later));
    let events = world.outbox().await;
    assert_eq!(events.len(), 1);
    let definition = catalogue::endpoint_failing();
    assert_eq!(
        (events[0].name.as_str(), events[0].event_type.as_str()),
        (definition.name, definition.event_type)
    );
    let data: Value = serde_json::from_str(events[0].data.get()).unwrap();
    jsonschema::validate(definition.schema(), &data).unwrap();
    assert_eq!(data["webhookId"], known.id.to_string());
    assert_eq!(data["failingSince"], NOW.to_string());
}

async fn an_endpoint_is_disabled_once(world: &World) {
    world.endpoint().await;
    let known = config(world).await;
    for reason in [DisableReason::Gone, DisableReason::Failing] {
        disable(&world.store, &known, reason, &attempt(), NOW)
            .await
            .unwrap();
    }
    assert!(!config(world).await.enabled);
    let events = world.outbox().await;
    assert_eq!(events.len(), 1);
    let data: Value = serde_json::from_str(events[0].data.get()).unwrap();
    jsonschema::validate(catalogue::endpoint_disabled().schema(), &data).unwrap();
    assert_eq!(data["reason"], "gone");
    let endpoint = world.management.endpoint(world.mine, known.id).await.unwrap();
    assert_eq!(endpoint.disabled_reason.as_deref(), Some("gone"));
    // What is disabled does not fail.
    mark_failing(&world.store, &known, NOW).await.unwrap();
    assert_eq!(config(world).await.health.failing_since(), None);
}

async fn a_success_ends_the_failure(world: &World) {
    world.endpoint().await;
    mark_failing(&world.store, &*config(world).await, NOW)
        .await
        .unwrap();
    let known = config(world).await;
    mark_working(&world.store, &known, NOW).await.unwrap();
    assert_eq!(config(world).await.health.failing_since(), None);
    // Who has not heard of the success yet tells nobody.
    notify_failing(&world.store, &known, &attempt(), NOW)
        .await
        .unwrap();
    assert!(world.outbox().await.is_empty());
}
