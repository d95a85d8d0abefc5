//! The hostile tenant: a client with a token that may do everything in its own organization, and does the most costly thing
//! that each limit allows.

mod endpoints;
mod events;
mod keys;
mod lists;
mod rules;
mod schemas;
mod slow_bodies;

use http::Method;
use serde_json::{Value, json};

use super::{
    actor::{Cast, Outcomes, once},
    receivers::Receivers,
    stage::Stage,
    strangers::Door,
};
use crate::api::Api;

/// Kinds of events: one that goes to every endpoint of the hostile tenant, and one that goes to a few.
const WIDE: &str = "FAN_OUT";
const NARROW: &str = "BULK";

/// Lets everything begin that the tenant does.
pub(super) async fn enter(cast: &mut Cast, stage: &Stage, receivers: &Receivers) {
    let api = stage.hostile_api();
    for name in [WIDE, NARROW] {
        let event_type = json!({ "name": name, "type": type_of(name) });
        api.post("/api/event-types", &event_type).await;
    }
    cast.add(&endpoints::Endpoints::new(stage.hostile_api(), receivers.urls()));
    cast.add(&events::CostlyEvents(stage.hostile_api()));
    cast.add(&keys::RepeatedKeys(stage.hostile_api()));
    cast.add(&lists::CostlyLists(stage.hostile_api()));
    cast.add(&rules::CostlyRules(stage.hostile_api()));
    cast.add(&schemas::CostlySchemas(stage.hostile_api()));
    cast.add(&slow_bodies::SlowBodies {
        door: Door {
            server: stage.address(),
        },
        token: stage.hostile_token().to_owned(),
    });
}

/// The type of an event of that name.
fn type_of(name: &str) -> String {
    format!("com.example.{}", name.to_lowercase())
}

/// Sends a request; its outcome is the status.
async fn send(api: &Api, method: Method, path: &str, body: Option<&Value>, key: Option<&str>) -> Outcomes {
    once(match api.send(method, path, body, key).await {
        Ok(answer) => answer.status.as_u16().to_string(),
        Err(_) => "no answer".to_owned(),
    })
}
