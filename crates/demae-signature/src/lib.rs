//! Webhook signatures: sign and verify.
//!
//! One module per scheme. [`standard`] is Standard Webhooks (specification 1.0.0), which is also what Svix speaks.
//!
//! Everything here is a pure function of its arguments, the current time included; only the making of new keys asks
//! the operating system for randomness. This crate must not know any I/O, the store, or how a header is sent.

pub mod standard;
