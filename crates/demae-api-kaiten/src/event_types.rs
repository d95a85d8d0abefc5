//! `/api/event-types`: the catalogue, and an organization's own kinds of events.

use axum::{Json, extract::State};
use demae_api::{
    ApiState,
    caller::Caller,
    extract::{PathOf, Segment},
    json::fields::{Fields, Node, ReadBody},
    page::{PageBody, PageParameters, PageQuery},
    problem::Problem,
    query::Query,
    revision::{self, IfMatch, IfNoneMatch, Tagged},
    write::{Answer, Operation, Outcome},
};
use demae_control_plane::{change::Subject, revision::Expected};
use demae_delivery::management::{
    Listing, Management, ManagementError, Page,
    event_types::{EventType, EventTypeInput},
};
use demae_event::{EventDefinition, Timestamp, catalogue, catalogue::Domain, subscription::check_name};
use demae_store::Transaction;
use futures::FutureExt;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    auth::{Allowed, ReadWebhooks, WriteWebhooks},
    input::{JsonBody, Kaiten},
};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, replace, delete))
}

/// A kind of event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventType)]
struct EventTypeBody {
    /// Its name.
    #[schema(examples("CUSTOMER_CREATION"))]
    name: String,
    /// The name of later contracts; absent for own ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("CUSTOMER_CREATED"))]
    later_name: Option<&'static str>,
    /// Its type.
    #[schema(examples("com.kaiten.customer.v1.created"))]
    r#type: String,
    /// What it is about; absent for own ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, required = false, examples("customer"))]
    domain: Option<Domain>,
    /// When it is emitted.
    description: String,
    /// The JSON Schema of its `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Object, required = false)]
    schema: Option<Value>,
    /// A believable `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Object, required = false)]
    example: Option<Value>,
    /// Whether it is the organization's own.
    own: bool,
    /// When it was registered; absent for the catalogue's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, format = DateTime, required = false)]
    created_at: Option<Timestamp>,
    /// When it was last changed; absent for the catalogue's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, format = DateTime, required = false)]
    updated_at: Option<Timestamp>,
}

impl From<&EventDefinition> for EventTypeBody {
    fn from(definition: &EventDefinition) -> Self {
        Self {
            name: definition.name.to_owned(),
            later_name: Some(definition.later_name),
            r#type: definition.event_type.to_owned(),
            domain: Some(definition.domain),
            description: definition.description.to_owned(),
            schema: Some(definition.schema().clone()),
            example: Some(definition.example().clone()),
            own: false,
            created_at: None,
            updated_at: None,
        }
    }
}

impl From<EventType> for EventTypeBody {
    fn from(own: EventType) -> Self {
        Self {
            name: own.name,
            later_name: None,
            r#type: own.event_type,
            domain: None,
            description: own.description,
            schema: own.schema,
            example: own.example,
            own: true,
            created_at: Some(own.created_at),
            updated_at: Some(own.updated_at),
        }
    }
}

/// A new event type.
#[derive(Debug, ToSchema)]
#[schema(as = CreateEventType, example = json!({
    "name": "ORDER_SHIPPED", "type": "shop.order.shipped", "description": "An order left the house.",
    "schema": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}, "example": {"id": "17"}
}))]
#[expect(dead_code, reason = "describes the body; management's own type is read")]
struct CreateEventTypeBody {
    /// Its name.
    #[schema(min_length = 1, max_length = 256, pattern = "^[A-Za-z0-9_.-]+$")]
    name: String,
    /// Its type; from the name if left out.
    #[schema(min_length = 1, max_length = 256, pattern = "^[A-Za-z0-9_.-]+$")]
    r#type: Option<String>,
    /// When it is emitted.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// The JSON Schema of its `data`, complete in itself. Documentation: events are not checked against it.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
    /// A believable `data`, valid by the schema.
    #[schema(value_type = Option<Object>)]
    example: Option<Value>,
}

/// What an event type is replaced with.
#[derive(Debug, ToSchema)]
#[schema(as = ReplaceEventType, example = json!({"type": "shop.order.shipped", "description": "An order left the house."}))]
#[expect(dead_code, reason = "describes the body; management's own type is read")]
struct ReplaceEventTypeBody {
    /// Its type; from the name if left out.
    #[schema(min_length = 1, max_length = 256, pattern = "^[A-Za-z0-9_.-]+$")]
    r#type: Option<String>,
    /// When it is emitted.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// The JSON Schema of its `data`, complete in itself.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
    /// A believable `data`, valid by the schema.
    #[schema(value_type = Option<Object>)]
    example: Option<Value>,
}

