//! Whether an endpoint works at all, judged from its attempts.
//!
//! An endpoint is *failing* from its first failure until its next success. Its owner is told (`ENDPOINT_FAILING`) once a
//! delivery of it has failed [`HealthPolicy::notify_after_attempts`] times while it was failing; after
//! [`HealthPolicy::disable_after`] of nothing but failure, or at once when it answers 410, it is disabled
//! (`ENDPOINT_DISABLED`). Every step is a conditional update in one transaction with its event, so it happens once even
//! if several workers see the same.

use std::{collections::HashMap, sync::Arc, time::Duration};

use demae_event::{EndpointId, Timestamp};
use demae_store::{Store, StoreError, engine::AttemptRecord, silence::answer};

use crate::{
    endpoint::EndpointConfig,
    management::health::{self, DisableReason, LastAttempt},
    policy::{Ending, Verdict},
};

/// When an endpoint that fails is reported and disabled.
#[derive(Debug, Clone, Copy)]
pub struct HealthPolicy {
    /// Its owner is told when a delivery has failed so often.
    pub notify_after_attempts: u32,
    /// Time without a success after which Demae disables an endpoint; 5 days by default.
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

/// What a batch of outcomes says about one endpoint.
#[derive(Debug)]
struct Finding {
    endpoint: Arc<EndpointConfig>,
    /// It said that it wants nothing any more, which no success takes back.
    gone: Option<LastAttempt>,
    /// There was a success.
    worked: bool,
    /// The failure after the last success that comes latest in its delivery's schedule, and how late.
    failed: Option<(u32, LastAttempt)>,
}

impl Finding {
    fn add(&mut self, verdict: Verdict, record: &AttemptRecord) {
        match verdict {
            Verdict::Success => {
                self.worked = true;
                self.failed = None;
            }
            Verdict::Gone => self.gone = Some(last_attempt(record)),
            Verdict::RetryLater | Verdict::GiveUp => {
                if self
                    .failed
                    .as_ref()
                    .is_none_or(|(number, _)| *number <= record.number)
                {
                    self.failed = Some((record.number, last_attempt(record)));
                }
            }
        }
    }
}

/// Collects findings while a batch is counted, then acts on those that change something.
pub(super) struct Health {
    policy: HealthPolicy,
    store: Store,
    findings: HashMap<EndpointId, Finding>,
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
        let verdict = ending.verdict();
        // The common case by far: nothing was wrong before, nothing is now.
        if verdict == Verdict::Success
            && endpoint.health.failing_since().is_none()
            && !self.findings.contains_key(&endpoint.id)
        {
            return;
        }
        self.findings
            .entry(endpoint.id)
            .or_insert_with(|| Finding {
                endpoint: endpoint.clone(),
                gone: None,
                worked: false,
                failed: None,
            })
            .add(verdict, record);
    }

