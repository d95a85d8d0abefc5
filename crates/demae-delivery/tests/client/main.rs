//! The client against real sockets: where it refuses to go, what it survives, how it keeps connections.

#![expect(
    clippy::unwrap_used,
    reason = "in the helpers of a test a panic is how a failure is reported"
)]

mod answers;
mod hostile;
mod http2;
mod names;
mod refused;
mod reuse;
mod script;
mod secure;
mod support;
