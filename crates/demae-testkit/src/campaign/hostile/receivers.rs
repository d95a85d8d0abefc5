//! The receivers of the hostile tenant's deliveries: slow, odd, endless, or not there.
//!
//! Tests that exchanges, memory and leases are shared out among organizations: whatever these receivers do, they do it on
//! the hostile tenant's account. Slow successes are the worst of them, because they look like a server that works.

use std::time::Duration;

use bytes::Bytes;

use crate::receiver::{Behaviour, Counter, Receiver};

/// Before a slow success.
const SLOW_SECONDS: [u64; 3] = [2, 10, 20];
/// Between two pieces of an answer that does not end.
const DRIP_PAUSE: Duration = Duration::from_millis(200);
/// A success after which the connection is of no more use.
const SUCCESS: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The running receivers; they stop with the value.
pub(super) struct Receivers(Vec<Receiver>);

impl Receivers {
    pub(super) async fn start() -> Self {
        let mut receivers = Vec::new();
        for behaviour in behaviours() {
            receivers.push(Receiver::start(behaviour).await);
        }
        Self(receivers)
    }

    /// A URL at each of them.
    pub(super) fn urls(&self) -> Vec<String> {
        let urls = self.0.iter().map(|receiver| receiver.url("/hostile"));
        // Nothing listens on the discard port.
        urls.chain(["http://127.0.0.1:9/hostile".to_owned()]).collect()
    }

    /// Counts the attempts that reached them: none leaves its connection fit for a second one.
    pub(super) fn attempts(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let connections: Vec<Counter> = self
            .0
            .iter()
            .map(|receiver| receiver.connections().clone())
            .collect();
        move || connections.iter().map(|counter| counter.get() as u64).sum()
    }
}

fn behaviours() -> Vec<Behaviour> {
    let raw = |text: &'static str| Bytes::from_static(text.as_bytes());
    let slow = SLOW_SECONDS.map(|seconds| dripping("", SUCCESS, Duration::from_secs(seconds)));
    let mut all = vec![
        Behaviour::NeverAccept,
        Behaviour::CloseOnAccept,
        Behaviour::SpeakFirst(raw("220 mail.example.com ESMTP\r\n")),
        Behaviour::Silent,
        Behaviour::ResetAfterRequest,
        Behaviour::Raw(raw(
            "HTTP/1.1 200 OK\r\nx-folded: a\r\n b\r\ncontent-length: 0\r\n\r\n",
        )),
        Behaviour::Raw(raw("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nno")),
        Behaviour::Raw(raw(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 No\r\n\r\n",
        )),
        Behaviour::RawThenSilent(raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all")),
        Behaviour::AnswerThenClose(raw("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")),
        Behaviour::CloseAfterRequest,
        dripping("HTTP/1.1 200 OK\r\n", "x-slow: yes\r\n", DRIP_PAUSE),
        Behaviour::endless_headers(),
        dripping(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "1\r\nb\r\n",
            DRIP_PAUSE,
        ),
        Behaviour::endless_body(),
        Behaviour::redirect(302, "http://169.254.169.254/"),
        Behaviour::wrong_length(1_000, 10),
    ];
    all.extend(slow);
    all
}

fn dripping(prefix: &'static str, piece: &'static str, pause: Duration) -> Behaviour {
    Behaviour::Drip {
        prefix: Bytes::from_static(prefix.as_bytes()),
        piece: Bytes::from_static(piece.as_bytes()),
        pause,
    }
}
