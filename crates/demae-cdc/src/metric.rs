//! The names of what can be measured about a source, in one place: dashboards rely on them. All have the label `source`.

/// Counter: events offered for the first time in a session.
pub const EVENTS: &str = "demae_source_events_total";
/// Counter: rows and messages that cannot become events.
pub const REJECTED: &str = "demae_source_rejected_total";
/// Counter: connections that ended without being asked to.
pub const DISCONNECTS: &str = "demae_source_disconnects_total";
/// Gauge: 1 while this process holds the slot, 0 while it stands by or cannot connect.
pub const ACTIVE: &str = "demae_source_active";
/// Gauge, bytes: write-ahead log that the server keeps because of the slot.
pub const RETAINED_BYTES: &str = "demae_source_retained_bytes";
/// Gauge, bytes: write-ahead log between what is confirmed and what is written.
pub const LAG_BYTES: &str = "demae_source_lag_bytes";
/// Histogram, seconds: from the commit to the offer.
pub const LAG_SECONDS: &str = "demae_source_lag_seconds";
