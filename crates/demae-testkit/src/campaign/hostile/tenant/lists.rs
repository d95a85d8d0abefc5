//! Pages as large as they may be, of lists with filters that match little.
//!
//! Tests that a page is bounded in bytes and in the rows that are read for it, and that those who read take no connection
//! that writes need.

use std::ops::RangeInclusive;

use http::Method;
use rand::{rngs::SmallRng, seq::IndexedRandom as _};

use super::{
    super::actor::{Actor, Outcomes},
    request::send,
};
use crate::api::Api;

const LISTS: [&str; 8] = [
    "/api/events?limit=200",
    "/api/events?limit=200&eventName=NEVER_WRITTEN",
    "/api/webhooks?limit=200",
    "/api/webhooks/history?limit=200",
    "/api/webhooks/history?limit=200&status=canceled",
    "/api/webhooks/history?limit=200&eventName=NEVER_WRITTEN&status=success,failing,failed",
    "/api/audit-trails?limit=200",
    "/api/customers?limit=200",
];

#[derive(Clone)]
pub(super) struct CostlyLists(pub(super) Api);

impl Actor for CostlyLists {
    const NAME: &'static str = "costly lists";
    const COPIES: usize = 6;
    const PAUSE_MS: RangeInclusive<u64> = 20..=400;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        let path = LISTS.choose(random).expect("there are lists");
        send(&self.0, Method::GET, path, None, None).await
    }
}
