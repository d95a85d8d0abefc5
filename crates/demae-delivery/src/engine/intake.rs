//! Holds the events that were read and not routed yet, and hands them out by organization, in turns.
//!
//! # Guarantees
//! - Each organization's events are handed out in the order in which they were added.
//! - While several organizations have events here, each gets [`TURN`] units in its turn; a unit is a delivery, or
//!   [`UNIT_BYTES`] of an event. An event is indivisible: what it costs more is taken off the next turns.
//! - One part, which becomes one statement, ends with the event that brings it to [`FAN_OUT_LIMIT`] deliveries or
//!   [`STATEMENT_BYTES`].
//!
//! # Design
//! An event costs as many rows as its organization has webhooks for it: one organization's hundred events may cost as much
//! as a hundred thousand of another. So turns are counted in rows and bytes, not in events, and a part is bounded by them:
//! what arrives meanwhile waits for one part, not for all that was read before it.

use std::collections::{HashMap, HashSet, VecDeque};

use demae_event::{Event, OrganizationId};
use demae_store::engine::{RoutedMessage, STATEMENT_BYTES};

use super::source::BATCH_BYTES;

/// Deliveries written by one statement; the last event may exceed them.
const FAN_OUT_LIMIT: usize = 4_096;
/// What an organization gets in its turn.
const TURN: i64 = 512;
/// Bytes of an event that count as much as a delivery.
const UNIT_BYTES: usize = 512;
/// Bytes of events beyond which no other organizations' events should be added.
const INTAKE_BYTES: usize = 2 * BATCH_BYTES;

/// The events, by organization.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// No line is empty.
    lines: HashMap<OrganizationId, Line>,
    /// The organizations that have a line, each once.
    turns: VecDeque<OrganizationId>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Line {
    events: VecDeque<Event>,
    /// Units that are left of its turn; below 0 after an event that cost more.
    credit: i64,
}

impl Intake {
    /// Adds events behind those of their organizations.
    pub(super) fn add(&mut self, events: Vec<Event>) {
        for event in events {
            self.bytes += event.size();
            let line = self.lines.entry(event.scope.organization).or_default();
            if line.events.is_empty() {
                self.turns.push_back(event.scope.organization);
            }
            line.events.push_back(event);
        }
    }

    /// Whose events are here.
    pub(super) fn organizations(&self) -> HashSet<OrganizationId> {
        self.lines.keys().copied().collect()
    }

