//! Clients that ask for much and hardly read the answers ("slow read").
//!
//! Tests the deadline of an answer, and that answers which wait to be read are not heaped up in memory.

use std::{ops::RangeInclusive, time::Duration};

use rand::rngs::SmallRng;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::sleep,
};

use super::{
    super::actor::{Actor, Outcomes, once},
    door::{Door, refused},
};

/// Requests sent at once, before anything is read.
const REQUESTS: usize = 100;
/// Before each few bytes that are read.
const READ_PAUSE: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub(super) struct SlowReaders(pub(super) Door);

impl Actor for SlowReaders {
    const NAME: &'static str = "slow readers";
    const COPIES: usize = 20;
    const PAUSE_MS: RangeInclusive<u64> = 10..=2_000;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        let mut stream = match self.0.connect_narrowly(random).await {
            Ok(stream) => stream,
            Err(error) => return once(refused(&error)),
        };
        let requests = "GET /api/openapi.json HTTP/1.1\r\nhost: demae\r\n\r\n".repeat(REQUESTS);
        if let Err(error) = stream.write_all(requests.as_bytes()).await {
            return once(refused(&error));
        }
        while stream.read(&mut [0; 8]).await.is_ok_and(|read| read > 0) {
            sleep(READ_PAUSE).await;
        }
        once("closed")
    }
}
