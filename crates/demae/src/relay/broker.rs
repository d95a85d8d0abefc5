//! A broker between relay and workers: the relay's events go to it ([`ToBroker`]), and workers take them from it
//! ([`FromBroker`]).
//!
//! Both ends keep the contract of what they stand for: an event is taken out of the outbox after the broker confirmed
//! it, and out of the broker's queue after it was routed durably. In between it may be repeated, and its id tells.

use async_trait::async_trait;
use bytes::Bytes;
use demae_broker::{Broker, Consumer, Delivery, Message, Publisher, Rejection, Tag, rabbitmq::RabbitMq};
use demae_cdc::{
    envelope::{self, Envelope, EnvelopeKey},
    mapping,
};
use demae_delivery::engine::{EventSource, SourceError};
use demae_event::{Event, EventId, OrganizationId, catalogue};

use super::forwarder::{Destination, NotTaken};
use crate::config::BrokerSettings;

/// Bytes of events that are encoded and published before the next are encoded.
const PART_BYTES: usize = 2 * 1024 * 1024;

/// RabbitMQ as the settings name it. Does no I/O.
pub(crate) fn rabbitmq(settings: &BrokerSettings) -> RabbitMq {
    RabbitMq::new(settings.url.clone(), demae_broker::rabbitmq::Topology::default())
}

/// The broker as the keeper of events.
pub(super) struct ToBroker {
    publisher: Box<dyn Publisher>,
    key: Option<EnvelopeKey>,
}

impl ToBroker {
    pub(super) fn new(broker: &dyn Broker, settings: &BrokerSettings) -> Self {
        Self {
            publisher: broker.publisher(),
            key: settings.key.clone(),
        }
    }

    fn encode(&self, event: &Event) -> Bytes {
        let document = envelope::encode(event);
        match &self.key {
            None => document,
            Some(key) => key.sign(&document),
        }
    }
}

#[async_trait]
impl Destination for ToBroker {
    fn name(&self) -> &'static str {
        "broker"
    }

    async fn send(&mut self, events: &[Event]) -> Result<(), NotTaken> {
        for part in parts(events) {
            let messages = part
                .iter()
                .map(|event| Message::new(event.id.to_string(), self.encode(event)))
                .collect::<Result<Vec<_>, _>>()?;
            self.publisher.publish(&messages).await?;
        }
        Ok(())
    }
}

/// The events in order, in parts that end once they hold [`PART_BYTES`].
fn parts(events: &[Event]) -> impl Iterator<Item = &[Event]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let length = rest
            .iter()
            .take_while(|event| {
                let fits = bytes < PART_BYTES;
                bytes += event.size();
                fits
            })
            .count();
        let part = rest.split_off(..length)?;
        (!part.is_empty()).then_some(part)
    })
}

/// The broker's queue as a source of events.
///
/// What can never become an event, or may not be believed, becomes a dead letter of the broker. Everything else that is no event (heartbeats,
/// deletions) is acknowledged at once.
pub(super) struct FromBroker {
    consumer: Box<dyn Consumer>,
    /// Offered and not acknowledged, in order. Kept as bytes, which cost nothing to keep.
    offered: Vec<Offered>,
    /// Nothing to be done about these but to say so to the broker.
    forgotten: Vec<Tag>,
    unusable: Vec<Tag>,
    trust: Trust,
}

/// What publishers may say.
enum Trust {
    /// Anything: who may publish is the broker's permission alone.
    Everybody,
    /// Anything, if a relay with this key signed it. Others may speak for the organization only, if there is one.
    Signed(EnvelopeKey, Option<OrganizationId>),
}

impl Trust {
    fn new(settings: &BrokerSettings) -> Self {
        match settings.key.clone() {
            None => Self::Everybody,
            Some(key) => Self::Signed(key, settings.organization),
        }
    }

