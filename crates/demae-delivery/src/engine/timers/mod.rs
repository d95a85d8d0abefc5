//! Runs what happens by itself at a time: recoveries, retention, and whatever a domain adds.
//!
//! # Guarantees
//! - Every kind of timer has one handler, a bound on runs in flight and a deadline per run ([`TimerKind`]).
//! - Runs in flight of a kind are shared fairly among organizations ([`super::shares`]): ten thousand due timers of one
//!   organization leave places for another's, whose timers are found although they are due later.
//! - A run that fails, panics or exceeds its deadline is repeated after a growing pause, up to [`MAX_BACKOFF`]. The row
//!   counts the failures and keeps the last error; `demae doctor` reports it. Other timers go on.
//! - **A handler can run more than once for one due time.** A crash between its action and the completion repeats the
//!   action. A handler must be idempotent, or write its effects and the completion in one transaction
//!   ([`Outcome::Settled`]).
//!
//! # Design
//! The table decides what is due ([`demae_store::repository::timers`]); a process keeps no schedule of its own. The runner
//! sleeps until the earliest time in the table, until a signal reports an earlier one, and for
//! [`SCAN_INTERVAL`](demae_store::repository::timers::SCAN_INTERVAL) at most. Any number of processes may run timers: a
//! lease lets one of them run each. A lease outlives the deadline of its run, and a dead worker's leases return with its
//! deliveries.
//!
//! # Limits
//! Timers run in processes with the role `worker`. A timer whose kind has no handler waits; `demae doctor` reports it.

mod kind;
mod runner;

pub use kind::{Outcome, TimerError, TimerHandler, TimerKind};
pub use runner::{MAX_BACKOFF, Runner};
