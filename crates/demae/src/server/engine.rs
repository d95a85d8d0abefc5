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
            extra_roots: settings
                .authorities
                .as_ref()
                .map_or_else(Vec::new, |trusted| trusted.certificates().to_vec()),
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
        queued_bytes: delivery.queued_bytes,
        exchanges: delivery.concurrency,
        health: HealthPolicy {
            disable_after: delivery.disable_after,
            ..HealthPolicy::default()
        },
        retention: Retention {
            attempts: settings.retention.attempts,
            messages: settings.retention.messages,
            payloads: settings.retention.payloads,
            rejected: settings.retention.rejected,
            audit: settings.retention.audit,
            ..Retention::default()
        },
        timers: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use demae_delivery::client::{EndpointUrl, ErrorKind, OutgoingRequest, RESPONSE_BODY_LIMIT};
    use demae_testkit::receiver::{Recorder, SelfSigned};

    use super::*;
    use crate::{
        config::{Mode, Sources},
        http_client::HttpClient,
    };

    fn settings(authorities: &str) -> Settings {
        let variables = [
            ("DEMAE_EXTRA_CA_FILE", authorities),
            ("DEMAE_ALLOW_PRIVATE_ENDPOINTS", "127.0.0.0/8"),
        ];
        let sources = Sources {
            variables: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Sources::default()
        };
        Settings::load(&sources, Mode::Serve).unwrap()
    }

    #[tokio::test]
    async fn further_authorities_are_trusted_by_deliveries_and_by_the_other_client() {
        let certificate = SelfSigned::for_hosts(&["127.0.0.1"]);
        let receiver = Recorder::start_tls(&certificate, &["h2", "http/1.1"]).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), certificate.pem()).unwrap();
        for (authorities, trusted) in [(file.path().to_str().unwrap(), true), ("", false)] {
            let settings = settings(authorities);
            let url = EndpointUrl::parse(&receiver.url("/"), true).unwrap();
            let request = OutgoingRequest {
                url: &url,
                headers: http::HeaderMap::new(),
                body: Bytes::new(),
                timeout: Duration::from_secs(20),
                response_limit: RESPONSE_BODY_LIMIT,
            };
            let delivered = client(&settings).unwrap().exchange(request).await;
            let kind = delivered.err().map(|failure| failure.kind);
            assert_eq!(kind, (!trusted).then_some(ErrorKind::Tls));
            let request = http::Request::get(receiver.url("/")).body(Bytes::new()).unwrap();
            let http = HttpClient::trusting(settings.authorities.as_ref());
            let answered = http.send(request, Duration::from_secs(20)).await;
            assert_eq!(answered.is_ok(), trusted);
        }
    }
}
