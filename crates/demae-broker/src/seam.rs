//! What a broker must do, whichever it is.

use async_trait::async_trait;

use crate::{BrokerError, Message};

/// Bytes of messages that [`Consumer::next`] returns at once; at least one message always is.
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of messages that a consumer holds without having settled them, whatever its prefetch number allows; at least one
/// message always is.
pub const HELD_BYTES: usize = 8 * 1024 * 1024;

/// A broker: where the ends of the seam come from. Making one does no I/O; its first call does.
pub trait Broker: Send + Sync {
    /// A publisher of its own order.
    fn publisher(&self) -> Box<dyn Publisher>;

    /// A consumer that holds at most `prefetch` unacknowledged messages (at least 1).
    fn consumer(&self, prefetch: u16) -> Box<dyn Consumer>;

    /// The messages that could not be used.
    fn dead_letters(&self) -> Box<dyn DeadLetters>;
}

/// Hands messages to the broker.
///
/// - *Durable*: when [`publish`](Self::publish) returns `Ok`, the broker has said of every message that at least one
///   queue has it and that it survives what the broker promises to survive (RabbitMQ: a restart; a quorum queue: the loss
///   of a minority of its nodes; in process: nothing).
/// - *Nothing is lost silently*: a message that no queue takes is an error, not a success.
/// - *Duplicates*: after an error any number of the batch's messages may have been taken. The caller publishes the whole
///   batch again; consumers recognise the repeated ones by their identity.
/// - *Ordered*: messages of one publisher reach a queue in the order in which they were published, as long as nothing
///   fails. A batch that is repeated comes after, or between, what others published meanwhile.
/// - *Back-pressure*: while the broker takes nothing (RabbitMQ's alarms, a full queue in process), publishing waits.
/// - *Failure*: after an error the next call connects again, waiting longer after each failure in a row. So callers just
///   call again.
/// - *Cancel-safe*: dropping the future is like an error.
#[async_trait]
pub trait Publisher: Send {
    /// Publishes all messages, many at a time, and returns when all are durable.
    async fn publish(&mut self, batch: &[Message]) -> Result<(), BrokerError>;

    /// Takes leave of the broker. Dropping the publisher does the same without waiting.
    async fn close(self: Box<Self>);
}

/// Takes messages from the broker's queue.
///
/// - *At least once*: a message is delivered again, to any consumer of the queue, unless it was acknowledged or rejected.
///   When a consumer or its connection ends, what it had and did not acknowledge is delivered again.
/// - *Bounded*: a consumer holds at most the prefetch number of unacknowledged messages and about [`HELD_BYTES`] of them,
///   and gets none beyond. Those that its number allows and its bytes do not wait at the broker, or on the way from it.
/// - *Redelivery limit*: a message that comes back more often than the queue allows becomes a dead letter. It is counted
///   by the broker, so that a message that kills its consumer is counted, too.
/// - *Ordered*: as in the queue. What is delivered again comes later than it would have.
/// - *Failure*: after an error the next call to [`next`](Self::next) connects again, waiting longer after each failure in a
///   row. What was delivered before is delivered again; acknowledging it by its old tag does nothing.
#[async_trait]
pub trait Consumer: Send {
    /// The next messages, in order, at most `limit` and [`BATCH_BYTES`]; waits until there is one. Does not wait for more.
    /// Cancel-safe.
    async fn next(&mut self, limit: usize) -> Result<Vec<Delivery>, BrokerError>;

    /// Takes these messages out of the queue for good: what they caused is durable. Tags of an earlier connection are
    /// passed over, for their messages come again.
    async fn acknowledge(&mut self, tags: &[Tag]) -> Result<(), BrokerError>;

    /// Gives these messages back, or puts them with the dead letters.
    async fn reject(&mut self, tags: &[Tag], rejection: Rejection) -> Result<(), BrokerError>;

    /// Gives back what was not acknowledged and takes leave. Dropping the consumer does the same without waiting.
    async fn close(self: Box<Self>);
}

/// What a consumer got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// By which it is acknowledged.
    pub tag: Tag,
    /// The message.
    pub message: Message,
    /// It may have been delivered before.
    pub redelivered: bool,
}

/// Names a delivery to its consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Counts the consumer's connections: a broker's numbers begin again with each.
    pub(crate) connection: u64,
    /// The broker's number.
    pub(crate) number: u64,
}

/// What becomes of a rejected message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// It is delivered again. Counts towards the redelivery limit.
    Requeue,
    /// It can never be used: it becomes a dead letter.
    DeadLetter,
}

/// The messages that could not be used.
///
/// - *Nothing is lost by looking*: a letter stays unless the verdict says otherwise, and when the looking ends half-way.
/// - *Redriven means durable*: a letter is taken out only after the queue it fell out of has it again.
#[async_trait]
pub trait DeadLetters: Send {
    /// How many there are.
    async fn count(&mut self) -> Result<u64, BrokerError>;

    /// Shows each letter once, at most `limit` of them, oldest first, to `judge`, and does what it says.
    ///
    /// After an error, letters that were judged may still be there.
    async fn examine(&mut self, limit: u64, judge: &mut Judge<'_>) -> Result<(), BrokerError>;
}

/// Decides what becomes of a dead letter.
pub type Judge<'a> = dyn for<'letter> FnMut(&'letter DeadLetter) -> Verdict + Send + 'a;

/// A message that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message.
    pub message: Message,
    /// Why: `rejected`, `delivery_limit`, `expired`, `maxlen`, or empty where the broker does not say.
    pub reason: String,
    /// The queue it fell out of; empty where the broker does not say.
    pub queue: String,
    /// How often it fell out of that queue for that reason.
    pub count: u64,
    /// When, in seconds since the Unix epoch, where the broker says.
    pub died_at: Option<u64>,
}

/// What to do with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Leave it where it is.
    Keep,
    /// Back into the queue it fell out of.
    Redrive,
    /// Away with it, for good.
    Discard,
}
