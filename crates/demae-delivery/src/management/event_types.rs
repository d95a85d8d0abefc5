//! An organization's own event types.
//!
//! Checking a schema is work that its author decides about ([`schema`]). Therefore an event type is checked first, where
//! that work is allowed to take its time ([`EventTypeInput::check_new`]), and written in a transaction afterwards: only a
//! [`CheckedEventType`] can be written.

use demae_event::{Faults, OrganizationId, Timestamp, catalogue, subscription::check_name};
use demae_store::{
    StoreError, Transaction,
    entity::event_type::Model,
    repository::{self, Listing, Page},
};
use serde_json::Value;

use super::{
    Management, ManagementError,
    error::Operation,
    schema,
    validation::{MAX_DESCRIPTION, check_text},
};

const RESOURCE: &str = "event type";
const CREATE: Operation = Operation("CreateEventType");
const UPDATE: Operation = Operation("UpdateEventType");

/// An own event type.
#[derive(Debug, Clone, PartialEq)]
pub struct EventType {
    /// `ORDER_SHIPPED`.
    pub name: String,
    /// `shop.order.shipped`.
    pub event_type: String,
    /// When it is emitted.
    pub description: String,
    /// JSON Schema of `data`.
    pub schema: Option<Value>,
    /// A believable `data`.
    pub example: Option<Value>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What an event type is registered with, or replaced with.
#[derive(Debug, Clone, Default)]
pub struct EventTypeInput {
    /// `ORDER_SHIPPED`.
    pub name: String,
    /// `shop.order.shipped`; from the name (`order.shipped`) if left out.
    pub event_type: Option<String>,
    /// When it is emitted.
    pub description: Option<String>,
    /// JSON Schema of `data`, complete in itself. Documentation: events are not checked against it.
    pub schema: Option<Value>,
    /// A believable `data`, valid by the schema.
    pub example: Option<Value>,
}

/// An event type that was found right.
#[derive(Debug, Clone)]
pub struct CheckedEventType {
    name: String,
    event_type: String,
    description: String,
    schema: Option<String>,
    example: Option<String>,
}

impl EventTypeInput {
    /// Checks an event type that is to be registered. Must run outside transactions and runtime threads.
    pub fn check_new(self) -> Result<CheckedEventType, ManagementError> {
        check(CREATE, self)
    }

    /// Checks what an event type is to be replaced with. Must run outside transactions and runtime threads.
    pub fn check_replacement(self) -> Result<CheckedEventType, ManagementError> {
        check(UPDATE, self)
    }
}

impl CheckedEventType {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn row(self, organization: OrganizationId, now: Timestamp) -> Model {
        Model {
            organization_id: organization.0,
            name: self.name,
            event_type: self.event_type,
            description: self.description,
            schema: self.schema,
            example: self.example,
            created_at: now.as_micros(),
            updated_at: now.as_micros(),
        }
    }
}

impl Management {
    /// Registers an event type.
    pub async fn create_event_type(
        &self,
        transaction: &mut Transaction,
        organization: OrganizationId,
        checked: CheckedEventType,
        now: Timestamp,
    ) -> Result<EventType, ManagementError> {
        let operation = CREATE;
        let row = checked.row(organization, now);
        let limit = self.rules.event_types_per_organization;
        // Two requests at once may pass the limit by one; nothing depends on it being exact.
        if repository::event_types::count(transaction.connection(), organization).await? >= u64::from(limit) {
            let detail = format!("an organization may have at most {limit} event types");
            return Err(operation.conflict("LimitReached", detail));
        }
        if !repository::event_types::insert(transaction, row.clone()).await? {
            return Err(operation.conflict("NameTaken", format!("{} is registered already", row.name)));
        }
        Ok(model(row)?)
    }

    /// One event type.
    pub async fn event_type(
        &self,
        organization: OrganizationId,
        name: &str,
    ) -> Result<EventType, ManagementError> {
        let row = repository::event_types::find(self.store.reader(), organization, name).await?;
        Ok(model(row.ok_or(Operation("GetEventType").not_found(RESOURCE))?)?)
    }

