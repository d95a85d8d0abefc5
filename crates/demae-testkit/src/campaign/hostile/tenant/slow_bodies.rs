//! Writes with a valid token whose bodies arrive a byte at a time.
//!
//! Tests that a request which was let in and does not go on holds no connection to the database, and no place among the
//! changes in progress.

use std::ops::RangeInclusive;

use rand::rngs::SmallRng;

use super::super::{
    actor::{Actor, Outcomes},
    strangers::{Door, slow_requests},
};

#[derive(Clone)]
pub(super) struct SlowBodies {
    pub(super) door: Door,
    pub(super) token: String,
}

impl Actor for SlowBodies {
    const NAME: &'static str = "slow bodies with a token";
    const COPIES: usize = 50;
    const PAUSE_MS: RangeInclusive<u64> = 10..=2_000;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        slow_requests::drip_body(self.door, random, &self.token).await
    }
}
