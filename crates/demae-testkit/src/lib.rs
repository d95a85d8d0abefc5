//! What the tests share: private servers, receivers, fault proxies and oracles.

pub mod api;
pub mod campaign;
pub mod examples;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod rabbitmq;
pub mod receiver;
pub mod sdk;
pub mod sqlite;
mod supervised;
pub mod svix;
mod tools;
pub mod verifiers;