    /// What a message holds, or why it cannot be believed. The same for the same bytes.
    fn read(&self, body: &[u8]) -> Result<Envelope, String> {
        let envelope = envelope::decode(body).map_err(|error| error.to_string())?;
        let (Self::Signed(key, organization), Envelope::Event(event)) = (self, &envelope) else {
            return Ok(envelope);
        };
        if key.has_signed(body) {
            return Ok(envelope);
        }
        match organization {
            None => Err("no relay with this broker_key signed it".to_owned()),
            Some(organization) => of_others(event.clone(), *organization).map(Envelope::Event),
        }
    }
}

/// An event of somebody else who may speak for this organization.
fn of_others(event: Event, organization: OrganizationId) -> Result<Event, String> {
    if event.scope.organization != organization {
        return Err(format!(
            "it is not signed and of the organization {}, not of {organization} (broker_organization)",
            event.scope.organization
        ));
    }
    let reserved = [&event.name, &event.event_type]
        .into_iter()
        .find(|text| catalogue::is_reserved(text));
    if let Some(text) = reserved {
        return Err(mapping::reserved(text));
    }
    Ok(Event {
        id: EventId::of_source(event.scope, "broker", &event.id.to_string()),
        ..event
    })
}

struct Offered {
    id: EventId,
    tag: Tag,
    body: Bytes,
}

impl FromBroker {
    pub(super) fn new(broker: &dyn Broker, settings: &BrokerSettings) -> Self {
        Self {
            consumer: broker.consumer(settings.prefetch),
            offered: Vec::new(),
            forgotten: Vec::new(),
            unusable: Vec::new(),
            trust: Trust::new(settings),
        }
    }

    /// Reads a delivery; nothing is lost if the caller is dropped afterwards.
    fn read(&mut self, delivery: Delivery) -> Option<Event> {
        let Delivery { tag, message, .. } = delivery;
        match self.trust.read(message.body()) {
            Ok(Envelope::Event(event)) => {
                self.offered.push(Offered {
                    id: event.id,
                    tag,
                    body: message.body().clone(),
                });
                Some(event)
            }
            Ok(Envelope::Heartbeat | Envelope::Ignored) => {
                self.forgotten.push(tag);
                None
            }
            Err(reason) => {
                tracing::warn!(
                    reason,
                    message = message.id(),
                    "a message from the broker cannot be taken: now a dead letter"
                );
                self.unusable.push(tag);
                None
            }
        }
    }

    /// Tells the broker what has become of messages that are no events.
    async fn settle(&mut self) -> Result<(), SourceError> {
        if !self.forgotten.is_empty() {
            let done = self.consumer.acknowledge(&self.forgotten).await;
            // After a failure they come again under other tags.
            self.forgotten.clear();
            done.map_err(SourceError::other)?;
        }
        if !self.unusable.is_empty() {
            let done = self.consumer.reject(&self.unusable, Rejection::DeadLetter).await;
            self.unusable.clear();
            done.map_err(SourceError::other)?;
        }
        Ok(())
    }

    /// What was offered before, read again.
    fn again(&self, limit: usize) -> Vec<Event> {
        self.offered
            .iter()
            .take(limit)
            .filter_map(|offered| match self.trust.read(&offered.body) {
                Ok(Envelope::Event(event)) => Some(event),
                _ => None,
            })
            .collect()
    }
}

