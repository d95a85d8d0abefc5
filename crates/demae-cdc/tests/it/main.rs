//! The reader against a real Postgres.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod attach;
mod entry;
mod faults;
mod monitor;
mod oracle;
mod slots;
mod standing;
mod support;
mod throughput;
mod tls;
mod visibility;
