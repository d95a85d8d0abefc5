//! What a driver does.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Bytes of one event's JSON: the 1 KB of the design's targets.
pub(crate) const EVENT_BYTES: usize = 1_024;
/// The driver's connections at saturation.
pub(crate) const CONNECTIONS: usize = 128;

/// What to send.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Where to.
    pub(crate) target: SocketAddr,
    /// The path to POST to.
    pub(crate) path: String,
    /// Sent as a bearer token.
    pub(crate) token: Option<String>,
    /// Event names, taken in turn.
    pub(crate) names: Vec<String>,
    /// Bytes of one event's JSON.
    pub(crate) event_bytes: usize,
    /// Events in one request.
    pub(crate) batch: usize,
    /// What to send instead of events, in turn. Empty: events.
    pub(crate) calls: Vec<Call>,
    /// Connections, each with one request under way.
    pub(crate) connections: usize,
    /// How fast and how long.
    pub(crate) pace: Pace,
}

/// A request that is always the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(super) method: String,
    /// With the query.
    pub(super) path: String,
    pub(super) body: String,
}

impl Call {
    /// Reads something.
    pub(crate) fn get(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            body: String::new(),
        }
    }

    /// Does something. The body is JSON.
    pub(crate) fn post(path: &str, body: &str) -> Self {
        Self {
            method: "POST".to_owned(),
            path: path.to_owned(),
            body: body.to_owned(),
        }
    }
}

/// How fast to send and when to stop.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// As fast as answers come, for so long.
    Saturate {
        /// Seconds.
        seconds: f64,
    },
    /// As fast as answers come, so many.
    Count {
        /// Events, rounded up to whole requests.
        events: u64,
    },
    /// Requests at fixed times.
    Rate {
        /// Requests per second.
        per_second: f64,
        /// Seconds before latencies count.
        warm_up: f64,
        /// Seconds after that.
        seconds: f64,
    },
}
