//! Whether an endpoint works at all, judged from its attempts.
//!
//! An endpoint is *failing* from its first failure until its next success. Its owner is told (`ENDPOINT_FAILING`) once a
//! delivery of it has failed [`HealthPolicy::notify_after_attempts`] times while it was failing; after
//! [`HealthPolicy::disable_after`] of nothing but failure, or at once when it answers 410, it is disabled
//! (`ENDPOINT_DISABLED`). Every step is a conditional update in one transaction with its event, so it happens once even
//! if several workers see the same.

use std::{collections::HashMap, sync::Arc, time::Duration};

use demae_event::{EndpointId, Timestamp};
use demae_store::{Store, engine::AttemptRecord, silence::answer};

use crate::{
    directory::EndpointConfig,
    management::health::{self, DisableReason, LastAttempt},
    policy::{Ending, Verdict},
};

/// When an endpoint that fails is reported and disabled.
#[derive(Debug, Clone, Copy)]
pub struct HealthPolicy {
    /// Its owner is told when a delivery has failed so often.
    pub notify_after_attempts: u32,
    /// It is disabled after so long of nothing but failure (design, section 6: 5 days).
    pub disable_after: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            notify_after_attempts: 4,
            disable_after: Duration::from_hours(120),
        }
    }
}

/// What a batch of outcomes says about one endpoint: the last word counts.
#[derive(Debug)]
enum Finding {
    Works,
    Fails { number: u32, attempt: LastAttempt },
    Gone { attempt: LastAttempt },
}

/// Collects findings while a batch is counted, then acts on those that change something.
pub(super) struct Health {
    policy: HealthPolicy,
    store: Store,
    findings: HashMap<EndpointId, (Arc<EndpointConfig>, Finding)>,
}

impl Health {
    pub(super) fn new(policy: HealthPolicy, store: Store) -> Self {
        Self {
            policy,
            store,
            findings: HashMap::new(),
        }
    }

    /// Takes note of an attempt.
    pub(super) fn observe(&mut self, endpoint: &Arc<EndpointConfig>, ending: Ending, record: &AttemptRecord) {
        let finding = match ending.verdict() {
            // The common case by far: nothing was wrong before, nothing is now.
            Verdict::Success if endpoint.failing_since.is_none() && self.findings.is_empty() => return,
            Verdict::Success => Finding::Works,
            Verdict::Gone => Finding::Gone {
                attempt: last_attempt(record),
            },
            Verdict::RetryLater | Verdict::GiveUp => Finding::Fails {
                number: record.number,
                attempt: last_attempt(record),
            },
        };
        self.findings.insert(endpoint.id, (endpoint.clone(), finding));
    }

    /// Acts on what was observed. A failure to write is logged: the next attempt of the endpoint says the same again.
    pub(super) async fn settle(&mut self, now: Timestamp) {
        for (endpoint, finding) in std::mem::take(&mut self.findings).into_values() {
            if let Err(error) = answer(self.act(&endpoint, finding, now)).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    endpoint = %endpoint.id,
                    "the endpoint's health could not be written"
                );
            }
        }
    }

    async fn act(
        &self,
        endpoint: &EndpointConfig,
        finding: Finding,
        now: Timestamp,
    ) -> Result<(), demae_store::StoreError> {
        match finding {
            Finding::Works if endpoint.failing_since.is_some() => {
                health::mark_working(&self.store, endpoint, now).await
            }
            Finding::Works => Ok(()),
            Finding::Gone { attempt } => {
                health::disable(&self.store, endpoint, DisableReason::Gone, &attempt, now).await
            }
            Finding::Fails { number, attempt } => match endpoint.failing_since {
                None => health::mark_failing(&self.store, endpoint, now).await,
                Some(since) if now.since(since) >= self.policy.disable_after => {
                    health::disable(&self.store, endpoint, DisableReason::Failing, &attempt, now).await
                }
                Some(_)
                    if endpoint.failing_notified_at.is_none()
                        && number >= self.policy.notify_after_attempts =>
                {
                    health::notify_failing(&self.store, endpoint, &attempt, now).await
                }
                Some(_) => Ok(()),
            },
        }
    }
}

fn last_attempt(record: &AttemptRecord) -> LastAttempt {
    LastAttempt {
        id: record.id,
        event_id: record.event_id,
        status: record.http_status,
        error_kind: record.error_kind,
        timestamp: record.started_at,
    }
}
