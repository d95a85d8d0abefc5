//! Makes exchanges and queues, or finds that they are there.
//!
//! An administrator may have made them beforehand, in another way or without giving us the right to: whatever is there and
//! usable is used, with a warning, because refusing to run would help nobody.

use std::sync::atomic::Ordering;

use lapin::{
    Channel, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tracing::warn;

use super::{
    QueueKind, Shared, Topology,
    link::{Link, lost},
};
use crate::BrokerError;

/// Reply codes (AMQP 0-9-1, section 1.2).
const ACCESS_REFUSED: u16 = 403;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;
const NOT_IMPLEMENTED: u16 = 540;
const INTERNAL_ERROR: u16 = 541;

/// Looking at a dead letter counts as a return, and RabbitMQ 4 limits returns unless told otherwise. So many looks nobody
/// takes.
const DEAD_LETTER_LIMIT: i64 = 1_000_000_000;

/// Declares everything. After it, what is published to the exchange reaches the queue.
pub(super) async fn declare(link: &Link, shared: &Shared) -> Result<(), BrokerError> {
    let topology = &shared.topology;
    exchange(link, &topology.exchange).await?;
    exchange(link, &topology.dead_letter_exchange).await?;
    queue(link, shared, &topology.dead_letter_queue, dead_letter_arguments).await?;
    bind(link, &topology.dead_letter_queue, &topology.dead_letter_exchange).await?;
    queue(link, shared, &topology.queue, arguments).await?;
    bind(link, &topology.queue, &topology.exchange).await
}

async fn exchange(link: &Link, name: &str) -> Result<(), BrokerError> {
    let declare = async |options: ExchangeDeclareOptions| {
        let channel = link.another_channel().await?;
        let declared =
            channel.exchange_declare(name.into(), ExchangeKind::Fanout, options, FieldTable::default());
        link.answer(declared).await
    };
    let made = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let Err(error) = declare(made).await? else {
        return Ok(());
    };
    if !is_there_otherwise(&error) {
        return Err(failed(format!("the exchange {name}"), error));
    }
    let found = ExchangeDeclareOptions {
        passive: true,
        ..ExchangeDeclareOptions::default()
    };
    declare(found)
        .await?
        .map_err(|_| failed(format!("the exchange {name}"), error.clone()))?;
    warn!(exchange = name, reason = %error, "using the exchange as it was made by somebody else");
    Ok(())
}

async fn queue(
    link: &Link,
    shared: &Shared,
    name: &str,
    arguments: fn(&Topology, QueueKind) -> FieldTable,
) -> Result<(), BrokerError> {
    let declare = async |options, arguments| {
        let channel: Channel = link.another_channel().await?;
        link.answer(channel.queue_declare(name.into(), options, arguments))
            .await
    };
    let kind = shared.usable_kind();
    let Err(mut error) = declare(QueueDeclareOptions::durable(), arguments(&shared.topology, kind)).await?
    else {
        return Ok(());
    };
    if kind == QueueKind::Quorum && refuses_quorum(&error) {
        warn!(reason = %error, "the broker has no quorum queues; using classic ones, which have no redelivery limit");
        shared.quorum_refused.store(true, Ordering::Relaxed);
        let classic = arguments(&shared.topology, QueueKind::Classic);
        // If the refusal ended the connection, this fails, and the next connection remembers.
        match declare(QueueDeclareOptions::durable(), classic).await? {
            Ok(_) => return Ok(()),
            Err(second) => error = second,
        }
    }
    if !is_there_otherwise(&error) {
        return Err(failed(format!("the queue {name}"), error));
    }
    let found = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    declare(found, FieldTable::default())
        .await?
        .map_err(|_| failed(format!("the queue {name}"), error.clone()))?;
    warn!(queue = name, reason = %error, "using the queue as it was made by somebody else");
    Ok(())
}

async fn bind(link: &Link, queue: &str, exchange: &str) -> Result<(), BrokerError> {
    let channel = link.another_channel().await?;
    let bound = channel.queue_bind(
        queue.into(),
        exchange.into(),
        "".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    match link.answer(bound).await? {
        Err(error) if reply_code(&error) == Some(ACCESS_REFUSED) => {
            // If it is not bound, publishing will say so: messages are mandatory.
            warn!(queue, exchange, reason = %error, "not allowed to bind; taking it for bound");
            Ok(())
        }
        other => other.map_err(|error| failed(format!("the queue {queue}"), error)),
    }
}

impl Shared {
    fn usable_kind(&self) -> QueueKind {
        if self.quorum_refused.load(Ordering::Relaxed) {
            QueueKind::Classic
        } else {
            self.topology.queue_kind
        }
    }
}

/// The arguments of the queue that workers take from.
fn arguments(topology: &Topology, kind: QueueKind) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert(
        "x-dead-letter-exchange".into(),
        text(&topology.dead_letter_exchange),
    );
    if kind == QueueKind::Quorum {
        table.insert("x-queue-type".into(), text("quorum"));
        table.insert(
            "x-delivery-limit".into(),
            AMQPValue::LongLongInt(topology.delivery_limit.into()),
        );
        // A dead letter leaves this queue only when the other one has it; needs this way of overflowing.
        table.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        table.insert("x-overflow".into(), text("reject-publish"));
    }
    table
}

fn dead_letter_arguments(_: &Topology, kind: QueueKind) -> FieldTable {
    let mut table = FieldTable::default();
    if kind == QueueKind::Quorum {
        table.insert("x-queue-type".into(), text("quorum"));
        table.insert(
            "x-delivery-limit".into(),
            AMQPValue::LongLongInt(DEAD_LETTER_LIMIT),
        );
    }
    table
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn reply_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// Something of that name exists and is different, or we may not make anything.
fn is_there_otherwise(error: &lapin::Error) -> bool {
    matches!(reply_code(error), Some(ACCESS_REFUSED | PRECONDITION_FAILED))
}

fn refuses_quorum(error: &lapin::Error) -> bool {
    reply_code(error).is_some_and(|code| says_no_quorum(code, &error.to_string()))
}

/// Whether the reply means that there are no quorum queues here at all. A broker that cannot make one at the moment
/// answers with an internal error, too; it must not get a classic queue that stays.
fn says_no_quorum(code: u16, reply: &str) -> bool {
    match code {
        NOT_IMPLEMENTED => true,
        PRECONDITION_FAILED => reply.contains("x-queue-type") && !reply.contains("inequivalent"),
        NOT_ALLOWED | INTERNAL_ERROR => reply.contains("feature flag"),
        _ => false,
    }
}

fn failed(what: String, error: lapin::Error) -> BrokerError {
    if reply_code(&error).is_some() {
        BrokerError::Declaration {
            what,
            source: Box::new(error),
        }
    } else {
        lost(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broker_without_quorum_queues_gets_classic_ones() {
        let refusals = [
            (540, "NOT_IMPLEMENTED"),
            (
                406,
                "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'q' in vhost '/'",
            ),
            (
                541,
                "INTERNAL_ERROR - Cannot declare a queue 'q' of type 'quorum': the feature flag is disabled",
            ),
        ];
        for (code, reply) in refusals {
            assert!(says_no_quorum(code, reply), "{reply}");
        }
        let others = [
            (
                406,
                "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q': received 'quorum' but current is 'classic'",
            ),
            (
                541,
                "INTERNAL_ERROR - Cannot declare a queue 'q' on node 'r@n': noproc",
            ),
            (403, "ACCESS_REFUSED - access to queue 'q' refused"),
        ];
        for (code, reply) in others {
            assert!(!says_no_quorum(code, reply), "{reply}");
        }
    }
}
