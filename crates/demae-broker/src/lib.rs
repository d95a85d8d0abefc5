//! The seam between the relay, which publishes committed events, and the workers, which route them.
//!
//! [`Broker`], [`Publisher`], [`Consumer`] and [`DeadLetters`] are the seam; their documentation is the contract, and one suite of
//! tests (`tests/it/conformance`) holds every implementation to it. There are two: [`rabbitmq`], for several processes,
//! and [`in_process`], which keeps everything in memory.
//!
//! What travels is a [`Message`]: an identity and bytes. This crate does not look into the bytes, and must not know the
//! store or delivery.

mod backoff;
mod error;
pub mod in_process;
mod message;
pub mod metric;
pub mod rabbitmq;
mod seam;
mod url;

pub use self::{
    error::BrokerError,
    message::{Message, MessageIdError},
    seam::{
        BATCH_BYTES, Broker, Consumer, DeadLetter, DeadLetters, Delivery, HELD_BYTES, Judge, Publisher,
        Rejection, Tag, Verdict,
    },
    url::{BrokerUrl, BrokerUrlError},
};
