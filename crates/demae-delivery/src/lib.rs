//! The delivery engine: router, scheduler, sender and recorder.

pub mod client;
