//! The running engine: router, scheduler, lanes, sender and recorder.
//!
//! ```text
//!  EventSource ──▶ router ──▶ lanes (one per endpoint) ──▶ sender ──▶ recorder ──▶ history
//!                    │           ▲                                        │
//!                    │           └──────────── scheduler ◀────────────────┤ next attempt due
//!                    └─ too full: waits in the table ──▲                  └─ health of the endpoint
//! ```
//!
//! What holds:
//! - Nothing is sent that is not leased in the table, and nothing is forgotten before its outcome is recorded: a crash
//!   at any point leaves a row that somebody finds again.
//! - A fresh delivery goes from the router to its lane in memory, its lease already written; the table is read only for
//!   retries, for what did not fit, and after a crash.
//! - An endpoint has its own lane: its own queue, its own number of attempts at a time, which shrinks while it is slow
//!   or in trouble. What does not fit into its lane waits in the table and takes nothing from the others.
//! - What the process has is shared fairly among organizations, then among the endpoints of each: attempts in flight,
//!   places in memory and claims.
//! - Everything is bounded: the queue of a lane, all queues together, exchanges at a time, records waiting to be
//!   written. Where a bound is reached the part before it waits.
//!
//! - A panic costs the step in which it happens, not the part of the engine ([`supervise`]).
//!
//! The engine must not know which domain an event came from, nor axum.

mod grants;
mod health;
mod intake;
mod keeper;
mod lane;
mod lanes;
mod life;
pub mod metric;
mod outcomes;
mod permits;
mod places;
mod ready;
mod recorder;
mod relay;
mod router;
mod scheduler;
mod sender;
mod shares;
pub mod source;
mod supervise;
pub mod timers;
mod worker;

pub use health::HealthPolicy;
pub use relay::Relay;
pub use source::{BATCH_BYTES, EventSource, HandedOn, OutboxSource, SourceError};
pub use worker::{DrainError, MIN_LEASE, Settings, Worker};
