//! Clients that write as fast as they are answered, through every disaster.
//!
//! A write without an answer may have happened or not. A client then does what a real one does: it either tries again
//! with the same id (or `Idempotency-Key`) until it is told, or gives up. Whether the event exists is the server's to
//! know; at the receiver it must be one event either way.

use std::time::Duration;

use anyhow::Result;
use demae_testkit::api::Answer;
use http::{Method, StatusCode};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{api::Api, ledger::Ledger};

/// Where events are published.
pub(crate) const EVENTS: &str = "/api/events";
/// Clients per way to a server.
const CLIENTS: usize = 12;
/// A client's pause after a failure: the server it talks to is down, and asking at once would only burn processor time
/// that its start needs.
pub(crate) const PAUSE: Duration = Duration::from_millis(25);
/// One write in so many is a customer, whose event is written in the same transaction; the others are events of the
/// application's own, which share commits.
const CUSTOMER_EVERY: usize = 5;
/// So many unanswered writes in a hundred are given up.
const GIVES_UP_PERCENT: u32 = 40;

/// Running clients.
pub(crate) struct Load {
    stopping: CancellationToken,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts clients for each of these ways to a server.
    pub(crate) fn start(ways: &[Api], ledger: &Ledger, random: &mut SmallRng) -> Self {
        let stopping = CancellationToken::new();
        let mut clients = JoinSet::new();
        for (way, api) in ways.iter().enumerate() {
            for number in 0..CLIENTS {
                let mut pause = interval(PAUSE);
                pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let client = Client {
                    api: api.clone(),
                    name: format!("{way}-{number}"),
                    ledger: ledger.clone(),
                    random: SmallRng::from_rng(random),
                    pause,
                };
                clients.spawn(client.run(stopping.clone()));
            }
        }
        Self { stopping, clients }
    }

    /// Lets every client finish its write, which needs a server that answers.
    pub(crate) async fn stop(mut self) {
        self.stopping.cancel();
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
    }
}

struct Client {
    api: Api,
    name: String,
    ledger: Ledger,
    random: SmallRng,
    pause: Interval,
}

impl Client {
    async fn run(mut self, stopping: CancellationToken) {
        let mut number = 0;
        while !stopping.is_cancelled() {
            number += 1;
            let key = format!("{}-{number}", self.name);
            self.ledger.note_attempt(&key);
            self.write(&key, number % CUSTOMER_EVERY == 0).await;
        }
    }

    /// Writes until there is an answer, or no more patience.
    async fn write(&mut self, key: &str, customer: bool) {
        loop {
            let answer = if customer {
                self.make_customer(key).await
            } else {
                self.publish(key).await
            };
            match answer {
                Ok(answer) if answer.status.is_success() => return self.ledger.note_acknowledged(key),
                Ok(answer) if is_temporary(answer.status) => {
                    self.ledger.note_refusal(answer.status.as_u16().to_string());
                }
                Ok(answer) => return self.ledger.note_fault(format!("{key} was answered {answer:?}")),
                Err(_) => self.ledger.note_refusal("no answer".to_owned()),
            }
            if self.random.random_ratio(GIVES_UP_PERCENT, 100) {
                return;
            }
            self.pause.reset();
            self.pause.tick().await;
        }
    }

    async fn publish(&self, key: &str) -> Result<Answer> {
        self.post(EVENTS, &event(key), None).await
    }

    async fn make_customer(&self, key: &str) -> Result<Answer> {
        let customer = json!({ "name": "Campaign customer", "slug": key });
        // Without it a repetition after a lost answer would find its own slug taken.
        self.post("/api/customers", &customer, Some(key)).await
    }

    async fn post(&self, path: &str, body: &Value, idempotency_key: Option<&str>) -> Result<Answer> {
        self.api
            .send(Method::POST, path, Some(body), idempotency_key)
            .await
    }
}

/// An event of the application's own, by whose key the ledger knows it.
pub(crate) fn event(key: &str) -> Value {
    json!({
        "id": key,
        "name": "PARCEL_SENT",
        "type": "com.example.parcel.v1.sent",
        "data": { "key": key, "note": "x".repeat(200) },
    })
}

/// Asks the client to come again. A 500 is no such answer: trouble with the database is expected, a fault of ours is not.
pub(crate) fn is_temporary(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
}
