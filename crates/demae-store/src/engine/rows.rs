//! What both backends make of the columns they read.

use std::{collections::HashMap, sync::Arc};

use demae_event::{AttemptId, EndpointId, Event, EventId, OrganizationId, Timestamp};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Appended, DeliveryState, LeaseGrant, LeasedDelivery, Message};
use crate::StoreError;

/// A row of the outbox.
pub(super) struct OutboxRow {
    pub(super) id: Uuid,
    pub(super) organization_id: Uuid,
    pub(super) event_name: String,
    pub(super) event_type: String,
    pub(super) payload: String,
    pub(super) headers: Option<String>,
    pub(super) traceparent: Option<String>,
    pub(super) created_at: i64,
}

impl OutboxRow {
    pub(super) fn into_event(self) -> Result<Event, StoreError> {
        Ok(Event {
            id: EventId(self.id),
            organization_id: OrganizationId(self.organization_id),
            name: self.event_name,
            event_type: self.event_type,
            data: raw(self.payload)?,
            headers: self.headers.map(raw).transpose()?,
            traceparent: self.traceparent,
            created_at: Timestamp::from_micros(self.created_at),
        })
    }
}

/// A due delivery and its message's columns, as the claim reads them.
pub(super) struct DueRow {
    pub(super) endpoint_id: Uuid,
    pub(super) due_at: i64,
    pub(super) attempts: i32,
    pub(super) step: i32,
    pub(super) manual: bool,
    pub(super) resume_state: Option<i16>,
    pub(super) resume_due_at: Option<i64>,
    pub(super) delivered_name: String,
    pub(super) message: OutboxRow,
}

/// Turns claimed rows into leases; deliveries of the same message share it.
pub(super) fn lease(rows: Vec<DueRow>, grant: LeaseGrant) -> Result<Vec<LeasedDelivery>, StoreError> {
    let mut messages: HashMap<Uuid, Arc<Message>> = HashMap::new();
    rows.into_iter()
        .map(|row| {
            let message = match messages.get(&row.message.id) {
                Some(message) => message.clone(),
                None => {
                    let id = row.message.id;
                    let message = Arc::new(Message::from(row.message.into_event()?));
                    messages.insert(id, message.clone());
                    message
                }
            };
            let resume = match (row.resume_state, row.resume_due_at) {
                (Some(state), due_at) => Some((
                    DeliveryState::from_number(state)?,
                    Timestamp::from_micros(due_at.unwrap_or_default()),
                )),
                (None, _) => None,
            };
            Ok(LeasedDelivery {
                endpoint_id: EndpointId(row.endpoint_id),
                lease: AttemptId::new(grant.now),
                lease_until: grant.until,
                due_at: Timestamp::from_micros(row.due_at),
                attempts: row.attempts.unsigned_abs(),
                step: row.step.unsigned_abs(),
                manual: row.manual,
                resume,
                delivered_name: row.delivered_name,
                message,
            })
        })
        .collect()
}

/// Which of `events` are among the ids that the database says it wrote; the second of two equal ids is a duplicate.
pub(super) fn appended(events: &[Event], written: Vec<Uuid>) -> Vec<Appended> {
    let mut written: std::collections::HashSet<Uuid> = written.into_iter().collect();
    events
        .iter()
        .map(|event| {
            if written.remove(&event.id.0) {
                Appended::New
            } else {
                Appended::Duplicate
            }
        })
        .collect()
}

fn raw(text: String) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(text).map_err(|_| StoreError::Unreadable("a payload is not JSON"))
}
