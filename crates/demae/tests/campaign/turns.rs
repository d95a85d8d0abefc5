//! Clients that write the next event when the last one has arrived.
//!
//! So few events are under way that none queues behind others, and the longest time from an acknowledgement to the arrival
//! is the longest that anything stood still.

use std::time::Duration;

use http::Method;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::Api,
    ledger::Ledger,
    load::{EVENTS, PAUSE, event, is_temporary},
};

/// Events under way at the same time, at most.
const CLIENTS: usize = 16;

/// Running clients.
pub(crate) struct Turns {
    stopping: CancellationToken,
    clients: JoinSet<Duration>,
}

impl Turns {
    /// Starts clients. Each goes on to another way when one does not answer.
    pub(crate) fn start(ways: &[Api], ledger: &Ledger) -> Self {
        let stopping = CancellationToken::new();
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = Client {
                number,
                ways: ways.to_vec(),
                ledger: ledger.clone(),
            };
            clients.spawn(client.run(stopping.clone()));
        }
        Self { stopping, clients }
    }

    /// Waits for the last arrivals; returns the longest time from an acknowledgement to its event's arrival.
    pub(crate) async fn stop(mut self) -> Duration {
        self.stopping.cancel();
        let mut longest = Duration::ZERO;
        while let Some(client) = self.clients.join_next().await {
            longest = longest.max(client.unwrap());
        }
        longest
    }
}

struct Client {
    number: usize,
    ways: Vec<Api>,
    ledger: Ledger,
}

impl Client {
    async fn run(self, stopping: CancellationToken) -> Duration {
        let mut longest = Duration::ZERO;
        for turn in 0.. {
            if stopping.is_cancelled() {
                break;
            }
            let key = format!("turn-{}-{turn}", self.number);
            self.ledger.note_attempt(&key);
            self.write(&key).await;
            let acknowledged = Instant::now();
            self.ledger.arrival(&key).await;
            longest = longest.max(acknowledged.elapsed());
        }
        longest
    }

    /// Writes until there is an answer.
    async fn write(&self, key: &str) {
        let mut pause = interval(PAUSE);
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for way in self.ways.iter().cycle().skip(self.number) {
            pause.tick().await;
            match way.send(Method::POST, EVENTS, Some(&event(key)), None).await {
                Ok(answer) if answer.status.is_success() => return self.ledger.note_acknowledged(key),
                Ok(answer) if is_temporary(answer.status) => {
                    self.ledger.note_refusal(answer.status.as_u16().to_string());
                }
                Ok(answer) => panic!("{key} was answered {answer:?}"),
                Err(_) => self.ledger.note_refusal("no answer".to_owned()),
            }
        }
    }
}
