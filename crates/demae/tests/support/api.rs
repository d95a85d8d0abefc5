//! The client of the tests, under the name by which they know it.

pub(crate) use demae_testkit::api::Api;
