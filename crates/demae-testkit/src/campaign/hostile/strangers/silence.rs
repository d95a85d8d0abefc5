//! Connections that say nothing, by the hundreds.
//!
//! Tests the deadline of the first byte, and that one who only holds connections open cannot use them up.

use std::ops::RangeInclusive;

use rand::{Rng as _, rngs::SmallRng};
use tokio::io::AsyncWriteExt as _;

use super::{
    super::actor::{Actor, Outcomes, once},
    door::{Door, answer, drain, refused},
};

#[derive(Clone)]
pub(super) struct Silence(pub(super) Door);

impl Actor for Silence {
    const NAME: &'static str = "silent connections";
    const COPIES: usize = 400;
    const PAUSE_MS: RangeInclusive<u64> = 10..=2_000;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        let mut stream = match self.0.connect(random).await {
            Ok(stream) => stream,
            Err(error) => return once(refused(&error)),
        };
        // Some say one thing, and are silent after it.
        if random.random_ratio(1, 4) {
            let _ = stream
                .write_all(b"GET /healthz HTTP/1.1\r\nhost: demae\r\n\r\n")
                .await;
        }
        once(answer_and_close(&mut stream).await)
    }
}

/// The answer, after the server has closed.
async fn answer_and_close(stream: &mut tokio::net::TcpStream) -> String {
    let answer = answer(stream).await;
    drain(stream).await;
    answer
}
