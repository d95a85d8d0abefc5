//! The requests of the hostile tenant.

use http::Method;
use serde_json::Value;

use super::super::actor::{Outcomes, once};
use crate::api::Api;

/// Kinds of events: one that goes to every endpoint of the hostile tenant, and one that goes to a few.
pub(super) const WIDE: &str = "FAN_OUT";

pub(super) const NARROW: &str = "BULK";

/// The type of an event of that name.
pub(super) fn type_of(name: &str) -> String {
    format!("com.example.{}", name.to_lowercase())
}

/// Sends a request; its outcome is the status.
pub(super) async fn send(
    api: &Api,
    method: Method,
    path: &str,
    body: Option<&Value>,
    key: Option<&str>,
) -> Outcomes {
    once(match api.send(method, path, body, key).await {
        Ok(answer) => answer.status.as_u16().to_string(),
        Err(_) => "no answer".to_owned(),
    })
}
