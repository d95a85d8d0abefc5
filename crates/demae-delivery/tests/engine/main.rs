//! The whole engine against real databases and real (also hostile) receivers.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, and the panic says where"
)]

mod applications;
mod crash;
mod delivery;
mod fairness;
mod lost_answers;
mod one_row;
mod panics;
mod relay;
mod support;
mod turns;
