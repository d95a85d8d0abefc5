//! Whether a request that reached an inbox was signed by the endpoint that leads there.

use async_trait::async_trait;
use demae_delivery::management;
use demae_event::Timestamp;
use demae_signature::standard::{self, DEFAULT_TOLERANCE_SECONDS, VerifyingKey};
use demae_store::{Store, StoreError};
use http::HeaderMap;
use serde::Serialize;
use tokio::sync::RwLock;

/// What is known about a request's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    /// `None`: there is no endpoint whose key could tell.
    pub(super) verified: Option<bool>,
    /// In words.
    pub(super) detail: String,
}

/// Knows the keys of the endpoints that lead to a path.
#[async_trait]
pub(crate) trait KeySource: Send + Sync + 'static {
    /// The keys with which endpoints whose URL has this path sign at `now`.
    async fn keys(&self, path: &str, now: Timestamp) -> Result<Vec<VerifyingKey>, StoreError>;
}

/// Checks a request against the keys of every endpoint that leads to `path`.
pub(super) async fn check(
    source: &dyn KeySource,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Verdict {
    let keys = match source.keys(path, now).await {
        Ok(keys) => keys,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot look up the keys of an inbox"
            );
            return Verdict {
                verified: None,
                detail: "the keys could not be looked up".to_owned(),
            };
        }
    };
    if keys.is_empty() {
        return Verdict {
            verified: None,
            detail: "no endpoint has this URL".to_owned(),
        };
    }
    let header = |name: &str| headers.get(name).map(http::HeaderValue::as_bytes);
    match standard::verify(header, body, &keys, now.as_secs(), DEFAULT_TOLERANCE_SECONDS) {
        Ok(_) => Verdict {
            verified: Some(true),
            detail: "signed with the endpoint's secret".to_owned(),
        },
        Err(error) => Verdict {
            verified: Some(false),
            detail: error.to_string(),
        },
    }
}

/// Reads the endpoints from the database, again only after one has changed.
pub(crate) struct StoreKeys {
    store: Store,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    version: Option<i64>,
    /// Path, key, and until when it signs.
    keys: Vec<(String, VerifyingKey, Option<Timestamp>)>,
}

impl StoreKeys {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            known: RwLock::default(),
        }
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        // Before the endpoints, so that what is loaded is at least as new as the version it is called.
        let version = self.store.engine().endpoints_version().await?;
        if self.known.read().await.version == Some(version) {
            return Ok(());
        }
        let endpoints = management::load_endpoints(&self.store).await?;
        let keys = endpoints
            .iter()
            .filter_map(|endpoint| {
                Some((
                    url::Url::parse(&endpoint.url_text).ok()?.path().to_owned(),
                    endpoint,
                ))
            })
            .flat_map(|(path, endpoint)| {
                endpoint
                    .keys
                    .iter()
                    .map(move |(key, until)| (path.clone(), key.verifying_key(), *until))
            })
            .collect();
        *self.known.write().await = Known {
            version: Some(version),
            keys,
        };
        Ok(())
    }
}

#[async_trait]
impl KeySource for StoreKeys {
    async fn keys(&self, path: &str, now: Timestamp) -> Result<Vec<VerifyingKey>, StoreError> {
        self.refresh().await?;
        let known = self.known.read().await;
        Ok(known
            .keys
            .iter()
            .filter(|(own, _, until)| own == path && until.is_none_or(|until| until > now))
            .map(|(_, key, _)| key.clone())
            .collect())
    }
}
