//! Receivers of webhooks, for tests: one that behaves and records, and many that do not behave.
//!
//! - [`Recorder`] is a real HTTP server (hyper, HTTP/1.1 and, in TLS, HTTP/2) that keeps what it got and answers what
//!   the test told it to.
//! - [`Receiver`] is a bare TCP listener that misbehaves in one chosen way ([`Behaviour`]), byte by byte.
//!
//! Both listen on a free loopback port, count their connections, let the test wait for an event instead of sleeping
//! ([`Counter`]), and close everything when dropped. Every wait is bounded by [`PATIENCE`] and panics with what it
//! waited for, so a broken test fails and does not hang.

mod counter;
mod gate;
mod hostile;
mod recorder;
mod tls;

pub use self::counter::{Counter, PATIENCE};
pub use self::gate::Gate;
pub use self::hostile::{Behaviour, Receiver};
pub use self::recorder::{Answer, ReceivedRequest, Recorder};
pub use self::tls::SelfSigned;
