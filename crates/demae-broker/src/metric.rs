//! The names of what can be measured, in one place: dashboards rely on them.

/// Counter: messages that the broker confirmed.
pub const PUBLISHED: &str = "demae_broker_published_total";
/// Counter: messages that the broker delivered to this process.
pub const CONSUMED: &str = "demae_broker_consumed_total";
/// Counter: messages put with the dead letters by this process.
pub const DEAD_LETTERED: &str = "demae_broker_dead_lettered_total";
/// Counter, label `part` (`publisher`, `consumer`, `dead_letters`): connections made.
pub const CONNECTIONS: &str = "demae_broker_connections_total";
/// Counter, label `part`: failures after which the connection is made anew.
pub const FAILURES: &str = "demae_broker_failures_total";
/// Gauge, 0 or 1: the broker has said that it takes no messages for now (memory or disk alarm).
pub const BLOCKED: &str = "demae_broker_blocked";
