//! What all connections of a process have in common.

use std::sync::atomic::AtomicBool;

use super::Topology;
use crate::BrokerUrl;

/// What all connections of a process have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) url: BrokerUrl,
    pub(super) topology: Topology,
    /// The broker has said that it knows no quorum queues.
    pub(super) quorum_refused: AtomicBool,
}
