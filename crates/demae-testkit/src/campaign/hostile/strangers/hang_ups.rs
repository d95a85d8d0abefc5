//! Clients that hang up in the middle: of the head, of the body, of the answer; with an orderly close or a reset.
//!
//! Tests that nothing is held for a client that has left, wherever it left.

use std::ops::RangeInclusive;

use rand::{Rng as _, rngs::SmallRng};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    super::actor::{Actor, Outcomes, once},
    door::{Door, refused, unknown_token},
};

#[derive(Clone)]
pub(super) struct HangUps(pub(super) Door);

impl Actor for HangUps {
    const NAME: &'static str = "hang-ups";
    const COPIES: usize = 10;
    const PAUSE_MS: RangeInclusive<u64> = 10..=200;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        let mut stream = match self.0.connect(random).await {
            Ok(stream) => stream,
            Err(error) => return once(refused(&error)),
        };
        let (place, bytes) = words(random);
        let _ = stream.write_all(bytes.as_bytes()).await;
        if place == "in the answer" {
            let _ = stream.read(&mut [0; 1]).await;
        }
        if random.random() {
            let _ = stream.set_zero_linger();
        }
        once(place)
    }
}

/// What is sent before the client leaves, and where that is.
fn words(random: &mut SmallRng) -> (&'static str, String) {
    let token = unknown_token(random);
    let head = format!(
        "POST /api/events HTTP/1.1\r\nhost: demae\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 100000\r\n\r\n"
    );
    match random.random_range(0..3) {
        0 => (
            "in the head",
            head[..random.random_range(1..head.len())].to_owned(),
        ),
        1 => ("in the body", head + &"[".repeat(random.random_range(1..90_000))),
        _ => (
            "in the answer",
            "GET /api/openapi.json HTTP/1.1\r\nhost: demae\r\n\r\n".to_owned(),
        ),
    }
}
