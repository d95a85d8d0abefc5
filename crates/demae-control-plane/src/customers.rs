//! Customers (kaiten.md, section 2.1).
//!
//! Creation, replacement and deletion each emit their event, whether or not anything changed; its `data` is the customer
//! with the organization's id besides, which the seed's example has and the resource has not.

use std::collections::BTreeMap;

use demae_fields::{Input, Shown};
use demae_store::{
    Store, StoreError,
    entity::customer::{Entity, Model},
    repository::{self, Listing, Page},
};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    Actor, Change, DomainError, Stamps,
    change::Subject,
    error::{MAX_USERS_NAMED, Operation},
    fields::{NAME, OwnSlug, Slug, Text},
    integrations::integration::{self, Adapters, Integration, NewIntegration},
    model::{from_json, json},
    resource,
};

/// Longest external customer id, in characters.
pub const MAX_EXTERNAL_ID: usize = 255;
/// Longest domain, in characters: the longest name the DNS can carry.
pub const MAX_DOMAIN: usize = 253;

const RESOURCE: &str = "customer";

/// A customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Shown)]
#[serde(rename_all = "camelCase")]
pub struct Customer {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    #[shown(example = "Test Webhook Customer")]
    pub name: String,
    /// Name in URLs; never changes.
    #[shown(example = "test-webhook-customer")]
    pub slug: String,
    /// Its id in another system; not unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_customer_id: Option<String>,
    /// Its internet domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Where else it is known, by adapter.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub integrations: BTreeMap<String, Integration>,
    /// Who created it, and who changed it last, and when.
    #[serde(flatten)]
    pub stamps: Stamps,
}

/// A new customer.
#[derive(Debug, Clone, Default, Input)]
#[input(example = json!({"name": "Test Webhook Customer"}))]
pub struct CreateCustomer {
    /// Display name.
    #[input(kind = NAME)]
    pub name: String,
    /// Name in URLs; derived from the name if left out.
    #[input(kind = Slug)]
    pub slug: Option<String>,
    /// Its id in another system; not unique.
    #[input(kind = Text(MAX_EXTERNAL_ID))]
    pub external_customer_id: Option<String>,
    /// Its internet domain.
    #[input(kind = Text(MAX_DOMAIN))]
    pub domain: Option<String>,
    /// Where else it is known, by adapter; at most 50.
    #[input(kind = Adapters, default)]
    pub integrations: BTreeMap<String, NewIntegration>,
}

/// What a customer is replaced with: what is left out is cleared, but for the slug and the integrations, which stay.
#[derive(Debug, Clone, Default, Input)]
#[input(example = json!({"name": "Test Webhook Customer"}))]
pub struct ReplaceCustomer {
    /// Display name.
    #[input(kind = NAME)]
    pub name: String,
    /// May be given if it is the same; another one is refused.
    #[input(kind = OwnSlug)]
    pub slug: Option<String>,
    /// Its id in another system; not unique.
    #[input(kind = Text(MAX_EXTERNAL_ID))]
    pub external_customer_id: Option<String>,
    /// Its internet domain.
    #[input(kind = Text(MAX_DOMAIN))]
    pub domain: Option<String>,
    /// Cannot be set this way: anything but null is refused.
    pub integrations: Option<Map<String, Value>>,
}

/// Creates a customer.
pub async fn create(change: &mut Change<'_>, input: CreateCustomer) -> Result<Customer, DomainError> {
    let operation = Operation("CreateCustomer");
    operation.check(input.check())?;
    let row = Model {
        name: input.name.clone(),
        external_customer_id: input.external_customer_id,
        domain: input.domain,
        integrations: json(&integration::made(input.integrations, change.now)),
        ..resource::new(change, Model::default())
    };
    let names = (input.slug.as_deref(), input.name.as_str());
    let row = resource::insert::<Entity>(change, operation, row, names).await?;
    finish(change, "CUSTOMER_CREATION", row).await
}

/// The customer with this slug.
pub async fn get(store: &Store, actor: &Actor, slug: &str) -> Result<Customer, DomainError> {
    let not_found = Operation("GetCustomer").not_found(RESOURCE);
    Ok(model(
        resource::get::<Entity>(store, actor, not_found, slug).await?,
    )?)
}

/// The customers of the actor's organization, oldest first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<Uuid>,
) -> Result<Listing<Customer, Uuid>, DomainError> {
    Ok(resource::list::<Entity>(store, actor, page)
        .await?
        .try_map(model)?)
}

/// Replaces a customer's fields. The slug never changes, nor do integrations this way: see [`integrations`].
pub async fn replace(
    change: &mut Change<'_>,
    slug: &str,
    input: ReplaceCustomer,
) -> Result<Customer, DomainError> {
    let operation = Operation("UpdateCustomer");
    let row = resource::find_for_update::<Entity, _>(change, operation, RESOURCE, slug, model).await?;
    if input.slug.as_ref().is_some_and(|given| *given != row.slug) {
        return Err(operation.immutable("SlugNotRenameable", "slug"));
    }
    if input.integrations.is_some() {
        return Err(operation.immutable("IntegrationsNotSettable", "integrations"));
    }
    operation.check(input.check())?;
    let row = Model {
        name: input.name,
        external_customer_id: input.external_customer_id,
        domain: input.domain,
        ..resource::changed(change, row)
    };
    repository::resource::update::<Entity>(change.transaction, &row).await?;
    finish(change, "CUSTOMER_UPDATE", row).await
}

/// Deletes a customer that no instance is for; answers what it was.
pub async fn delete(change: &mut Change<'_>, slug: &str) -> Result<Customer, DomainError> {
    let operation = Operation("DeleteCustomer");
    let row = resource::find_for_update::<Entity, _>(change, operation, RESOURCE, slug, model).await?;
    let instances = repository::instances::of_customer(
        change.transaction.connection(),
        change.organization_id(),
        row.id,
        MAX_USERS_NAMED as u64 + 1,
    );
    let instances = instances.await?;
    if !instances.is_empty() {
        return Err(operation.in_use(RESOURCE, &[("instances", instances)]));
    }
    repository::resource::delete::<Entity>(change.transaction, change.organization_id(), row.id).await?;
    finish(change, "CUSTOMER_DELETION", row).await
}

/// Writes the event, and answers the customer that it is about.
pub(crate) async fn finish(
    change: &mut Change<'_>,
    name: &'static str,
    row: Model,
) -> Result<Customer, DomainError> {
    let customer = model(row)?;
    let subject = Subject::new(RESOURCE, customer.id, &customer.slug);
    change.emit(name, subject, &customer).await?;
    Ok(customer)
}

fn model(row: Model) -> Result<Customer, StoreError> {
    let stamps = Stamps::of(&row);
    let integrations = from_json(&row.integrations, "a customer's integrations")?;
    Ok(Customer {
        id: row.id,
        name: row.name,
        slug: row.slug,
        external_customer_id: row.external_customer_id,
        domain: row.domain,
        integrations,
        stamps,
    })
}
