//! An application's own events: taking them in, and looking at them.
//!
//! A name or a type of the catalogue stands for both, and the event is kept under the seed's name. A registered event
//! type stands for both as well. An event that is neither must bring both, and is taken as it is: registering is for
//! those who want their names checked. Only what the engine says about endpoints cannot be said by others.

use demae_event::{
    Event, EventId, Faults, Scope, Timestamp, catalogue, fault::below, subscription::check_name,
};
use demae_store::{
    Transaction,
    engine::Message,
    repository::{
        Listing, Page, event_types, expunge,
        messages::{self, MessageCursor, MessageDelivery, StoredMessage},
    },
};
use serde_json::value::RawValue;

use super::{Management, ManagementError, error::Operation};

/// Longest id that a sender may give an event, in bytes.
pub const MAX_CLIENT_ID: usize = 256;

/// An event as its sender gives it.
#[derive(Debug, Clone)]
pub struct PublishInput {
    /// Where it stands in the request, for faults: `events[2]`; empty if it is the whole request.
    pub location: String,
    /// Its name.
    pub name: Option<String>,
    /// Its type.
    pub event_type: Option<String>,
    /// A JSON object. Its text must be free of what a database cannot hold.
    pub data: Box<RawValue>,
    /// A JSON object.
    pub headers: Option<Box<RawValue>>,
    /// The sender's own id: the same id is the same event, however often it is sent.
    pub id: Option<String>,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Those with one of these names (either form) or types; any if empty.
    pub events: Vec<String>,
    /// Written then or later.
    pub since: Option<Timestamp>,
    /// Written before.
    pub until: Option<Timestamp>,
}

/// An event and where it is going.
#[derive(Debug)]
pub struct EventView {
    /// The event.
    pub message: Message,
    /// Why some of it cannot be read; that is empty then.
    pub unreadable: Option<String>,
    /// Whether it was given to its endpoints already; if not, `deliveries` is empty.
    pub routed: bool,
    /// Where it is going, or went.
    pub deliveries: Vec<MessageDelivery>,
}

impl EventView {
    fn routed(stored: StoredMessage, deliveries: Vec<MessageDelivery>) -> Self {
        Self {
            message: stored.message,
            unreadable: stored.unreadable,
            routed: true,
            deliveries,
        }
    }
}

impl Management {
    /// Checks events and completes them; writing them is the caller's part. Faults of all of them are told together.
    pub async fn prepare_events(
        &self,
        scope: Scope,
        inputs: Vec<PublishInput>,
        now: Timestamp,
        traceparent: Option<&str>,
    ) -> Result<Vec<Event>, ManagementError> {
        let mut faults = Faults::new();
        let mut events = Vec::with_capacity(inputs.len());
        // Asked for once, when the first event needs them.
        let mut own = None;
        for input in inputs {
            check_shape(&mut faults, &input);
            let mut identified = identify(&mut faults, &input, own.as_deref());
            if let Identity::Unknown = identified {
                let names =
                    event_types::names(self.store.reader(), scope.organization, self.own_types()).await?;
                identified = identify(&mut faults, &input, Some(own.insert(names)));
            }
            let Identity::Known(name, event_type) = identified else {
                continue;
            };
            events.push(Event {
                id: match &input.id {
                    Some(key) => EventId::from_client_key(scope, key),
                    None => EventId::new(now),
                },
                scope,
                name,
                event_type,
                data: input.data,
                headers: input.headers,
                traceparent: traceparent.map(str::to_owned),
                created_at: now,
            });
        }
        Operation("PublishEvents").check(faults)?;
        Ok(events)
    }

    /// One event, by its id, with where it is going.
    pub async fn event(&self, scope: Scope, id: EventId) -> Result<EventView, ManagementError> {
        let connection = self.store.reader();
        // In this order, and the first one twice: it moves from the outbox to the messages, never back.
        let mut routed = messages::find(connection, scope, id).await?;
        if routed.is_none() {
            if let Some(message) = messages::find_unrouted(connection, scope, id).await? {
                return Ok(EventView {
                    message,
                    unreadable: None,
                    routed: false,
                    deliveries: Vec::new(),
                });
            }
            routed = messages::find(connection, scope, id).await?;
        }
        let stored = routed.ok_or(Operation("GetEvent").not_found("event"))?;
        let deliveries = messages::deliveries(connection, scope, &[id]).await?;
        Ok(EventView::routed(stored, deliveries))
    }

    /// Expunges an event's payload and its producer's headers. The event stays, with its deliveries and its history; a
    /// delivery that waits is canceled. Returns when the payload was expunged: now, or before.
    pub async fn expunge_event(
        &self,
        transaction: &mut Transaction,
        scope: Scope,
        id: EventId,
        now: Timestamp,
    ) -> Result<Timestamp, ManagementError> {
        let operation = Operation("ExpungeEvent");
        if expunge::expunge(transaction, scope, &[id], now).await? > 0 {
            return Ok(now);
        }
        let connection = transaction.connection();
        if let Some(stored) = messages::find(connection, scope, id).await? {
            return Ok(stored.message.expunged_at.unwrap_or(now));
        }
        match messages::find_unrouted(connection, scope, id).await? {
            Some(_) => Err(operation.conflict("NotRouted", "the event is not routed yet; try again")),
            None => Err(operation.not_found("event")),
        }
    }

