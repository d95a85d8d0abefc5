//! Bodies of requests, as this surface reads them.

use demae_api::extract;

/// Names this surface as a reader of inputs.
pub(crate) enum Kaiten {}

/// A JSON body, as this surface reads it.
pub(crate) type JsonBody<T> = extract::JsonBody<Kaiten, T>;
/// A JSON body that may be left out, as this surface reads it.
pub(crate) type OptionalBody<T> = extract::OptionalBody<Kaiten, T>;
