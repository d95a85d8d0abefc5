//! What happened: the value that travels from a transaction to an endpoint.

use serde_json::value::RawValue;

use crate::{EventId, Scope, Timestamp};

/// A committed (or about to be committed) event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its identity, the same from the outbox row to the receiver.
    pub id: EventId,
    /// The application it belongs to, within its organization.
    pub scope: Scope,
    /// `CUSTOMER_CREATION`; for catalogue events always the seed's name.
    pub name: String,
    /// `com.kaiten.customer.v1.created`.
    pub event_type: String,
    /// The payload: a JSON object, kept as the text it was given in.
    pub data: Box<RawValue>,
    /// The producer's own headers, delivered as the envelope's `headers`; a JSON object.
    pub headers: Option<Box<RawValue>>,
    /// The W3C trace context of the request that caused it.
    pub traceparent: Option<String>,
    /// When it was written.
    pub created_at: Timestamp,
}

impl Event {
    /// Bytes of its texts, by which batches are bounded.
    pub fn size(&self) -> usize {
        let raw = |text: &Option<Box<RawValue>>| text.as_ref().map_or(0, |text| text.get().len());
        let traceparent = self.traceparent.as_ref().map_or(0, String::len);
        self.data.get().len() + raw(&self.headers) + self.name.len() + self.event_type.len() + traceparent
    }
}