    /// The routed events of an scope, newest first, with where they are going.
    pub async fn events(
        &self,
        scope: Scope,
        filter: &EventFilter,
        page: Page<MessageCursor>,
    ) -> Result<Listing<EventView, MessageCursor>, ManagementError> {
        let connection = self.store.reader();
        let stored = messages::MessageFilter {
            event_names: self.stored_names(scope, &filter.events).await?,
            event_type: None,
            since: filter.since,
            until: filter.until,
        };
        let listing = messages::list(connection, scope, &stored, page).await?;
        let ids: Vec<EventId> = listing
            .items
            .iter()
            .map(|stored| stored.message.event_id)
            .collect();
        let mut deliveries = messages::deliveries(connection, scope, &ids).await?;
        Ok(listing.map(|stored| {
            let own = deliveries.extract_if(.., |delivery| delivery.event_id == stored.message.event_id);
            let own = own.collect();
            EventView::routed(stored, own)
        }))
    }
}

/// What an event is kept as.
enum Identity {
    /// Under this name and type.
    Known(String, String),
    /// That depends on the organization's own event types.
    Unknown,
    /// Not at all; a fault says why.
    Refused,
}

/// The name and the type under which an event is kept; `own` are name and type of the organization's event types.
fn identify(faults: &mut Faults, input: &PublishInput, own: Option<&[(String, String)]>) -> Identity {
    let at = |field: &str| below(&input.location, field);
    let (name, event_type) = (input.name.as_deref(), input.event_type.as_deref());
    let Some(given) = name.or(event_type) else {
        faults.push(at("name"), "is required unless there is a type");
        return Identity::Refused;
    };
    let field = if name.is_some() { "name" } else { "type" };
    let of_type = event_type.and_then(catalogue::find);
    if let Some(definition) = catalogue::find(given).or(of_type) {
        if definition.is_operational() {
            faults.push_value(at(field), "is reserved for the server's own events", given);
            return Identity::Refused;
        }
        // A type of the catalogue under a name of one's own would not be what its receivers expect.
        let agrees =
            |other: Option<&str>| other.is_none_or(|other| catalogue::find(other) == Some(definition));
        if !agrees(name) {
            faults.push_value(
                at("name"),
                format!("must be {} for this type", definition.name),
                given,
            );
            return Identity::Refused;
        }
        if !agrees(event_type) {
            let message = format!("must be {} for this name", definition.event_type);
            faults.push_value(at("type"), message, event_type.unwrap_or_default());
            return Identity::Refused;
        }
        return Identity::Known(definition.name.to_owned(), definition.event_type.to_owned());
    }
    for (field, text) in [("name", name), ("type", event_type)] {
        if let Some(text) = text
            && let Err(error) = check_name(text)
        {
            faults.push_value(at(field), error.to_string(), text);
            return Identity::Refused;
        }
    }
    if let Some(reserved) = event_type.filter(|text| text.starts_with(catalogue::OPERATIONAL_TYPE_PREFIX)) {
        faults.push_value(at("type"), "is reserved for the server's own events", reserved);
        return Identity::Refused;
    }
    if let (Some(name), Some(event_type)) = (name, event_type) {
        return Identity::Known(name.to_owned(), event_type.to_owned());
    }
    let Some(own) = own else {
        return Identity::Unknown;
    };
    let known = own
        .iter()
        .find(|(own_name, own_type)| own_name == given || name.is_none() && own_type == given);
    let Some((name, event_type)) = known else {
        let message = "is not a known event; register it as an event type, or give its name and its type";
        faults.push_value(at(field), message, given);
        return Identity::Refused;
    };
    Identity::Known(name.clone(), event_type.clone())
}

fn check_shape(faults: &mut Faults, input: &PublishInput) {
    let at = |field: &str| below(&input.location, field);
    if !is_object(&input.data) {
        faults.push(at("data"), "must be an object");
    }
    if input
        .headers
        .as_deref()
        .is_some_and(|headers| !is_object(headers))
    {
        faults.push(at("headers"), "must be an object");
    }
    match input.id.as_deref() {
        Some("") => faults.push(at("id"), "must not be empty"),
        Some(id) if id.len() > MAX_CLIENT_ID => {
            faults.push(at("id"), format!("must not be longer than {MAX_CLIENT_ID} bytes"));
        }
        _ => {}
    }
}

fn is_object(value: &RawValue) -> bool {
    value.get().trim_start().starts_with('{')
}
