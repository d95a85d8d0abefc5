//! What has integrations: a customer or an instance, read, held and written alike.

use std::collections::BTreeMap;

use demae_store::{
    Store, StoreError,
    entity::{customer, instance},
    repository::{self, instances::NamedInstance},
};

use super::Integration;
use crate::{
    Actor, Change, DomainError, customers,
    error::Operation,
    instances,
    model::{from_json, json},
    resource,
};

/// Whose integrations are meant, by slug.
#[derive(Debug, Clone)]
pub enum Owner {
    /// A customer's.
    Customer(String),
    /// An instance's.
    Instance(String),
}

/// What is done to one of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb {
    Get,
    Create,
    Update,
    Delete,
}

impl Owner {
    pub(super) fn operation(&self, verb: Verb) -> Operation {
        Operation(match (self, verb) {
            (Self::Customer(_), Verb::Get) => "GetCustomerIntegration",
            (Self::Customer(_), Verb::Create) => "CreateCustomerIntegration",
            (Self::Customer(_), Verb::Update) => "UpdateCustomerIntegration",
            (Self::Customer(_), Verb::Delete) => "DeleteCustomerIntegration",
            (Self::Instance(_), Verb::Get) => "GetInstanceIntegration",
            (Self::Instance(_), Verb::Create) => "CreateInstanceIntegration",
            (Self::Instance(_), Verb::Update) => "UpdateInstanceIntegration",
            (Self::Instance(_), Verb::Delete) => "DeleteInstanceIntegration",
        })
    }

    /// Its integrations, by adapter.
    pub(super) async fn read(
        &self,
        store: &Store,
        actor: &Actor,
        operation: Operation,
    ) -> Result<BTreeMap<String, Integration>, DomainError> {
        let (connection, organization) = (store.reader(), actor.organization_id);
        let held = match self {
            Self::Customer(slug) => {
                repository::resource::find::<customer::Entity>(connection, organization, slug)
                    .await?
                    .map(Held::Customer)
            }
            Self::Instance(slug) => repository::instances::find(connection, organization, slug)
                .await?
                .map(Held::Instance),
        };
        Ok(held.ok_or(self.missing(operation))?.integrations()?)
    }

    /// Holds it, so that nobody else changes it until the transaction ends.
    pub(super) async fn hold(
        &self,
        change: &mut Change<'_>,
        operation: Operation,
    ) -> Result<Held, DomainError> {
        let organization = change.organization_id();
        let held = match self {
            Self::Customer(slug) => repository::resource::find_for_update::<customer::Entity>(
                change.transaction,
                organization,
                slug,
            )
            .await?
            .map(Held::Customer),
            Self::Instance(slug) => {
                repository::instances::find_for_update(change.transaction, organization, slug)
                    .await?
                    .map(Held::Instance)
            }
        };
        held.ok_or(self.missing(operation))
    }

    fn missing(&self, operation: Operation) -> DomainError {
        match self {
            Self::Customer(_) => operation.missing("CustomerNotFound", "customer"),
            Self::Instance(_) => operation.missing("InstanceNotFound", "instance"),
        }
    }
}

/// The row of one.
pub(super) enum Held {
    Customer(customer::Model),
    Instance(NamedInstance),
}

impl Held {
    pub(super) fn integrations(&self) -> Result<BTreeMap<String, Integration>, StoreError> {
        match self {
            Self::Customer(row) => from_json(&row.integrations, "a customer's integrations"),
            Self::Instance(named) => from_json(&named.row.integrations, "an instance's integrations"),
        }
    }

    /// The time of the change, in microseconds: later than what it was last changed at.
    pub(super) fn moment(&self, change: &Change<'_>) -> i64 {
        change.after(match self {
            Self::Customer(row) => row.updated_at,
            Self::Instance(named) => named.row.updated_at,
        })
    }

    /// Writes it with these integrations, and the event of its update.
    pub(super) async fn write(
        self,
        change: &mut Change<'_>,
        integrations: &BTreeMap<String, Integration>,
    ) -> Result<(), DomainError> {
        match self {
            Self::Customer(mut row) => {
                row.integrations = json(integrations);
                let row = resource::changed(change, row);
                repository::resource::update::<customer::Entity>(change.transaction, &row).await?;
                customers::finish(change, "CUSTOMER_UPDATE", row).await?;
            }
            Self::Instance(mut named) => {
                named.row.integrations = json(integrations);
                named.row = resource::changed(change, named.row);
                repository::resource::update::<instance::Entity>(change.transaction, &named.row).await?;
                instances::emit(change, "INSTANCE_UPDATE", &instances::model(named)?).await?;
            }
        }
        Ok(())
    }
}