    /// Whether more events than were read at first should be added.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < INTAKE_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// The next part, planned by `plan`; empty only if there is nothing here.
    pub(super) fn take(&mut self, mut plan: impl FnMut(Event) -> RoutedMessage) -> Vec<RoutedMessage> {
        let mut part = Vec::new();
        let (mut deliveries, mut bytes) = (0, 0);
        let is_full = |deliveries, bytes| deliveries >= FAN_OUT_LIMIT || bytes >= STATEMENT_BYTES;
        while !is_full(deliveries, bytes)
            && let Some(organization) = self.turns.pop_front()
        {
            let Some(line) = self.lines.get_mut(&organization) else {
                continue;
            };
            if line.credit <= 0 {
                line.credit += TURN;
            }
            while !is_full(deliveries, bytes)
                && line.credit > 0
                && let Some(event) = line.events.pop_front()
            {
                let size = event.size();
                self.bytes -= size;
                let routed = plan(event);
                line.credit -= (1 + routed.deliveries.len() + size / UNIT_BYTES) as i64;
                deliveries += routed.deliveries.len();
                bytes += size;
                part.push(routed);
            }
            if line.events.is_empty() {
                self.lines.remove(&organization);
            } else if line.credit > 0 {
                // The part is full in the middle of its turn.
                self.turns.push_front(organization);
            } else {
                self.turns.push_back(organization);
            }
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use demae_event::{EndpointId, EventId, Scope, Timestamp};
    use demae_store::engine::{Message, NewDelivery};
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::*;

    const WIDE: u128 = 1;
    const NARROW: u128 = 2;
    /// Webhooks of the organization [`WIDE`].
    const WEBHOOKS: usize = 500;

    fn event(organization: u128, number: u128, bytes: usize) -> Event {
        Event {
            id: EventId(Uuid::from_u128(number)),
            scope: Scope::default_of(OrganizationId(Uuid::from_u128(organization))),
            name: String::new(),
            event_type: String::new(),
            data: RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap(),
            headers: None,
            traceparent: None,
            created_at: Timestamp::default(),
        }
    }

    fn events(organization: u128, count: u128, bytes: usize) -> Vec<Event> {
        (0..count)
            .map(|number| event(organization, number, bytes))
            .collect()
    }

    /// Routes to every webhook of the organization.
    fn plan(event: Event) -> RoutedMessage {
        let webhooks = if event.scope.organization.0.as_u128() == WIDE {
            WEBHOOKS
        } else {
            1
        };
        let delivery = || NewDelivery {
            endpoint_id: EndpointId(Uuid::nil()),
            delivered_name: String::new(),
            lease: None,
        };
        RoutedMessage {
            deliveries: std::iter::repeat_with(delivery).take(webhooks).collect(),
            message: Arc::new(Message::from(event)),
        }
    }

    /// The numbers of an organization's events in a part.
    fn of(part: &[RoutedMessage], organization: u128) -> Vec<u128> {
        part.iter()
            .filter(|routed| routed.message.scope.organization.0.as_u128() == organization)
            .map(|routed| routed.message.event_id.0.as_u128())
            .collect()
    }

    #[test]
    fn a_part_is_bounded_by_its_deliveries_and_its_bytes() {
        let mut intake = Intake::default();
        intake.add(events(WIDE, 20, 1));
        let parts: Vec<usize> = (0..3).map(|_| intake.take(plan).len()).collect();
        assert_eq!(parts, [9, 9, 2], "of {WEBHOOKS} deliveries each");
        assert!(intake.is_empty() && intake.take(plan).is_empty());

        intake.add(events(NARROW, 5, STATEMENT_BYTES / 2));
        let parts: Vec<usize> = (0..3).map(|_| intake.take(plan).len()).collect();
        assert_eq!(parts, [2, 2, 1]);
    }

    #[test]
    fn there_is_no_room_beyond_the_bytes() {
        let mut intake = Intake::default();
        intake.add(events(NARROW, 4, INTAKE_BYTES / 4 - 2));
        assert!(!intake.has_room());
        while !intake.is_empty() {
            intake.take(plan);
            assert!(intake.has_room());
        }
        assert_eq!(intake.bytes, 0);
    }

    #[test]
    fn events_behind_a_wide_backlog_are_in_the_next_part() {
        let mut intake = Intake::default();
        intake.add(events(WIDE, 512, 1));
        assert_eq!(intake.take(plan).len(), 9);
        intake.add(events(NARROW, 10, 1));
        let part = intake.take(plan);
        assert_eq!(of(&part, NARROW), (0..10).collect::<Vec<_>>());
        assert_eq!(
            of(&part, WIDE),
            (9..18).collect::<Vec<_>>(),
            "no room is left empty"
        );
    }

    #[test]
    fn turns_are_counted_in_deliveries_and_each_organization_keeps_its_order() {
        let mut intake = Intake::default();
        intake.add(events(WIDE, 100, 1));
        intake.add(events(NARROW, 100_000, 1));
        let (mut wide, mut narrow) = (Vec::new(), Vec::new());
        while wide.len() < 100 {
            let part = intake.take(plan);
            wide.extend(of(&part, WIDE));
            narrow.extend(of(&part, NARROW));
        }
        assert_eq!(wide, (0..100).collect::<Vec<_>>());
        assert_eq!(narrow, (0..narrow.len() as u128).collect::<Vec<_>>());
        // An event of the one costs 501 units, one of the other 2.
        let ratio = narrow.len() * 2 / wide.len();
        assert!((450..=560).contains(&ratio), "{ratio} units for 501");
    }

    #[test]
    fn bytes_count_as_deliveries_do() {
        let mut intake = Intake::default();
        intake.add(events(3, 100, 100_000));
        intake.add(events(NARROW, 1_000, 1));
        let part = intake.take(plan);
        let large = of(&part, 3).len();
        let before: Vec<u128> = of(&part, NARROW);
        assert!(
            before.len() == 1_000,
            "{} behind {large} large ones",
            before.len()
        );
    }

    #[test]
    fn whose_events_are_here_is_known() {
        let mut intake = Intake::default();
        intake.add(events(WIDE, 10, 1));
        intake.add(events(NARROW, 1, 1));
        assert_eq!(intake.organizations().len(), 2);
        intake.take(plan);
        let left: Vec<u128> = intake.organizations().iter().map(|id| id.0.as_u128()).collect();
        assert_eq!(left, [WIDE]);
    }
}
