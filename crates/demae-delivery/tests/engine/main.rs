//! The whole engine against real databases and real (also hostile) receivers.

mod crash;
mod delivery;
mod fairness;
mod support;
