//! A change under way: its transaction, who makes it, when, in which trace, and on which state of things it insists.
//!
//! Every function of this crate that changes something takes a [`Change`] and tells through it what happened:
//! [`Change::emit`] writes the event into the outbox and the entry into the audit trail, [`Change::note`] the entry
//! alone. Both are part of the transaction that holds the change, so there is no change without them and none of them
//! without a change. Events leave in the order in which they were emitted.

use demae_event::{Event, EventId, OrganizationId, Scope, Timestamp, catalogue, id::new_uuid};
use demae_store::{StoreError, Transaction, entity::audit_entry, outbox, repository};
use serde::Serialize;
use serde_json::{json, value::RawValue};
use uuid::Uuid;

use crate::{Actor, DomainError, error::Operation, revision::Expected};

/// See the module's documentation.
#[derive(Debug)]
pub struct Change<'c> {
    pub(crate) transaction: &'c mut Transaction,
    pub(crate) actor: &'c Actor,
    pub(crate) now: Timestamp,
    traceparent: Option<&'c str>,
    expected: Expected,
}

/// What a change is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'s> {
    /// `customer`, `license`, …
    pub resource: &'static str,
    /// Its id.
    pub id: Uuid,
    /// Its slug at that time.
    pub slug: &'s str,
    /// The instance that it belongs to, or that it is: id and slug.
    pub instance: Option<(Uuid, &'s str)>,
}

impl<'s> Subject<'s> {
    /// Something that belongs to no instance.
    pub fn new(resource: &'static str, id: Uuid, slug: &'s str) -> Self {
        Self {
            resource,
            id,
            slug,
            instance: None,
        }
    }
}

impl<'c> Change<'c> {
    /// A change by `actor` at `now`, outside any trace, whatever state things are in.
    pub fn new(transaction: &'c mut Transaction, actor: &'c Actor, now: Timestamp) -> Self {
        Self {
            transaction,
            actor,
            now,
            traceparent: None,
            expected: Expected::Anything,
        }
    }

    /// As part of this W3C trace.
    #[must_use]
    pub fn traced(mut self, traceparent: Option<&'c str>) -> Self {
        self.traceparent = traceparent;
        self
    }

    /// Only if what is changed is as the caller saw it.
    #[must_use]
    pub fn expecting(mut self, expected: Expected) -> Self {
        self.expected = expected;
        self
    }

    /// In which organization it is made.
    pub(crate) fn organization_id(&self) -> OrganizationId {
        self.actor.organization_id
    }

    /// The time of a change of something last changed at `previous`: strictly later, whatever the clock says.
    pub(crate) fn after(&self, previous: i64) -> i64 {
        self.now.as_micros().max(previous.saturating_add(1))
    }

    /// Refuses if the resource, which nobody else can change until the transaction ends, is not as the caller saw it.
    pub(crate) fn check_expected(
        &self,
        operation: Operation,
        current: &impl Serialize,
    ) -> Result<(), DomainError> {
        if self.expected.accepts(current) {
            Ok(())
        } else {
            Err(operation.outdated())
        }
    }

    /// Writes an event of the catalogue and its entry in the audit trail. `data` is the resource as it is shown; the
    /// organization's id is added to it. An event about something inside an instance says in its headers which.
    pub(crate) async fn emit(
        &mut self,
        name: &'static str,
        subject: Subject<'_>,
        data: &impl Serialize,
    ) -> Result<(), StoreError> {
        #[expect(clippy::expect_used, reason = "a test of the catalogue enumerates the names")]
        let definition = catalogue::find(name).expect("a name of the catalogue");
        let data = raw(&WithOrganization {
            resource: data,
            organization_id: self.organization_id(),
        });
        self.write_entry(definition.name, definition.event_type, subject, data.get())
            .await?;
        let headers = subject
            .instance
            .filter(|(instance, _)| *instance != subject.id)
            .map(|(instance, _)| raw(&json!({"instance_id": instance})));
        let event = Event {
            id: EventId::new(self.now),
            // The domains know no applications.
            scope: Scope::default_of(self.organization_id()),
            name: definition.name.to_owned(),
            event_type: definition.event_type.to_owned(),
            data,
            headers,
            traceparent: self.traceparent.map(str::to_owned),
            created_at: self.now,
        };
        outbox::append(self.transaction, &event).await
    }

    /// Writes an entry in the audit trail about a change that has no event. There must be no secret in `data`: whoever
    /// may read the trail reads it.
    pub async fn note(
        &mut self,
        name: &'static str,
        event_type: &'static str,
        subject: Subject<'_>,
        data: &impl Serialize,
    ) -> Result<(), StoreError> {
        self.write_entry(name, event_type, subject, raw(data).get()).await
    }

    async fn write_entry(
        &mut self,
        name: &str,
        event_type: &str,
        subject: Subject<'_>,
        payload: &str,
    ) -> Result<(), StoreError> {
        let entry = audit_entry::Model {
            id: new_uuid(self.now),
            organization_id: self.organization_id().0,
            event_name: name.to_owned(),
            event_type: event_type.to_owned(),
            resource: subject.resource.to_owned(),
            resource_id: subject.id,
            resource_slug: subject.slug.to_owned(),
            instance_id: subject.instance.map(|(id, _)| id),
            instance_slug: subject.instance.map(|(_, slug)| slug.to_owned()),
            payload: payload.to_owned(),
            created_at: self.now.as_micros(),
            created_by_id: self.actor.id,
            created_by_name: Some(self.actor.name.clone()),
        };
        repository::audit::insert(self.transaction, entry).await?;
        Ok(())
    }
}

/// `data` of an event: what is shown, and whose it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WithOrganization<'a, D> {
    #[serde(flatten)]
    resource: &'a D,
    organization_id: OrganizationId,
}

#[expect(
    clippy::expect_used,
    reason = "only maps with keys that are not text cannot be written as JSON"
)]
fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("a model is JSON")
}