impl ReadBody<Kaiten> for EventTypeInput {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = fields.field("name").required(read_event_name);
        let Replacement(rest) = Replacement::read(fields)?;
        Some(Self { name: name?, ..rest })
    }
}

/// Everything about an event type but its name.
struct Replacement(EventTypeInput);

impl ReadBody<Kaiten> for Replacement {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let event_type = fields.field("type").nullable(read_event_name);
        let description = fields.field("description").nullable(|node| node.string(0..=500));
        let schema = fields.field("schema").nullable(Node::any_object);
        let example = fields.field("example").nullable(Node::any_object);
        Some(Self(EventTypeInput {
            name: String::new(),
            event_type: event_type?,
            description: description?,
            schema: schema?.map(Value::Object),
            example: example?.map(Value::Object),
        }))
    }
}

fn read_event_name(node: Node<'_>) -> Option<String> {
    node.string_with(0..=usize::MAX, |text| {
        check_name(text).map_err(|error| error.to_string())
    })
}

/// List event types
///
/// The catalogue first, then the organization's own by name.
#[utoipa::path(get, path = "/api/event-types", operation_id = "list_event_types", tag = "Events",
    security(("token" = ["read:webhooks"])), params(PageParameters),
    responses((status = 200, description = "A page of event types.", body = PageBody<EventTypeBody>)))]
async fn list(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadWebhooks>,
    Query(PageQuery(page)): Query<PageQuery<String>>,
) -> Result<Json<PageBody<EventTypeBody>>, Problem> {
    let listing = list_all(&state, &caller, page).await?;
    Ok(Json(PageBody::from_listing(listing, |shown| shown)))
}

/// A position is the name of the last one shown, which tells by itself in which part it is.
async fn list_all(
    state: &ApiState,
    caller: &Caller,
    page: Page<String>,
) -> Result<Listing<EventTypeBody, String>, ManagementError> {
    let known = || catalogue::all().iter().chain(catalogue::operational());
    let skipped = match &page.after {
        None => 0,
        Some(name) => known()
            .position(|event| event.name == name)
            .map_or_else(|| known().count(), |place| place + 1),
    };
    let limit = page.limit as usize;
    let mut items: Vec<EventTypeBody> = known()
        .skip(skipped)
        .take(limit)
        .map(EventTypeBody::from)
        .collect();
    let room = limit - items.len();
    if room == 0 {
        let next = items.last().map(|last| last.name.clone());
        return Ok(Listing { items, next });
    }
    let after = page.after.filter(|name| catalogue::find(name).is_none());
    let own = Page {
        limit: room as u32,
        after,
    };
    let own = state
        .management()
        .event_types(caller.actor().organization_id, own)
        .await?;
    items.extend(own.items.into_iter().map(EventTypeBody::from));
    Ok(Listing {
        items,
        next: own.next,
    })
}

/// Register an event type
#[utoipa::path(post, path = "/api/event-types", operation_id = "create_event_type", tag = "Events",
    security(("token" = ["write:webhooks"])), request_body = CreateEventTypeBody,
    responses(
        (status = 201, description = "The event type.", body = EventTypeBody),
        (status = 409, description = "The name is taken, or the organization has as many as it may."),
    ))]
async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    operation: Operation,
    body: JsonBody<EventTypeInput>,
) -> Outcome {
    let (input, management) = (body.value, state.management().clone());
    let operation = operation.of_body(body.digest);
    let organization = caller.actor().organization_id;
    let check = move || input.check_new();
    let checked = state
        .computations()
        .check(organization, "body.schema", check)
        .await?;
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                let own = management
                    .create_event_type(transaction, organization, checked, caller.now())
                    .await?;
                note(transaction, caller, Happened::Created, &own.name).await?;
                Answer::json(StatusCode::CREATED, &EventTypeBody::from(own))
            }
            .boxed()
        })
        .await
}

/// Get an event type
///
/// Of the catalogue by its name (either form) or type, or an own one by its name.
#[utoipa::path(get, path = "/api/event-types/{name}", operation_id = "get_event_type", tag = "Events",
    security(("token" = ["read:webhooks"])),
    params(("name" = String, Path, description = "The event type's name."), IfNoneMatch),
    responses((status = 200, description = "The event type.", body = EventTypeBody)))]
