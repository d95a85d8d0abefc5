//! Which exchanges and queues there are.

/// Names and kinds. The default is Kaiten's exchange (kaiten.md, section 6.3) with a queue of Demae's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Durable fanout exchange that events are published to.
    pub exchange: String,
    /// Durable queue bound to it, from which all workers take.
    pub queue: String,
    /// Durable fanout exchange for what cannot be used.
    pub dead_letter_exchange: String,
    /// Durable queue bound to it.
    pub dead_letter_queue: String,
    /// What the queues are made of.
    pub queue_kind: QueueKind,
    /// How often a message may come back before it becomes a dead letter. Quorum queues only: classic ones do not count.
    /// High enough that a process that is restarted in a row for another reason makes no dead letters.
    pub delivery_limit: u32,
}

/// What a queue is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueKind {
    /// Replicated over the cluster's nodes, with a redelivery limit. Where the broker knows none: classic.
    Quorum,
    /// On one node.
    Classic,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            exchange: "kaiten.events".to_owned(),
            queue: "demae.events".to_owned(),
            dead_letter_exchange: "kaiten.events.dlx".to_owned(),
            dead_letter_queue: "kaiten.events.dlq".to_owned(),
            queue_kind: QueueKind::Quorum,
            delivery_limit: 20,
        }
    }
}
