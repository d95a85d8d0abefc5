//! A test delivery: an example of an event, to one endpoint only.
//!
//! It does not go through the outbox, because the router would give it to everybody who asked for such events. Message
//! and delivery are written together, and from then on it is a delivery like any other.

use demae_event::{EndpointId, Event, EventDefinition, EventId, Scope, Timestamp, catalogue};
use demae_store::{
    StoreError, Transaction,
    repository::{
        deliveries::{self, Planned},
        endpoints::Endpoint,
        event_types, messages,
    },
};
use serde_json::value::{RawValue, to_raw_value};

use super::{Management, ManagementError, error::Operation, recovery::subscriptions};

impl Management {
    /// Sends an example of `event` (a name in either form, a type, or an own event type that has an example) to one
    /// endpoint; if left out, of the first event that it subscribes to. Answers the event.
    pub async fn send_example(
        &self,
        transaction: &mut Transaction,
        (scope, id): (Scope, EndpointId),
        event: Option<&str>,
        now: Timestamp,
        traceparent: Option<&str>,
    ) -> Result<Event, ManagementError> {
        let operation = Operation("TestEndpoint");
        let endpoint = self.find_for_update(transaction, operation, scope, id).await?;
        if !endpoint.enabled {
            return Err(operation.conflict("EndpointDisabled", "the endpoint is disabled; enable it first"));
        }
        let chosen = match event {
            Some(event) => event.to_owned(),
            None => first_choice(&endpoint)?,
        };
        let (name, event_type, data) = example(transaction, operation, scope, &chosen).await?;
        let event = Event {
            id: EventId::new(now),
            scope,
            name,
            event_type,
            data,
            headers: None,
            traceparent: traceparent.map(str::to_owned),
            created_at: now,
        };
        messages::insert(transaction, &event).await?;
        let delivered_name = subscriptions(&endpoint)?
            .delivered_name(&event.name, &event.event_type)
            .unwrap_or(event.name.as_str())
            .to_owned();
        let planned = Planned {
            event_id: event.id,
            delivered_name,
        };
        deliveries::insert(transaction, scope, id, vec![planned], now).await?;
        Ok(event)
    }
}

/// The name of the first event of the catalogue that the endpoint subscribes to, or of its own.
fn first_choice(endpoint: &Endpoint) -> Result<String, StoreError> {
    let subscriptions = subscriptions(endpoint)?;
    let wanted = |event: &&EventDefinition| {
        subscriptions
            .delivered_name(event.name, event.event_type)
            .is_some()
    };
    let known = catalogue::all()
        .iter()
        .chain(catalogue::operational())
        .find(wanted);
    let own = || endpoint.event_names.first().cloned().unwrap_or_default();
    Ok(known.map_or_else(own, |event| event.name.to_owned()))
}

async fn example(
    transaction: &Transaction,
    operation: Operation,
    scope: Scope,
    chosen: &str,
) -> Result<(String, String, Box<RawValue>), ManagementError> {
    if let Some(definition) = catalogue::find(chosen) {
        let data = to_raw_value(definition.example()).map_err(|_| StoreError::Unreadable("an example"))?;
        return Ok((definition.name.to_owned(), definition.event_type.to_owned(), data));
    }
    let own = event_types::find(transaction.connection(), scope.organization, chosen).await?;
    let Some(own) = own else {
        return Err(operation.invalid("event_name", "is not a known event"));
    };
    let Some(text) = own.example else {
        return Err(operation.invalid("event_name", "is an event type without an example"));
    };
    let data = RawValue::from_string(text).map_err(|_| StoreError::Unreadable("an example"))?;
    Ok((own.name, own.event_type, data))
}
