//! `/api/events`: an application's own events.

pub(super) mod body;
mod publish;
mod read;
mod repeat;

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    extract::PathOf,
    page::{PageBody, PageParameters, read_page},
    problem::Problem,
    query::{Query, QueryFields, ReadQuery},
};
use demae_delivery::management::events::EventFilter;
use demae_event::Timestamp;
use demae_store::repository::{Page, messages::MessageCursor};
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::body::EventBody;
use super::history::{AnyEventId, read_event_names};
use crate::auth::{Allowed, ReadWebhooks};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, publish::publish))
        .routes(routes!(get))
}

/// Which events are wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the parameters; EventQuery is read")]
struct EventParameters {
    /// With one of these names (either form) or types; separated by commas.
    #[param(required = false, nullable = false)]
    event_name: Option<String>,
    /// Written then or later.
    #[param(value_type = String, format = DateTime, required = false, nullable = false)]
    since: Option<Timestamp>,
    /// Written before.
    #[param(value_type = String, format = DateTime, required = false, nullable = false)]
    until: Option<Timestamp>,
}

struct EventQuery {
    filter: EventFilter,
    page: Page<MessageCursor>,
}

impl ReadQuery for EventQuery {
    fn read(query: &mut QueryFields<'_>) -> Option<Self> {
        let events = read_event_names(query, "eventName");
        let since = query.timestamp("since");
        let until = query.timestamp("until");
        let page = read_page(query);
        Some(Self {
            filter: EventFilter {
                events: events?,
                since: since?,
                until: until?,
            },
            page: page?,
        })
    }
}

/// List events
///
/// Newest first: those that were given to their webhooks, or found to have none, which takes milliseconds.
#[utoipa::path(get, path = "/api/events", operation_id = "list_events", tag = "Events",
    security(("token" = ["read:webhooks"])), params(PageParameters, EventParameters),
    responses((status = 200, description = "A page of events.", body = PageBody<EventBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadWebhooks>,
    Query(query): Query<EventQuery>,
) -> Result<Json<PageBody<EventBody>>, Problem> {
    let scope = caller.scope();
    let listing = state
        .management()
        .events(scope, &query.filter, query.page)
        .await?;
    Ok(Json(PageBody::from_listing(listing, EventBody::from)))
}

/// Get an event
///
/// With where it is going.
#[utoipa::path(get, path = "/api/events/{id}", operation_id = "get_event", tag = "Events",
    security(("token" = ["read:webhooks"])),
    params(("id" = String, Path, description = "The event's id, or its message's id (`msg_…`).")),
    responses((status = 200, description = "The event.", body = EventBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadWebhooks>,
    PathOf(AnyEventId(id)): PathOf<AnyEventId>,
) -> Result<Json<EventBody>, Problem> {
    Ok(Json(state.management().event(caller.scope(), id).await?.into()))
}

impl<'de> Deserialize<'de> for AnyEventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
