//! As many endpoints as an organization may have, at receivers that do not behave; then endless changes of them.
//!
//! Tests the bound on endpoints; that an event for all of them does not keep other organizations' events from being routed;
//! that changes, after each of which every process reads its endpoints again, cost the others nothing; and that an
//! organization with hundreds of bad endpoints has no more than its share of exchanges and memory.

use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};

use http::Method;
use rand::{Rng as _, rngs::SmallRng, seq::IndexedRandom as _};
use serde_json::{Value, json};

use super::{
    super::actor::{Actor, Outcomes, once},
    request::{NARROW, WIDE, send},
};
use crate::api::Api;

/// Nothing of it is written by the hostile tenant, but all of it is compared.
const CATALOGUE: [&str; 5] = [
    "ENDPOINT_*",
    "LICENSE_*",
    "INSTANCE_*",
    "RELEASE_*",
    "DEPLOYMENT_*",
];

#[derive(Clone)]
pub(super) struct Endpoints {
    api: Api,
    urls: Arc<[String]>,
    /// The ids of those that there are.
    made: Arc<Mutex<Vec<String>>>,
}

impl Endpoints {
    pub(super) fn new(api: Api, urls: Vec<String>) -> Self {
        Self {
            api,
            urls: urls.into(),
            made: Arc::default(),
        }
    }

    async fn make(&self, random: &mut SmallRng) -> Outcomes {
        let webhook = webhook(&self.urls, random);
        let answer = self
            .api
            .send(Method::POST, "/api/webhooks", Some(&webhook), None)
            .await;
        let Ok(answer) = answer else {
            return once("no answer");
        };
        if let Some(id) = answer.body()["id"].as_str() {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            made.push(id.to_owned());
        }
        once(answer.status.as_u16().to_string())
    }

    fn any(&self, random: &mut SmallRng) -> Option<String> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.choose(random).cloned()
    }
}

impl Actor for Endpoints {
    const NAME: &'static str = "endpoints";
    const COPIES: usize = 4;
    const PAUSE_MS: RangeInclusive<u64> = 5..=60;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        let some = self.any(random).filter(|_| random.random_ratio(1, 5));
        let Some(id) = some else {
            return self.make(random).await;
        };
        let path = format!("/api/webhooks/{id}");
        match random.random_range(0..3) {
            0 => {
                let change = json!({ "enabled": random.random::<bool>() });
                send(&self.api, Method::PATCH, &path, Some(&change), None).await
            }
            1 => {
                let change = json!({ "url": self.urls.choose(random) });
                send(&self.api, Method::PATCH, &path, Some(&change), None).await
            }
            _ => {
                send(
                    &self.api,
                    Method::POST,
                    &format!("{path}/test"),
                    Some(&json!({})),
                    None,
                )
                .await
            }
        }
    }
}

fn webhook(urls: &[String], random: &mut SmallRng) -> Value {
    let event_names: Vec<&str> = match random.random_range(0..10) {
        0 => vec!["*"],
        1 => CATALOGUE.into_iter().chain([NARROW, WIDE]).collect(),
        2 => vec![WIDE, NARROW],
        _ => vec![WIDE],
    };
    json!({
        "url": urls.choose(random),
        "eventNames": event_names,
        "timeoutSeconds": random.random_range(5..=30),
        "headers": { "x-filling": "x".repeat(random.random_range(1..4_000)) },
    })
}