#[async_trait]
impl EventSource for FromBroker {
    async fn next(&mut self, limit: u32) -> Result<Vec<Event>, SourceError> {
        let limit = limit as usize;
        if !self.offered.is_empty() {
            return Ok(self.again(limit));
        }
        loop {
            self.settle().await?;
            let deliveries = self.consumer.next(limit).await.map_err(SourceError::other)?;
            let events: Vec<Event> = deliveries
                .into_iter()
                .filter_map(|delivery| self.read(delivery))
                .collect();
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    async fn acknowledge(&mut self, events: &[EventId]) -> Result<(), SourceError> {
        let named: std::collections::HashSet<&EventId> = events.iter().collect();
        let (routed, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.offered)
            .into_iter()
            .partition(|offered| named.contains(&offered.id));
        // Also after a failure: they are routed, and the broker delivers them once more.
        self.offered = left;
        let tags: Vec<Tag> = routed.iter().map(|offered| offered.tag).collect();
        self.consumer
            .acknowledge(&tags)
            .await
            .map_err(SourceError::other)?;
        self.settle().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use demae_broker::{DeadLetter, Verdict, in_process::InProcess};
    use demae_event::{OrganizationId, Scope, Timestamp, id::new_uuid};
    use serde_json::value::RawValue;
    use tokio::time::timeout;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

    fn event(number: u32) -> Event {
        Event {
            id: EventId::new(NOW),
            scope: Scope::default_of(OrganizationId(new_uuid(NOW))),
            name: format!("EVENT_{number}"),
            event_type: "com.example.event".to_owned(),
            data: RawValue::from_string(format!("{{\"number\":{number}}}")).unwrap(),
            headers: None,
            traceparent: None,
            created_at: NOW,
        }
    }

    fn settings() -> BrokerSettings {
        BrokerSettings {
            url: "amqp://unused".parse().unwrap(),
            prefetch: 100,
            key: None,
            organization: None,
        }
    }

    fn source(broker: &InProcess) -> FromBroker {
        FromBroker::new(broker, &settings())
    }

    fn relay(broker: &InProcess) -> ToBroker {
        ToBroker::new(broker, &settings())
    }

    async fn dead_letters(broker: &InProcess) -> Vec<Bytes> {
        let mut letters = Vec::new();
        let look = &mut |letter: &DeadLetter| {
            letters.push(letter.message.body().clone());
            Verdict::Keep
        };
        broker.dead_letters().examine(10, look).await.unwrap();
        letters
    }

    fn names(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.name.as_str()).collect()
    }

    async fn publish(broker: &InProcess, bodies: &[&str]) {
        let messages: Vec<Message> = bodies
            .iter()
            .map(|body| Message::new("", (*body).to_owned()).unwrap())
            .collect();
        broker.publisher().publish(&messages).await.unwrap();
    }

    #[tokio::test]
    async fn events_go_through_and_stay_until_they_are_acknowledged() {
        let broker = InProcess::new(1_000, 3);
        let events: Vec<Event> = (0..5).map(event).collect();
        assert!(relay(&broker).send(&events).await.is_ok());
        let mut worker = source(&broker);
        let offered = worker.next(3).await.unwrap();
        assert_eq!(names(&offered), ["EVENT_0", "EVENT_1", "EVENT_2"]);
        worker.acknowledge(&[offered[1].id]).await.unwrap();
        // Routing failed for the others: they are offered again, before anything new.
        assert_eq!(names(&worker.next(10).await.unwrap()), ["EVENT_0", "EVENT_2"]);
        drop(worker);
        let mut successor = source(&broker);
        let left = successor.next(10).await.unwrap();
        assert_eq!(names(&left), ["EVENT_0", "EVENT_2", "EVENT_3", "EVENT_4"]);
        let ids: Vec<EventId> = left.iter().map(|event| event.id).collect();
        successor.acknowledge(&ids).await.unwrap();
        drop(successor);
        let empty = timeout(Duration::from_millis(50), async {
            source(&broker).next(10).await.map(|_| ())
        })
        .await;
        assert!(empty.is_err(), "something was left");
    }

    #[test]
    fn events_are_published_in_parts_of_bounded_size() {
        let of_size = |bytes: usize| Event {
            data: RawValue::from_string(format!("{{\"text\":\"{}\"}}", "x".repeat(bytes))).unwrap(),
            ..event(0)
        };
        let lengths = |sizes: &[usize]| {
            let events: Vec<Event> = sizes.iter().map(|bytes| of_size(*bytes)).collect();
            let parts: Vec<usize> = parts(&events).map(<[Event]>::len).collect();
            assert_eq!(parts.iter().sum::<usize>(), events.len());
            parts
        };
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&[10; 500]), [500]);
        assert_eq!(lengths(&[PART_BYTES / 2; 5]), [2, 2, 1]);
        assert_eq!(lengths(&[PART_BYTES * 2, 10, PART_BYTES * 2, 10]), [1, 2, 1]);
    }

