//! Events as they are shown.

use demae_delivery::management::events::EventView;
use demae_event::{Event, Timestamp};
use demae_store::{
    engine::{Appended, DeliveryState, Message},
    repository::messages::MessageDelivery,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An event and where it is going.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub(crate) struct EventBody {
    /// Its identity.
    #[schema(examples("0199e1a0-7f3c-7a51-9d0e-4b1f6c2d8e90"))]
    id: String,
    /// The value of the `webhook-id` header of its deliveries.
    #[schema(examples("msg_2bZ8Q0iZkzJ2yq1cZ5mWc0J1x7T"))]
    message_id: String,
    /// Its name; for an event of the catalogue the seed's form.
    #[schema(examples("CUSTOMER_CREATION"))]
    name: String,
    /// Its type.
    #[schema(examples("com.kaiten.customer.v1.created"))]
    r#type: String,
    /// Its payload; `null` once it was expunged.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
    /// Why some of it cannot be read, its payload for example; that is empty then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unreadable: Option<String>,
    /// When the payload was expunged, with the producer's headers. Such an event is not sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, format = DateTime, required = false)]
    payload_expunged_at: Option<Timestamp>,
    /// Its producer's own headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, nullable = false, required = false)]
    headers: Option<Box<RawValue>>,
    /// The trace of the request that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    traceparent: Option<String>,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Whether it was given to its webhooks already; if not, `deliveries` is empty.
    routed: bool,
    /// Where it is going, or went.
    deliveries: Vec<DeliveryBody>,
}

impl From<EventView> for EventBody {
    fn from(view: EventView) -> Self {
        let message = view.message;
        Self {
            id: message.event_id.to_string(),
            message_id: message.event_id.message_id(message.created_at),
            name: message.event_name,
            r#type: message.event_type,
            data: message.data,
            unreadable: view.unreadable,
            payload_expunged_at: message.expunged_at,
            headers: message.headers,
            traceparent: message.traceparent,
            created_at: message.created_at,
            routed: view.routed,
            deliveries: view.deliveries.into_iter().map(DeliveryBody::from).collect(),
        }
    }
}

/// An event's way to one webhook.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
pub(crate) struct DeliveryBody {
    /// The webhook.
    webhook_id: String,
    /// `waiting`, `sending`, `success`, `failed` or `canceled`.
    #[schema(examples("success"))]
    status: &'static str,
    /// Attempts made.
    attempts: u32,
    /// When the next attempt is due, if it waits for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, format = DateTime, required = false)]
    next_attempt_at: Option<Timestamp>,
    /// The name form that the webhook receives.
    delivered_name: String,
}

impl From<MessageDelivery> for DeliveryBody {
    fn from(delivery: MessageDelivery) -> Self {
        let waits = delivery.state == DeliveryState::Waiting;
        Self {
            webhook_id: delivery.endpoint_id.to_string(),
            status: match delivery.state {
                DeliveryState::Waiting => "waiting",
                DeliveryState::Leased => "sending",
                DeliveryState::Succeeded => "success",
                DeliveryState::Failed => "failed",
                DeliveryState::Canceled => "canceled",
            },
            attempts: delivery.attempts,
            next_attempt_at: waits.then_some(delivery.due_at),
            delivered_name: delivery.delivered_name,
        }
    }
}

/// An event that was taken in: from now on it is not lost.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AcceptedEvent)]
pub(crate) struct AcceptedBody {
    /// Its identity.
    #[schema(examples("0199e1a0-7f3c-7a51-9d0e-4b1f6c2d8e90"))]
    id: String,
    /// The value of the `webhook-id` header of its deliveries; not told of a duplicate, ask for the event by its `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("msg_2bZ8Q0iZkzJ2yq1cZ5mWc0J1x7T"))]
    message_id: Option<String>,
    /// Its name; for an event of the catalogue the seed's form.
    #[schema(examples("CUSTOMER_CREATION"))]
    name: String,
    /// Its type.
    #[schema(examples("com.kaiten.customer.v1.created"))]
    r#type: String,
    /// When it was written; of a duplicate, when this repetition came.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Whether an event with its `id` existed already; then nothing was written.
    duplicate: bool,
}

impl AcceptedBody {
    /// An event that was written.
    pub(crate) fn of_new(event: &Event) -> Self {
        Self {
            id: event.id.to_string(),
            message_id: Some(event.id.message_id(event.created_at)),
            name: event.name.clone(),
            r#type: event.event_type.clone(),
            created_at: event.created_at,
            duplicate: false,
        }
    }

    /// An event that was written before, as it was told then.
    pub(super) fn of_stored(message: &Message) -> Self {
        Self {
            id: message.event_id.to_string(),
            message_id: Some(message.event_id.message_id(message.created_at)),
            name: message.event_name.clone(),
            r#type: message.event_type.clone(),
            created_at: message.created_at,
            duplicate: false,
        }
    }

    /// Whether `message` has this name and this type.
    pub(super) fn is_about(&self, message: &Message) -> bool {
        (&self.name, &self.r#type) == (&message.event_name, &message.event_type)
    }

    /// The same, of what became of it.
    pub(super) fn with(self, outcome: Appended) -> Self {
        let duplicate = outcome == Appended::Duplicate;
        // It holds the time of the event as it was written, which a repetition does not know.
        let message_id = self.message_id.filter(|_| !duplicate);
        Self {
            message_id,
            duplicate,
            ..self
        }
    }
}

/// Several events that were taken in, in the order in which they were sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AcceptedEvents)]
pub(crate) struct AcceptedBodies {
    /// One per event.
    pub(super) items: Vec<AcceptedBody>,
}
