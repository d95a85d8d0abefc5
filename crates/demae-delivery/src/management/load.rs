//! Endpoints as the engine needs them.

use std::time::Duration;

use demae_event::subscription::{Subscription, SubscriptionSet};
use demae_signature::standard::SigningKey;
use demae_store::{Store, StoreError, repository::endpoints};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{client::EndpointUrl, dialect::Dialect, directory::EndpointConfig, policy::RetrySchedule};

/// Every endpoint that is not deleted, parsed. One that cannot be read (written by a newer release) is left out and
/// logged: it must not stop the others. Secrets sealed with another key are an error: all of them are then.
pub async fn load_endpoints(store: &Store) -> Result<Vec<EndpointConfig>, StoreError> {
    let rows = endpoints::load_active(store.reader(), store.vault(), None).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let id = row.id;
            let config = parse(row);
            if config.is_none() {
                tracing::error!(endpoint = %id, "the endpoint's settings cannot be read; it receives nothing");
            }
            config
        })
        .collect())
}

fn parse(row: endpoints::Endpoint) -> Option<EndpointConfig> {
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
    let mut keys = vec![(SigningKey::parse(&row.secret).ok()?, None)];
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
        organization_id: row.organization_id,
        // Whether plain http is allowed was decided when the URL was written.
        url: EndpointUrl::parse(&row.url, false).ok()?,
        url_text: row.url,
        subscriptions: SubscriptionSet::new(subscriptions.collect::<Option<Vec<_>>>()?).ok()?,
        headers,
        rate_limit: row.rate_limit,
        timeout: Duration::from_secs(u64::from(row.timeout_seconds)),
        schedule,
        enabled: row.enabled,
        dialect: Dialect::from_name(&row.dialect)?,
        keys,
        failing_since: row.failing_since,
        failing_notified_at: row.failing_notified_at,
    })
}
