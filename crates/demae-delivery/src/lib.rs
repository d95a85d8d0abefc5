//! The delivery engine: router, scheduler, sender and recorder.
//!
//! [`engine`] moves events to endpoints; [`management`] is what every surface offers to look after endpoints and their
//! history; [`policy`] and [`dialect`] are the pure rules of when and how; [`client`] makes the exchanges; [`directory`]
//! keeps the endpoints in memory.
//!
//! This crate must not know which domain an event came from, nor axum.

pub mod client;
pub mod dialect;
pub mod directory;
pub mod endpoint;
pub mod engine;
pub mod management;
pub mod own_headers;
pub mod policy;
