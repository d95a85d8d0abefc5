//! Event types whose schemas expand exponentially, or whose patterns backtrack.
//!
//! Tests that the work of a schema is bounded before it is done, and done outside of transactions and runtime threads.

use std::ops::RangeInclusive;

use http::Method;
use rand::{Rng as _, rngs::SmallRng};
use serde_json::{Map, Value, json};

use super::{
    super::actor::{Actor, Outcomes},
    request::send,
};
use crate::api::Api;

#[derive(Clone)]
pub(super) struct CostlySchemas(pub(super) Api);

impl Actor for CostlySchemas {
    const NAME: &'static str = "costly schemas";
    const COPIES: usize = 2;
    const PAUSE_MS: RangeInclusive<u64> = 100..=800;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        let (schema, example) = match random.random_range(0..4) {
            0 => (doubling(random.random_range(20..=60)), json!({})),
            1 => (
                json!({ "properties": { "a": { "type": "string", "pattern": "^(a+)+$" } } }),
                json!({ "a": "a".repeat(60) + "!" }),
            ),
            2 => (
                json!({ "properties": { "a": { "uniqueItems": true } } }),
                json!({ "a": (0..20_000).collect::<Vec<u32>>() }),
            ),
            _ => (
                json!({ "properties": { "a": { "type": "string", "pattern": "(a{1000}){1000}" } } }),
                json!({ "a": "a" }),
            ),
        };
        let event_type = json!({
            "name": format!("COSTLY_{}", random.random::<u32>()), "schema": schema, "example": example,
        });
        send(&self.0, Method::POST, "/api/event-types", Some(&event_type), None).await
    }
}

/// Definitions each of which is twice the next one.
fn doubling(count: usize) -> Value {
    let mut definitions = Map::new();
    for number in 0..count {
        let next = json!({ "$ref": format!("#/$defs/a{}", number + 1) });
        definitions.insert(format!("a{number}"), json!({ "allOf": [next, next] }));
    }
    definitions.insert(format!("a{count}"), json!({ "type": "object" }));
    json!({ "$ref": "#/$defs/a0", "$defs": definitions })
}
