//! Requests that never come to an end, a byte at a time: heads ("slowloris") and bodies ("are you dead yet").
//!
//! Tests the deadlines of head and body, and that connections which wait for theirs take no room from others.

use std::{ops::RangeInclusive, time::Duration};

use rand::{Rng as _, rngs::SmallRng};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::sleep};

use super::{
    super::actor::{Actor, Outcomes, once},
    door::{Door, answer, refused, unknown_token},
};

/// Between two bytes.
const BYTE_PAUSE_MS: RangeInclusive<u64> = 100..=900;

#[derive(Clone)]
pub(super) struct SlowHeads(pub(super) Door);

impl Actor for SlowHeads {
    const NAME: &'static str = "slow heads";
    const COPIES: usize = 150;
    const PAUSE_MS: RangeInclusive<u64> = 10..=2_000;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        drip(
            self.0,
            random,
            "GET /api/customers HTTP/1.1\r\nhost: demae\r\n",
            "x-slow: yes\r\n",
        )
        .await
    }
}

#[derive(Clone)]
pub(super) struct SlowBodies(pub(super) Door);

impl Actor for SlowBodies {
    const NAME: &'static str = "slow bodies";
    const COPIES: usize = 50;
    const PAUSE_MS: RangeInclusive<u64> = 10..=2_000;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        let token = unknown_token(random);
        drip_body(self.0, random, &token).await
    }
}

/// A write whose body does not end.
pub(in super::super) async fn drip_body(door: Door, random: &mut SmallRng, token: &str) -> Outcomes {
    let head = format!(
        "POST /api/events HTTP/1.1\r\nhost: demae\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 1000000\r\n\r\n"
    );
    drip(door, random, &head, "[").await
}

/// Sends `first` at once and `rest` again and again, a byte at a time, until the server answers or closes.
async fn drip(door: Door, random: &mut SmallRng, first: &str, rest: &str) -> Outcomes {
    let mut stream = match door.connect(random).await {
        Ok(stream) => stream,
        Err(error) => return once(refused(&error)),
    };
    if let Err(error) = stream.write_all(first.as_bytes()).await {
        return once(refused(&error));
    }
    for byte in rest.bytes().cycle() {
        sleep(Duration::from_millis(random.random_range(BYTE_PAUSE_MS))).await;
        if is_answered(&stream) || stream.write_all(&[byte]).await.is_err() {
            break;
        }
    }
    once(answer(&mut stream).await)
}

/// Whether there is something to read, which may be the end of the connection.
fn is_answered(stream: &TcpStream) -> bool {
    use futures::FutureExt as _;
    stream.peek(&mut [0]).now_or_never().is_some()
}