    /// One event type, which nobody else changes until the transaction ends; none if it is not there.
    pub async fn hold_event_type(
        &self,
        transaction: &Transaction,
        organization: OrganizationId,
        name: &str,
    ) -> Result<Option<EventType>, ManagementError> {
        let row = repository::event_types::find_for_update(transaction, organization, name).await?;
        Ok(row.map(model).transpose()?)
    }

    /// The event types of an organization, by name.
    pub async fn event_types(
        &self,
        organization: OrganizationId,
        page: Page<String>,
    ) -> Result<Listing<EventType, String>, ManagementError> {
        let listing = repository::event_types::list(self.store.reader(), organization, page).await?;
        Ok(listing.try_map(model)?)
    }

    /// How many of its event types an organization may have.
    pub(super) fn own_types(&self) -> u64 {
        u64::from(self.rules.event_types_per_organization)
    }

    /// Replaces an event type. Its name never changes.
    pub async fn replace_event_type(
        &self,
        transaction: &mut Transaction,
        organization: OrganizationId,
        checked: CheckedEventType,
        now: Timestamp,
    ) -> Result<EventType, ManagementError> {
        let before =
            repository::event_types::find(transaction.connection(), organization, &checked.name).await?;
        let before = before.ok_or(UPDATE.not_found(RESOURCE))?;
        let row = Model {
            created_at: before.created_at,
            ..checked.row(organization, now)
        };
        repository::event_types::update(transaction, &row).await?;
        Ok(model(row)?)
    }

    /// Removes an event type. Endpoints keep their subscriptions to it.
    pub async fn delete_event_type(
        &self,
        transaction: &mut Transaction,
        organization: OrganizationId,
        name: &str,
    ) -> Result<(), ManagementError> {
        if repository::event_types::delete(transaction, organization, name).await? {
            Ok(())
        } else {
            Err(Operation("DeleteEventType").not_found(RESOURCE))
        }
    }
}

fn check(operation: Operation, input: EventTypeInput) -> Result<CheckedEventType, ManagementError> {
    let mut faults = Faults::new();
    check_own_name(&mut faults, "name", &input.name);
    let event_type = input
        .event_type
        .unwrap_or_else(|| input.name.to_lowercase().replace('_', "."));
    check_own_name(&mut faults, "type", &event_type);
    if event_type.starts_with(catalogue::OPERATIONAL_TYPE_PREFIX) {
        faults.push_value(
            "type",
            "is reserved for the server's own events",
            event_type.as_str(),
        );
    }
    let description = input.description.unwrap_or_default();
    check_text(&mut faults, "description", &description, MAX_DESCRIPTION);
    let (schema, example) = (input.schema.as_ref(), input.example.as_ref());
    for (at, document) in [("schema", schema), ("example", example)] {
        if document.is_some_and(|document| !document.is_object()) {
            faults.push(at, "must be an object");
        }
    }
    let is_object = |document: &&Value| document.is_object();
    schema::check(&mut faults, schema.filter(is_object), example.filter(is_object));
    operation.check(faults)?;
    Ok(CheckedEventType {
        name: input.name,
        event_type,
        description,
        schema: schema.map(Value::to_string),
        example: example.map(Value::to_string),
    })
}

fn check_own_name(faults: &mut Faults, location: &str, text: &str) {
    if let Err(error) = check_name(text) {
        faults.push_value(location, error.to_string(), text);
    } else if catalogue::find(text).is_some() {
        faults.push_value(location, "belongs to an event of the catalogue", text);
    }
}

fn model(row: Model) -> Result<EventType, StoreError> {
    let parse = |text: Option<String>| {
        text.map(|text| {
            serde_json::from_str(&text).map_err(|_| StoreError::Unreadable("an event type's schema"))
        })
        .transpose()
    };
    Ok(EventType {
        name: row.name,
        event_type: row.event_type,
        description: row.description,
        schema: parse(row.schema)?,
        example: parse(row.example)?,
        created_at: Timestamp::from_micros(row.created_at),
        updated_at: Timestamp::from_micros(row.updated_at),
    })
}