async fn get(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<ReadWebhooks>,
    PathOf(Segment(name)): PathOf<Segment>,
    held: IfNoneMatch,
) -> Result<Tagged<EventTypeBody>, Problem> {
    let shown = if let Some(definition) = catalogue::find(&name) {
        EventTypeBody::from(definition)
    } else {
        let organization = caller.actor().organization_id;
        state.management().event_type(organization, &name).await?.into()
    };
    Ok(Tagged::new(&held, shown, |shown| shown))
}

/// Replace an event type
///
/// An own one; its name never changes.
#[utoipa::path(put, path = "/api/event-types/{name}", operation_id = "replace_event_type", tag = "Events",
    security(("token" = ["write:webhooks"])),
    params(("name" = String, Path, description = "The event type's name."), IfMatch),
    request_body = ReplaceEventTypeBody,
    responses((status = 200, description = "The event type as it is now.", body = EventTypeBody)))]
async fn replace(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    PathOf(Segment(name)): PathOf<Segment>,
    operation: Operation,
    body: JsonBody<Replacement>,
) -> Outcome {
    let Replacement(input) = body.value;
    let (input, management) = (EventTypeInput { name, ..input }, state.management().clone());
    let operation = operation.of_body(body.digest);
    let organization = caller.actor().organization_id;
    let check = move || input.check_replacement();
    let checked = state
        .computations()
        .check(organization, "body.schema", check)
        .await?;
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                check_seen(
                    transaction,
                    caller,
                    &management,
                    ("UpdateEventType", checked.name()),
                )
                .await?;
                let own = management
                    .replace_event_type(transaction, organization, checked, caller.now())
                    .await?;
                note(transaction, caller, Happened::Updated, &own.name).await?;
                Answer::json(StatusCode::OK, &EventTypeBody::from(own))
            }
            .boxed()
        })
        .await
}

/// Remove an event type
///
/// An own one. Webhooks keep their subscriptions to it.
#[utoipa::path(delete, path = "/api/event-types/{name}", operation_id = "delete_event_type", tag = "Events",
    security(("token" = ["write:webhooks"])),
    params(("name" = String, Path, description = "The event type's name."), IfMatch),
    responses((status = 204, description = "Removed.")))]
async fn delete(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<WriteWebhooks>,
    PathOf(Segment(name)): PathOf<Segment>,
    operation: Operation,
) -> Outcome {
    let management = state.management().clone();
    state
        .write(caller, &operation, move |transaction, caller| {
            async move {
                check_seen(transaction, caller, &management, ("DeleteEventType", &name)).await?;
                management
                    .delete_event_type(transaction, caller.actor().organization_id, &name)
                    .await?;
                note(transaction, caller, Happened::Deleted, &name).await?;
                Ok(Answer::no_content())
            }
            .boxed()
        })
        .await
}

/// Refuses if the event type, which nobody else changes until the transaction ends, is not as the caller saw it. One that
/// is not there is left to the change to tell.
async fn check_seen(
    transaction: &Transaction,
    caller: &Caller,
    management: &Management,
    (operation, name): (&'static str, &str),
) -> Result<(), Problem> {
    if *caller.expected() == Expected::Anything {
        return Ok(());
    }
    let organization = caller.actor().organization_id;
    let current = management
        .hold_event_type(transaction, organization, name)
        .await?;
    revision::check(caller.expected(), operation, current.map(EventTypeBody::from))
}

/// What happened to an event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happened {
    Created,
    Updated,
    Deleted,
}

/// Writes the entry in the audit trail. An event type has no id: its name is all there is.
async fn note(
    transaction: &mut Transaction,
    caller: &Caller,
    happened: Happened,
    name: &str,
) -> Result<(), Problem> {
    let (event, event_type) = match happened {
        Happened::Created => ("EVENT_TYPE_CREATION", "com.kaiten.event_type.v1.created"),
        Happened::Updated => ("EVENT_TYPE_UPDATE", "com.kaiten.event_type.v1.updated"),
        Happened::Deleted => ("EVENT_TYPE_DELETION", "com.kaiten.event_type.v1.deleted"),
    };
    let subject = Subject::new("event_type", Uuid::nil(), name);
    let mut change = caller.change(transaction);
    Ok(change
        .note(event, event_type, subject, &json!({"name": name}))
        .await?)
}
