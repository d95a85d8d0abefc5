//! A client that may reach the loopback receivers, and a resolver that says what the test wants.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use demae_delivery::client::{
    AddressPolicy, ClientSettings, DeliveryClient, EndpointUrl, ExchangeError, ExchangeOutcome, Lookup,
    OutgoingRequest, RESPONSE_BODY_LIMIT, Resolve, ResolveError,
};
use http::HeaderMap;

/// Long enough that only a hanging exchange reaches it.
pub(crate) const AMPLE: Duration = Duration::from_secs(20);

/// Short, for exchanges that are meant to run into it.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// Answers from a script: each look-up of a name takes the next answer, and the last one stays.
#[derive(Default)]
pub(crate) struct ScriptedResolver {
    names: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    lookups: AtomicUsize,
}

impl ScriptedResolver {
    /// A resolver that knows `name`, with one list of addresses for each look-up.
    pub(crate) fn knowing(name: &str, answers: &[&[&str]]) -> Arc<Self> {
        let resolver = Self::default();
        resolver.learn(name, answers);
        Arc::new(resolver)
    }

    pub(crate) fn learn(&self, name: &str, answers: &[&[&str]]) {
        let parsed = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        let reversed = answers.iter().rev().map(parsed).collect();
        self.names.lock().unwrap().insert(name.to_owned(), reversed);
    }

    pub(crate) fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Resolve for ScriptedResolver {
    async fn resolve(&self, host: &str) -> Result<Lookup, ResolveError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let mut names = self.names.lock().unwrap();
        let answers = names.get_mut(host).ok_or(ResolveError::NotFound)?;
        let next = if answers.len() > 1 {
            answers.pop()
        } else {
            answers.last().cloned()
        };
        next.map(Lookup::from).ok_or(ResolveError::NotFound)
    }
}

/// A policy with these networks allow-listed.
pub(crate) fn allowing(networks: &[&str]) -> AddressPolicy {
    AddressPolicy::new(networks.iter().map(|network| network.parse().unwrap()))
}

/// A client with this policy and resolver, otherwise with the usual settings.
pub(crate) fn client(policy: AddressPolicy, resolver: Arc<ScriptedResolver>) -> DeliveryClient {
    DeliveryClient::new(
        &ClientSettings {
            policy,
            ..ClientSettings::default()
        },
        resolver,
    )
    .unwrap()
}

/// A client for receivers on loopback addresses.
pub(crate) fn local_client() -> DeliveryClient {
    client(allowing(&["127.0.0.0/8"]), Arc::default())
}

/// Posts `body` to `url`.
pub(crate) async fn post(
    client: &DeliveryClient,
    url: &str,
    body: &'static str,
    timeout: Duration,
) -> Result<ExchangeOutcome, ExchangeError> {
    let url = EndpointUrl::parse(url, false).unwrap();
    let request = OutgoingRequest {
        url: &url,
        headers: HeaderMap::new(),
        body: Bytes::from_static(body.as_bytes()),
        timeout,
        response_limit: RESPONSE_BODY_LIMIT,
    };
    client.exchange(request).await
}
