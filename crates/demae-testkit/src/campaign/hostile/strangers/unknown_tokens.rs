//! Floods of requests with unknown tokens, by clients that hang up at once.
//!
//! Tests that a look-up which nobody waits for any more still ends, and gives back its connection to the database; and
//! that authentication cannot take the connections that writes and deliveries need.

use std::ops::RangeInclusive;

use futures::future::join_all;
use rand::rngs::SmallRng;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{
    super::actor::{Actor, Outcomes},
    door::{Door, refused, unknown_token},
};

/// Requests of one flood.
const FLOOD: usize = 300;

#[derive(Clone)]
pub(super) struct UnknownTokens(pub(super) Door);

impl Actor for UnknownTokens {
    const NAME: &'static str = "unknown tokens, hung up at once";
    const COPIES: usize = 1;
    const PAUSE_MS: RangeInclusive<u64> = 200..=2_000;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        let mut streams = Vec::with_capacity(FLOOD);
        let mut failures = Vec::new();
        for _ in 0..FLOOD {
            match self.0.connect(random).await {
                Ok(stream) => streams.push((stream, unknown_token(random))),
                Err(error) => failures.push((refused(&error), 1)),
            }
        }
        let sent = streams.len() as u64;
        // All at once, and none waits.
        join_all(streams.into_iter().map(|(stream, token)| ask(stream, token))).await;
        failures.push(("sent".to_owned(), sent));
        failures
    }
}

async fn ask(mut stream: TcpStream, token: String) {
    let request =
        format!("GET /api/customers HTTP/1.1\r\nhost: demae\r\nauthorization: Bearer {token}\r\n\r\n");
    let _ = stream.write_all(request.as_bytes()).await;
}
