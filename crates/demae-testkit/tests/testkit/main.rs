//! The test kit put to the test: what other tests rely on must hold by itself.

#![expect(clippy::expect_used, reason = "helpers of tests may fail loudly")]

mod postgres;
mod process;
mod proxy;
mod rabbitmq;
mod sdk;
mod verifiers;
