//! The seam over RabbitMQ (AMQP 0-9-1, RabbitMQ 3.8 or later).
//!
//! - `link` is a connection with a channel: made, watched for alarms, ended. `gate` stops reading it while its consumer holds
//!   enough bytes; `runtime` is how the client library gets such a connection.
//! - `declare` makes exchanges and queues, or finds out that they are there.
//! - `publisher`, `consumer` and `dead_letters` are the seam; `confirm` is publishing with confirms, which two of them need.
//!
//! Connections are made anew after every failure, by the part that needs one, with waits that grow; nothing is recovered
//! inside the client library, so that what was under way is known: everything that was not confirmed or acknowledged.

mod confirm;
mod consumer;
mod dead_letters;
mod declare;
mod gate;
mod link;
mod publisher;
mod runtime;
mod shared;
mod topology;

use std::sync::{Arc, atomic::AtomicBool};

pub use self::topology::{QueueKind, Topology};
use self::{
    consumer::RabbitConsumer, dead_letters::RabbitDeadLetters, publisher::RabbitPublisher, shared::Shared,
};
use crate::{Broker, BrokerUrl, Consumer, DeadLetters, Publisher};

/// A RabbitMQ server or cluster.
#[derive(Debug, Clone)]
pub struct RabbitMq {
    shared: Arc<Shared>,
}

impl RabbitMq {
    /// The broker at `url` with these exchanges and queues. Does no I/O.
    pub fn new(url: BrokerUrl, topology: Topology) -> Self {
        Self {
            shared: Arc::new(Shared {
                url,
                topology,
                quorum_refused: AtomicBool::new(false),
            }),
        }
    }
}

impl Broker for RabbitMq {
    fn publisher(&self) -> Box<dyn Publisher> {
        Box::new(RabbitPublisher::new(self.shared.clone()))
    }

    fn consumer(&self, prefetch: u16) -> Box<dyn Consumer> {
        Box::new(RabbitConsumer::new(self.shared.clone(), prefetch))
    }

    fn dead_letters(&self) -> Box<dyn DeadLetters> {
        Box::new(RabbitDeadLetters::new(self.shared.clone()))
    }
}
