//! Feature flags whose rules take as much work as a rule may.
//!
//! Tests the bounds on the work of a rule and of a request, and that rules are evaluated where they hold up nobody else.

use std::ops::RangeInclusive;

use http::Method;
use rand::{Rng as _, rngs::SmallRng};
use serde_json::{Value, json};

use super::{
    super::actor::{Actor, Outcomes},
    request::send,
};
use crate::api::Api;

/// The most targetings of a flag.
const TARGETINGS: usize = 50;
/// Groups of a context: about as many as a request can hold.
const GROUPS: usize = 6_000;

#[derive(Clone)]
pub(super) struct CostlyRules(pub(super) Api);

impl Actor for CostlyRules {
    const NAME: &'static str = "costly rules";
    const COPIES: usize = 4;
    const PAUSE_MS: RangeInclusive<u64> = 20..=400;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        if random.random_ratio(1, 10) {
            let flag = flag(&format!("Costly {}", random.random::<u16>()));
            return send(&self.0, Method::POST, "/api/feature-flags", Some(&flag), None).await;
        }
        let context = json!({ "context": { "targetingKey": "x", "groups": vec!["group"; GROUPS] } });
        let path = "/api/ofrep/v1/evaluate/flags";
        send(&self.0, Method::POST, path, Some(&context), None).await
    }
}

fn flag(name: &str) -> Value {
    // Each group with each other one and each third one.
    let rule = "groups.exists(a, groups.exists(b, groups.exists(c, a + b + c == 'never')))";
    let targetings = (0..TARGETINGS).map(
        |number| json!({ "type": "basic", "name": format!("t{number}"), "rule": rule, "variant": "on" }),
    );
    json!({
        "name": name, "type": "boolean", "enabled": true,
        "variants": [
            { "name": "on", "description": "", "value": true }, { "name": "off", "description": "", "value": false }
        ],
        "default_variant": { "type": "basic", "value": "off" },
        "targetings": targetings.collect::<Value>(),
    })
}
