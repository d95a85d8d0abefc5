//! The delivery engine as this process's roles want it.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use demae_delivery::{
    client::{AddressPolicy, ClientSettings, DeliveryClient, SystemResolver},
    engine::{EventSource, HealthPolicy, Relay, Settings as EngineSettings, Worker},
    management::Retention,
    policy::RetrySchedule,
};
use demae_event::Clock;
use demae_store::Store;
use tokio::time::Instant;

use super::{Role, Roles};
use crate::config::Settings;

/// What routes and delivers in this process.
pub(super) enum Engine {
    /// Delivers, and routes what it is given.
    Worker(Box<Worker>),
    /// Routes, for workers elsewhere.
    Relay(Relay),
    /// Neither.
    None,
}

impl Engine {
    /// Starts what `roles` ask for; `sources` are routed.
    pub(super) async fn start(
        settings: &Settings,
        roles: Roles,
        store: &Store,
        clock: &Arc<dyn Clock>,
        sources: Vec<Box<dyn EventSource>>,
    ) -> anyhow::Result<Self> {
        let started = if roles.has(Role::Worker) {
            let worker = Worker::start(
                engine_settings(settings)?,
                store.clone(),
                client(settings)?,
                clock.clone(),
                sources,
            );
            worker.await.map(Box::new).map(Self::Worker)
        } else if sources.is_empty() {
            Ok(Self::None)
        } else {
            Relay::start(store, clock.clone(), sources).await.map(Self::Relay)
        };
        started.context("the engine could not be started")
    }

    /// Lets attempts in flight go on until `cut_off`, and returns by `end`.
    pub(super) async fn drain(self, cut_off: Instant, end: Instant) {
        match self {
            Self::Worker(worker) => {
                if let Err(error) = worker.drain(cut_off, end).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "some leases could not be released; they end by themselves, and their deliveries are attempted again"
                    );
                }
            }
            Self::Relay(relay) => relay.drain(end).await,
            Self::None => {}
        }
    }
}

fn client(settings: &Settings) -> anyhow::Result<DeliveryClient> {
    let client = DeliveryClient::new(
        &ClientSettings {
            policy: AddressPolicy::new(settings.delivery.allowed_networks.iter().copied()),
            ..ClientSettings::default()
        },
        Arc::new(SystemResolver::from_system()?),
    )?;
    Ok(client)
}

fn engine_settings(settings: &Settings) -> anyhow::Result<EngineSettings> {
    let delivery = &settings.delivery;
    let seconds: Vec<u64> = delivery.retry_schedule.iter().map(Duration::as_secs).collect();
    Ok(EngineSettings {
        schedule: RetrySchedule::from_seconds(&seconds)?,
        https_only: delivery.https_only,
        lease: delivery.lease,
        queued: delivery.queued,
        exchanges: delivery.concurrency,
        health: HealthPolicy {
            disable_after: delivery.disable_after,
            ..HealthPolicy::default()
        },
        retention: Retention {
            attempts: settings.retention.attempts,
            messages: settings.retention.messages,
            rejected: settings.retention.rejected,
            audit: settings.retention.audit,
            ..Retention::default()
        },
    })
}
