//! Floods of HTTP/2 frames that cost the server more than the client: streams that are reset as soon as they are opened
//! ("rapid reset"), pings, settings, headers without end, empty data, windows, and more streams than allowed.
//!
//! Tests the bounds on each of these kinds of frames: the connection is closed, and no work goes on for its streams.

use std::{ops::RangeInclusive, time::Duration};

use rand::{Rng as _, rngs::SmallRng};
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::{
    super::actor::{Actor, Outcomes, once},
    door::{Door, drain, refused, unknown_token},
    frames::{
        self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    },
};

/// Frames of a flood.
const FRAMES: u32 = 2_000;
/// How long the server may take to close, before the next flood.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Http2Floods(pub(super) Door);

impl Actor for Http2Floods {
    const NAME: &'static str = "HTTP/2 floods";
    const COPIES: usize = 3;
    const PAUSE_MS: RangeInclusive<u64> = 200..=1_500;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        let mut stream = match self.0.connect(random).await {
            Ok(stream) => stream,
            Err(error) => return once(refused(&error)),
        };
        let (kind, frames) = flood(random);
        let reads = random.random_ratio(3, 4);
        let (mut reading, mut writing) = stream.split();
        let closes = timeout(CLOSE_LIMIT, async {
            if reads {
                let written = writing.write_all(&frames);
                let (_, ()) = tokio::join!(written, drain(&mut reading));
            } else {
                // Nothing is read, so what the server answers piles up.
                let _ = writing.write_all(&frames).await;
                std::future::pending::<()>().await;
            }
        });
        let end = if closes.await.is_ok() {
            "closed"
        } else {
            "kept open"
        };
        once(format!("{kind}, {end}"))
    }
}

fn flood(random: &mut SmallRng) -> (&'static str, Vec<u8>) {
    let request = frames::request("/api/customers", &unknown_token(random));
    let mut flood = frames::PREFACE.to_vec();
    let streams = (0..FRAMES).map(|number| 2 * number + 1);
    let kind = match random.random_range(0..7) {
        0 => {
            for stream in streams {
                frames::put(&mut flood, HEADERS, END_HEADERS | END_STREAM, stream, &request);
                frames::put(&mut flood, RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            }
            "rapid resets"
        }
        1 => {
            for number in 0..FRAMES {
                frames::put(&mut flood, PING, 0, 0, &u64::from(number).to_be_bytes());
            }
            "pings"
        }
        2 => {
            for _ in 0..FRAMES {
                frames::put(&mut flood, SETTINGS, 0, 0, &[]);
            }
            "settings"
        }
        3 => {
            frames::put(&mut flood, HEADERS, END_STREAM, 1, &request);
            // Never the last one.
            for _ in 0..FRAMES {
                frames::put(&mut flood, CONTINUATION, 0, 1, b"\0\x01a\x01b");
            }
            "headers without end"
        }
        4 => {
            frames::put(&mut flood, HEADERS, END_HEADERS, 1, &request);
            for _ in 0..FRAMES {
                frames::put(&mut flood, DATA, 0, 1, &[]);
            }
            "empty data"
        }
        5 => {
            for _ in 0..FRAMES {
                frames::put(&mut flood, WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
            }
            "windows"
        }
        _ => {
            for stream in streams {
                frames::put(&mut flood, HEADERS, END_HEADERS, stream, &request);
            }
            "streams without end"
        }
    };
    (kind, flood)
}
