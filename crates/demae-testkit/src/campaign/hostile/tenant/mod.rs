//! The hostile tenant: a client with a token that may do everything in its own organization, and does the most costly thing
//! that each limit allows.

mod endpoints;
mod events;
mod keys;
mod lists;
mod request;
mod rules;
mod schemas;
mod slow_bodies;

use serde_json::json;

use self::request::{NARROW, WIDE, type_of};
use super::{actor::Cast, receivers::Receivers, stage::Stage, strangers::Door};

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
