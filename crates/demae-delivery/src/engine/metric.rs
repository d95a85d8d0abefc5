//! The names of what can be measured, in one place: dashboards rely on them.

/// Counter, labels `outcome` (success, failing, failed, canceled) and `kind` (of error, or `none`).
pub const ATTEMPTS: &str = "demae_attempts_total";
/// Counter: events routed.
pub const EVENTS_ROUTED: &str = "demae_events_routed_total";
/// Counter: deliveries created by routing.
pub const DELIVERIES_CREATED: &str = "demae_deliveries_created_total";
/// Counter: completions refused because the lease was lost: possible duplicates.
pub const LEASES_LOST: &str = "demae_leases_lost_total";
/// Counter: leases of dead or stuck workers made due again.
pub const LEASES_RECOVERED: &str = "demae_leases_recovered_total";
/// Histogram, seconds, label `stage`: `route` (commit to routed), `queue` (due to begun), `exchange`, `record`.
pub const STAGE_SECONDS: &str = "demae_stage_seconds";
/// Gauge: events committed, not yet routed.
pub const OUTBOX_EVENTS: &str = "demae_outbox_events";
/// Gauge, seconds: age of the oldest event not yet routed.
pub const OUTBOX_LAG_SECONDS: &str = "demae_outbox_lag_seconds";
/// Gauge: deliveries that wait in the table (counted up to a million).
pub const DELIVERIES_WAITING: &str = "demae_deliveries_waiting";
/// Gauge: deliveries leased.
pub const DELIVERIES_LEASED: &str = "demae_deliveries_leased";
/// Gauge, seconds: how long the longest overdue delivery has been due.
pub const DELIVERY_LAG_SECONDS: &str = "demae_delivery_lag_seconds";
/// Gauge: exchanges under way in this process.
pub const EXCHANGES: &str = "demae_exchanges";
/// Gauge: of these, those of endpoints that are slow, in trouble or new.
pub const EXCHANGES_DOUBTFUL: &str = "demae_exchanges_doubtful";
/// Gauge: endpoints with work that wait because their organization, or all doubtful ones together, use their share.
pub const LANES_IN_LINE: &str = "demae_lanes_in_line";
/// Counter, label `part`: failed calls to the database that are being repeated.
pub const STORE_FAILURES: &str = "demae_store_failures_total";
/// Counter, label `part`: panics in the engine; each is a fault of Demae.
pub const PANICS: &str = "demae_panics_total";
/// Counter: failures of sources other than Demae's own database.
pub const SOURCE_FAILURES: &str = "demae_source_failures_total";
/// Counter, labels `kind` and `outcome` (done, failed, lost): runs of timers.
pub const TIMER_RUNS: &str = "demae_timer_runs_total";