    #[tokio::test]
    async fn heartbeats_are_forgotten_and_poison_becomes_a_dead_letter() {
        let broker = InProcess::new(1_000, 3);
        publish(
            &broker,
            &[r#"{"type":"cloud.kaiten.cdc.heartbeat","data":{}}"#, "poison"],
        )
        .await;
        assert!(relay(&broker).send(&[event(0)]).await.is_ok());
        let mut worker = source(&broker);
        let offered = worker.next(10).await.unwrap();
        assert_eq!(names(&offered), ["EVENT_0"]);
        worker.acknowledge(&[offered[0].id]).await.unwrap();
        assert_eq!(dead_letters(&broker).await, ["poison"]);
    }

    #[tokio::test]
    async fn with_a_key_only_what_a_relay_signed_is_believed() {
        let broker = InProcess::new(1_000, 3);
        let key = |text: &str| Some(EnvelopeKey::new(&text.repeat(32)).unwrap());
        let keyed = BrokerSettings {
            key: key("a"),
            ..settings()
        };
        let another = BrokerSettings {
            key: key("b"),
            ..settings()
        };
        assert!(relay(&broker).send(&[event(0)]).await.is_ok());
        assert!(ToBroker::new(&broker, &another).send(&[event(1)]).await.is_ok());
        let engines_own = Event {
            event_type: format!("{}disabled", catalogue::OPERATIONAL_TYPE_PREFIX),
            ..event(2)
        };
        let signed = [engines_own];
        assert!(ToBroker::new(&broker, &keyed).send(&signed).await.is_ok());
        let mut worker = FromBroker::new(&broker, &keyed);
        let offered = worker.next(10).await.unwrap();
        assert_eq!(names(&offered), ["EVENT_2"]);
        assert_eq!(names(&worker.next(10).await.unwrap()), ["EVENT_2"]);
        worker.acknowledge(&[signed[0].id]).await.unwrap();
        assert_eq!(dead_letters(&broker).await.len(), 2);
        // Without a key the signature is passed over.
        assert!(ToBroker::new(&broker, &keyed).send(&signed).await.is_ok());
        drop(worker);
        assert_eq!(names(&source(&broker).next(10).await.unwrap()), ["EVENT_2"]);
    }

    #[tokio::test]
    async fn others_may_speak_for_their_organization_and_not_as_the_engine() {
        let broker = InProcess::new(1_000, 3);
        let (theirs, not_theirs) = (event(0), event(1));
        let engines_own = Event {
            scope: theirs.scope,
            event_type: format!("{}disabled", catalogue::OPERATIONAL_TYPE_PREFIX),
            ..event(2)
        };
        let pinned = BrokerSettings {
            key: Some(EnvelopeKey::new(&"a".repeat(32)).unwrap()),
            organization: Some(theirs.scope.organization),
            ..settings()
        };
        let all = [theirs.clone(), not_theirs, engines_own];
        assert!(relay(&broker).send(&all).await.is_ok());
        let mut worker = FromBroker::new(&broker, &pinned);
        let offered = worker.next(10).await.unwrap();
        assert_eq!(names(&offered), ["EVENT_0"]);
        let id = EventId::of_source(theirs.scope, "broker", &theirs.id.to_string());
        assert_eq!(offered[0].id, id, "an ID counts within its application");
        worker.acknowledge(&[id]).await.unwrap();
        assert_eq!(dead_letters(&broker).await.len(), 2);
    }
}
