//! Endpoints as the engine needs them.

use std::time::Duration;

use demae_event::{
    EndpointId,
    subscription::{Subscription, SubscriptionSet},
};
use demae_signature::standard::SigningKey;
use demae_store::{Store, StoreError, repository::endpoints};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    client::EndpointUrl,
    dialect::Dialect,
    endpoint::{EndpointConfig, KnownHealth},
    policy::RetrySchedule,
};

/// What changed of the endpoints, parsed.
#[derive(Debug)]
pub struct EndpointChanges {
    /// Endpoints that are there.
    pub endpoints: Vec<EndpointConfig>,
    /// Endpoints that are deleted or cannot be read.
    pub gone: Vec<EndpointId>,
    /// The health of others.
    pub health: Vec<endpoints::Health>,
}

/// Every endpoint that is not deleted, parsed.
pub async fn load_endpoints(store: &Store) -> Result<Vec<EndpointConfig>, StoreError> {
    Ok(load_changes(store, None).await?.endpoints)
}

/// What changed of the endpoints after the version `since`, or all of them. One whose settings cannot be read (written by
/// a newer release) is left out and logged: it must not stop the others.
pub async fn load_changes(store: &Store, since: Option<i64>) -> Result<EndpointChanges, StoreError> {
    let endpoints::Changes { endpoints, mut gone } =
        endpoints::load(store.reader(), store.vault(), since).await?;
    let health = match since {
        None => Vec::new(),
        Some(since) => endpoints::load_health(store.reader(), since).await?,
    };
    let mut parsed = Vec::with_capacity(endpoints.len());
    for loaded in endpoints {
        let id = loaded.endpoint.id;
        if let Some(config) = parse(loaded) {
            parsed.push(config);
        } else {
            tracing::error!(endpoint = %id, "the endpoint's settings cannot be read; it receives nothing");
            gone.push(id);
        }
    }
    Ok(EndpointChanges {
        endpoints: parsed,
        gone,
        health,
    })
}

fn parse(
    endpoints::Loaded {
        endpoint: row,
        opened,
    }: endpoints::Loaded,
) -> Option<EndpointConfig> {
    let subscriptions = row
        .event_names
        .iter()
        .map(|name| name.parse::<Subscription>().ok());
    let mut headers = HeaderMap::new();
    for (name, value) in &row.headers {
        headers.insert(
            HeaderName::try_from(name).ok()?,
            HeaderValue::try_from(value).ok()?,
        );
    }
    let mut keys = Vec::new();
    if opened {
        keys.push((SigningKey::parse(&row.secret).ok()?, None));
    }
    for previous in &row.previous_secrets {
        keys.push((
            SigningKey::parse(&previous.secret).ok()?,
            Some(previous.expires_at),
        ));
    }
    let schedule = match row.retry_schedule {
        None => None,
        Some(seconds) => {
            let seconds: Vec<u64> = seconds.into_iter().map(u64::from).collect();
            Some(RetrySchedule::from_seconds(&seconds).ok()?)
        }
    };
    Some(EndpointConfig {
        id: row.id,
        scope: row.scope,
        // Whether plain http is allowed was decided when the URL was written.
        url: EndpointUrl::parse(&row.url, false).ok()?,
        url_text: row.url,
        subscriptions: SubscriptionSet::new(subscriptions.collect::<Option<Vec<_>>>()?).ok()?,
        headers,
        public_headers: row.public_headers,
        rate_limit: row.rate_limit,
        timeout: Duration::from_secs(u64::from(row.timeout_seconds)),
        schedule,
        enabled: row.enabled,
        dialect: Dialect::from_name(&row.dialect)?,
        keys,
        health: KnownHealth::new(row.failing_since, row.failing_notified_at),
        opened,
    })
}
