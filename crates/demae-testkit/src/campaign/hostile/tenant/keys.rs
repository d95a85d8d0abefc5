//! Many writes at once with an `Idempotency-Key`, a part of them under the same key.
//!
//! Tests that a write takes one connection to the database and never waits for a second one while it holds it, and that those
//! who wait for the first write of their key wait without one.

use std::ops::RangeInclusive;

use http::Method;
use rand::{Rng as _, rngs::SmallRng};
use serde_json::json;

use super::{
    super::actor::{Actor, Outcomes},
    request::send,
};
use crate::api::Api;

/// Keys that are drawn again and again.
const SHARED_KEYS: u32 = 50;

#[derive(Clone)]
pub(super) struct RepeatedKeys(pub(super) Api);

impl Actor for RepeatedKeys {
    const NAME: &'static str = "idempotency keys";
    const COPIES: usize = 40;
    const PAUSE_MS: RangeInclusive<u64> = 100..=1_000;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        let number = if random.random() {
            random.random_range(0..SHARED_KEYS)
        } else {
            random.random()
        };
        let key = format!("key-{number}");
        let (path, body) = if random.random() {
            (
                "/api/customers",
                json!({ "name": "Hostile", "slug": format!("hostile-{number}") }),
            )
        } else {
            let data = json!({ "number": number });
            (
                "/api/events",
                json!({ "name": "KEYED", "type": "com.example.keyed", "data": data }),
            )
        };
        // Of the two paths, too, the key is the same: a repetition with another body is a fault of the client's.
        send(&self.0, Method::POST, path, Some(&body), Some(&key)).await
    }
}
