//! What the recorder concludes about an endpoint, written down.
//!
//! When is decided by [`crate::engine::HealthPolicy`]. Each step is one transaction: a conditional update and, where its
//! owner is to be told, the event. So each happens once, even if several workers conclude the same.

use demae_event::{AttemptId, Event, EventDefinition, EventId, Timestamp, catalogue};
use demae_store::{Store, StoreError, outbox, repository::endpoints};
use serde::Serialize;

use crate::endpoint::EndpointConfig;

/// Why Demae disables an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DisableReason {
    /// Nothing but failure for too long.
    Failing,
    /// It answered 410.
    Gone,
}

impl DisableReason {
    /// The word in the database and in the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Gone => "gone",
        }
    }
}

/// The attempt that the conclusion was drawn from.
#[derive(Debug, Clone)]
pub struct LastAttempt {
    /// The attempt.
    pub id: AttemptId,
    /// What it carried.
    pub event_id: EventId,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What went wrong.
    pub error_kind: Option<&'static str>,
    /// When it began.
    pub timestamp: Timestamp,
}

/// The endpoint works: whatever failed before is over.
pub async fn mark_working(
    store: &Store,
    endpoint: &EndpointConfig,
    _now: Timestamp,
) -> Result<(), StoreError> {
    let mut transaction = store.begin().await?;
    endpoints::note_success(&mut transaction, endpoint.scope, endpoint.id).await?;
    transaction.commit().await?;
    endpoint.health.set(None, None);
    Ok(())
}

/// The endpoint fails, from `now` on unless it did before.
pub async fn mark_failing(
    store: &Store,
    endpoint: &EndpointConfig,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut transaction = store.begin().await?;
    let noted = endpoints::note_failing(&mut transaction, endpoint.scope, endpoint.id, now).await?;
    transaction.commit().await?;
    // Otherwise another worker noted it, and the directory will say since when.
    if noted {
        endpoint.health.set(Some(now), None);
    }
    Ok(())
}

/// Tells the owner that the endpoint has been failing, once per failure.
pub async fn notify_failing(
    store: &Store,
    endpoint: &EndpointConfig,
    attempt: &LastAttempt,
    now: Timestamp,
) -> Result<(), StoreError> {
    let since = endpoint.health.failing_since().unwrap_or(attempt.timestamp);
    let mut transaction = store.begin().await?;
    let (scope, id) = (endpoint.scope, endpoint.id);
    let notified = endpoints::mark_notified(&mut transaction, scope, id, since, now).await?;
    if notified {
        let event = event(catalogue::endpoint_failing(), endpoint, attempt, None, now);
        outbox::append(&mut transaction, &event).await?;
    }
    transaction.commit().await?;
    if notified {
        endpoint.health.set(Some(since), Some(now));
    }
    Ok(())
}

/// Disables the endpoint and tells the owner, unless it is disabled already.
pub async fn disable(
    store: &Store,
    endpoint: &EndpointConfig,
    reason: DisableReason,
    attempt: &LastAttempt,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut transaction = store.begin().await?;
    let (scope, id) = (endpoint.scope, endpoint.id);
    if endpoints::disable(&mut transaction, scope, id, reason.as_str(), now).await? {
        let event = event(
            catalogue::endpoint_disabled(),
            endpoint,
            attempt,
            Some(reason),
            now,
        );
        outbox::append(&mut transaction, &event).await?;
    }
    transaction.commit().await
}

/// `data` of both events, as their schemas in the catalogue say.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventData<'a> {
    webhook_id: demae_event::EndpointId,
    url: &'a str,
    organization_id: demae_event::OrganizationId,
    failing_since: Timestamp,
    event_id: EventId,
    last_attempt: AttemptData,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<DisableReason>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptData {
    id: AttemptId,
    status: Option<u16>,
    error_kind: Option<&'static str>,
    timestamp: Timestamp,
}

#[expect(
    clippy::expect_used,
    reason = "only maps with keys that are not text cannot be written as JSON"
)]
fn event(
    definition: &EventDefinition,
    endpoint: &EndpointConfig,
    attempt: &LastAttempt,
    reason: Option<DisableReason>,
    now: Timestamp,
) -> Event {
    let data = EventData {
        webhook_id: endpoint.id,
        url: &endpoint.url_text,
        organization_id: endpoint.scope.organization,
        failing_since: endpoint.health.failing_since().unwrap_or(attempt.timestamp),
        event_id: attempt.event_id,
        last_attempt: AttemptData {
            id: attempt.id,
            status: attempt.status,
            error_kind: attempt.error_kind,
            timestamp: attempt.timestamp,
        },
        reason,
    };
    Event {
        id: EventId::new(now),
        scope: endpoint.scope,
        name: definition.name.to_owned(),
        event_type: definition.event_type.to_owned(),
        data: serde_json::value::to_raw_value(&data).expect("plain values are JSON"),
        headers: None,
        traceparent: None,
        created_at: now,
    }
}
