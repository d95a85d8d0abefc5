//! The contract of the seam, held against every implementation, and RabbitMQ's failures.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alarm;
mod conformance;
mod failures;
mod redelivery;
mod rights;
mod support;
mod throughput;
