//! Events that are as large, as many and as wide as the limits allow.
//!
//! Tests that queues, batches and pages are bounded in bytes and shared out among organizations; that numbers which a
//! database writes out (`1e308`) do not multiply what is read back; and that an event for hundreds of endpoints, or a batch of
//! a hundred, does not hold up those behind it.

use std::ops::RangeInclusive;

use http::Method;
use rand::{Rng as _, rngs::SmallRng};
use serde_json::{Value, json};

use super::{
    super::actor::{Actor, Outcomes},
    request::{NARROW, WIDE, send, type_of},
};
use crate::api::Api;

/// The most events and bytes of one request, with room for the rest of it.
const EVENTS: usize = 100;
const BYTES: usize = 1_000_000;
const NUMBERS: usize = BYTES / 8;
/// Levels that a payload may have within an event within a list.
const LEVELS: usize = 60;

#[derive(Clone)]
pub(super) struct CostlyEvents(pub(super) Api);

impl Actor for CostlyEvents {
    const NAME: &'static str = "costly events";
    const COPIES: usize = 4;
    const PAUSE_MS: RangeInclusive<u64> = 50..=500;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        let body = match random.random_range(0..6) {
            0 => event(NARROW, &filling(BYTES)),
            1 => json!({ "events": vec![event(NARROW, &filling(BYTES / EVENTS - 200)); EVENTS] }),
            2 => json!({ "events": vec![event(WIDE, &json!({ "n": 1 })); random.random_range(1..=10)] }),
            3 => event(NARROW, &numbers(random.random_range(1_000..=NUMBERS))),
            4 => event(NARROW, &nested(LEVELS)),
            _ => json!({ "events": vec![event("NOBODY_ASKS", &json!({ "n": 1 })); EVENTS] }),
        };
        send(&self.0, Method::POST, "/api/events", Some(&body), None).await
    }
}

fn event(name: &str, data: &Value) -> Value {
    json!({ "name": name, "type": type_of(name), "data": data })
}

/// Letters that are one byte in JSON, two in the program, and six where they are escaped.
fn filling(bytes: usize) -> Value {
    json!({ "x": "ë".repeat(bytes / 2) })
}

/// Numbers of five characters, each of which `jsonb` writes out with 309.
fn numbers(count: usize) -> Value {
    json!({ "n": vec![1e308; count] })
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!({}), |inner, _| json!({ "a": inner }))
}