    /// Acts on what was observed. A failure to write is logged: the next attempt of the endpoint says the same again.
    pub(super) async fn settle(&mut self, now: Timestamp) {
        for finding in std::mem::take(&mut self.findings).into_values() {
            if let Err(error) = answer(self.act(&finding, now)).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    endpoint = %finding.endpoint.id,
                    "the endpoint's health could not be written"
                );
            }
        }
    }

    async fn act(&self, finding: &Finding, now: Timestamp) -> Result<(), StoreError> {
        let endpoint = &*finding.endpoint;
        if let Some(attempt) = &finding.gone {
            return health::disable(&self.store, endpoint, DisableReason::Gone, attempt, now).await;
        }
        if finding.worked && endpoint.health.failing_since().is_some() {
            health::mark_working(&self.store, endpoint, now).await?;
        }
        let Some((number, attempt)) = &finding.failed else {
            return Ok(());
        };
        match endpoint.health.failing_since() {
            None => health::mark_failing(&self.store, endpoint, now).await,
            Some(since) if now.since(since) >= self.policy.disable_after => {
                health::disable(&self.store, endpoint, DisableReason::Failing, attempt, now).await
            }
            Some(_)
                if endpoint.health.failing_notified_at().is_none()
                    && *number >= self.policy.notify_after_attempts =>
            {
                health::notify_failing(&self.store, endpoint, attempt, now).await
            }
            Some(_) => Ok(()),
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

#[cfg(test)]
pub(super) mod tests {
    use demae_event::{AttemptId, EventId, OrganizationId, Scope};
    use demae_store::{
        StoreOptions, Vault,
        engine::{AttemptStatus, DeliveryState, Disposition},
        entity::organization,
        repository::organizations,
    };
    use demae_testkit::sqlite::SqliteFile;

    use super::*;
    use crate::management::{EndpointInput, Management, Rules, load_endpoints};

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

    struct World {
        store: Store,
        health: Health,
        _file: SqliteFile,
    }

    impl World {
        async fn new() -> Self {
            let file = SqliteFile::create().unwrap();
            let vault = Vault::from_text(&Vault::generate_text()).unwrap();
            let store = Store::connect(StoreOptions::new(file.url(), vault))
                .await
                .unwrap();
            store.migrate().await.unwrap();
            let organization = OrganizationId::new(NOW);
            let mut transaction = store.begin().await.unwrap();
            let row = organization::Model {
                id: organization.0,
                external_id: None,
                name: "Test".to_owned(),
                created_at: 0,
            };
            organizations::insert(&mut transaction, row).await.unwrap();
            let input = EndpointInput {
                url: "https://example.com/".to_owned(),
                event_names: vec!["*".to_owned()],
                ..EndpointInput::default()
            };
            Management::new(store.clone(), Rules::default())
                .create_endpoint(&mut transaction, Scope::default_of(organization), input, NOW)
                .await
                .unwrap();
            transaction.commit().await.unwrap();
            Self {
                health: Health::new(HealthPolicy::default(), store.clone()),
                store,
                _file: file,
            }
        }

        async fn endpoint(&self) -> Arc<EndpointConfig> {
            Arc::new(load_endpoints(&self.store).await.unwrap().remove(0))
        }

        /// A batch of outcomes, each the status of an attempt and its number.
        async fn batch(&mut self, outcomes: &[(u16, u32)], now: Timestamp) {
            let endpoint = self.endpoint().await;
            for (status, number) in outcomes {
                let record = record(&endpoint, *number, now);
                self.health.observe(&endpoint, Ending::Status(*status), &record);
            }
            self.health.settle(now).await;
        }
    }

    fn record(endpoint: &EndpointConfig, number: u32, now: Timestamp) -> AttemptRecord {
        AttemptRecord {
            scope: endpoint.scope,
            endpoint_id: endpoint.id,
            number,
            step: number,
            started_at: now,
            ..any_record()
        }
    }

    /// A failed attempt, with short texts.
    pub(in crate::engine) fn any_record() -> AttemptRecord {
        AttemptRecord {
            id: AttemptId::new(NOW),
            scope: Scope::default_of(OrganizationId::new(NOW)),
            endpoint_id: EndpointId::new(NOW),
            event_id: EventId::new(NOW),
            event_name: "A".to_owned(),
            number: 1,
            manual: false,
            status: AttemptStatus::Failing,
            disposition: Disposition::Finish(DeliveryState::Failed),
            step: 1,
            url: String::new(),
            http_status: None,
            error_kind: None,
            error_detail: None,
            request_headers: "{}".to_owned(),
            response_headers: "{}".to_owned(),
            response_body: String::new(),
            duration_ms: 1,
            started_at: NOW,
        }
    }

    #[tokio::test]
    async fn a_410_is_not_hidden_by_a_success_of_the_same_batch() {
        let mut world = World::new().await;
        world.batch(&[(200, 1), (410, 1), (200, 1)], NOW).await;
        assert!(!world.endpoint().await.enabled);
    }

    #[tokio::test]
    async fn a_success_is_not_hidden_by_a_failure_after_it() {
        let mut world = World::new().await;
        world.batch(&[(500, 1)], NOW).await;
        let later = NOW + HealthPolicy::default().disable_after;
        world.batch(&[(500, 2), (200, 1), (500, 1)], later).await;
        let endpoint = world.endpoint().await;
        assert!(endpoint.enabled);
        assert_eq!(endpoint.health.failing_since(), Some(later), "a new failure");
    }

    #[tokio::test]
    async fn a_late_attempt_is_not_hidden_by_an_early_one() {
        let mut world = World::new().await;
        world.batch(&[(500, 1)], NOW).await;
        world.batch(&[(500, 4), (500, 1)], NOW).await;
        assert!(world.endpoint().await.health.failing_notified_at().is_some());
    }

    #[tokio::test]
    async fn nothing_but_failure_disables_in_the_end() {
        let mut world = World::new().await;
        world.batch(&[(500, 1)], NOW).await;
        world
            .batch(&[(500, 2)], NOW + HealthPolicy::default().disable_after)
            .await;
        assert!(!world.endpoint().await.enabled);
    }
}
