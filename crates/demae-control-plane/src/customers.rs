//! Customers (kaiten.md, section 2.1).
//!
//! Creation, replacement and deletion each emit their event, whether or not anything changed; its `data` is the customer
//! with the organization's id besides, which the seed's example has and the resource has not.

use std::collections::BTreeMap;

use demae_event::{Faults, Timestamp, id::new_uuid};
use demae_store::{
    Store, StoreError,
    entity::customer::Model,
    repository::{self, Listing, Page},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Actor, Change, DomainError, User,
    change::Subject,
    error::{MAX_USERS_NAMED, Operation},
    fields::{check_name, check_optional},
    integrations::integration::{self, Integration, NewIntegration},
    model::{from_json, json, time},
    slug,
};

/// Longest external customer id, in characters.
pub const MAX_EXTERNAL_ID: usize = 255;
/// Longest domain, in characters: the longest name the DNS can carry.
pub const MAX_DOMAIN: usize = 253;

const RESOURCE: &str = "customer";

/// A customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Customer {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    pub name: String,
    /// Name in URLs; never changes.
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
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: User,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: User,
}

/// What is needed to create a customer.
#[derive(Debug, Clone, Default)]
pub struct CreateCustomer {
    /// Display name.
    pub name: String,
    /// Name in URLs; derived from the name if left out.
    pub slug: Option<String>,
    /// Its id in another system.
    pub external_customer_id: Option<String>,
    /// Its internet domain.
    pub domain: Option<String>,
    /// Where else it is known, by adapter.
    pub integrations: BTreeMap<String, NewIntegration>,
}

/// What a customer is replaced with: what is left out is cleared.
#[derive(Debug, Clone, Default)]
pub struct ReplaceCustomer {
    /// Display name.
    pub name: String,
    /// May be given if it is the same.
    pub slug: Option<String>,
    /// Its id in another system.
    pub external_customer_id: Option<String>,
    /// Its internet domain.
    pub domain: Option<String>,
    /// Whether integrations were given, which is refused.
    pub has_integrations: bool,
}

/// Creates a customer.
pub async fn create(change: &mut Change<'_>, input: CreateCustomer) -> Result<Customer, DomainError> {
    let operation = Operation("CreateCustomer");
    let mut faults = Faults::new();
    check_fields(
        &mut faults,
        &input.name,
        input.external_customer_id.as_deref(),
        input.domain.as_deref(),
    );
    if let Some(slug) = &input.slug {
        faults.take("slug", slug::check(slug));
    }
    integration::check(&mut faults, &input.integrations);
    operation.check(faults)?;
    let row = insert(change, operation, input).await?;
    finish(change, "CUSTOMER_CREATION", row).await
}

/// The customer with this slug.
pub async fn get(store: &Store, actor: &Actor, slug: &str) -> Result<Customer, DomainError> {
    let row = repository::customers::find(store.reader(), actor.organization_id, slug).await?;
    Ok(model(row.ok_or(Operation("GetCustomer").not_found(RESOURCE))?)?)
}

/// The customers of the actor's organization, oldest first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<Uuid>,
) -> Result<Listing<Customer, Uuid>, DomainError> {
    let listing = repository::customers::list(store.reader(), actor.organization_id, page).await?;
    Ok(listing.try_map(model)?)
}

/// Replaces a customer's fields. The slug never changes, nor do integrations this way: see [`integrations`].
pub async fn replace(
    change: &mut Change<'_>,
    slug: &str,
    input: ReplaceCustomer,
) -> Result<Customer, DomainError> {
    let operation = Operation("UpdateCustomer");
    let row = find_for_update(change, operation, slug).await?;
    if input.slug.is_some_and(|given| given != row.slug) {
        return Err(operation.immutable("SlugNotRenameable", "slug"));
    }
    if input.has_integrations {
        return Err(operation.immutable("IntegrationsNotSettable", "integrations"));
    }
    let mut faults = Faults::new();
    check_fields(
        &mut faults,
        &input.name,
        input.external_customer_id.as_deref(),
        input.domain.as_deref(),
    );
    operation.check(faults)?;
    let row = Model {
        name: input.name,
        external_customer_id: input.external_customer_id,
        domain: input.domain,
        updated_at: change.after(row.updated_at),
        updated_by_id: change.actor.id,
        updated_by_name: Some(change.actor.name.clone()),
        ..row
    };
    repository::customers::update(change.transaction, &row).await?;
    finish(change, "CUSTOMER_UPDATE", row).await
}

/// Deletes a customer that no instance is for; answers what it was.
pub async fn delete(change: &mut Change<'_>, slug: &str) -> Result<Customer, DomainError> {
    let operation = Operation("DeleteCustomer");
    let row = find_for_update(change, operation, slug).await?;
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
    repository::customers::delete(change.transaction, change.organization_id(), row.id).await?;
    finish(change, "CUSTOMER_DELETION", row).await
}

/// The row, which nobody else changes until the transaction ends, and which is as the caller saw it.
async fn find_for_update(
    change: &mut Change<'_>,
    operation: Operation,
    slug: &str,
) -> Result<Model, DomainError> {
    let row = repository::customers::find_for_update(change.transaction, change.actor.organization_id, slug)
        .await?
        .ok_or(operation.not_found(RESOURCE))?;
    change.check_expected(operation, &model(row.clone())?)?;
    Ok(row)
}

fn check_fields(faults: &mut Faults, name: &str, external_id: Option<&str>, domain: Option<&str>) {
    check_name(faults, "name", name);
    check_optional(faults, "external_customer_id", external_id, MAX_EXTERNAL_ID);
    check_optional(faults, "domain", domain, MAX_DOMAIN);
}

async fn insert(
    change: &mut Change<'_>,
    operation: Operation,
    input: CreateCustomer,
) -> Result<Model, DomainError> {
    let (actor, now) = (change.actor, change.now);
    let integrations = integration::made(input.integrations, now);
    let candidates = slug::candidates(input.slug.as_deref(), &input.name);
    let mut row = Model {
        id: new_uuid(now),
        organization_id: actor.organization_id.0,
        slug: String::new(),
        name: input.name,
        external_customer_id: input.external_customer_id,
        domain: input.domain,
        integrations: json(&integrations),
        created_at: now.as_micros(),
        created_by_id: actor.id,
        created_by_name: Some(actor.name.clone()),
        updated_at: now.as_micros(),
        updated_by_id: actor.id,
        updated_by_name: Some(actor.name.clone()),
    };
    for candidate in candidates {
        row.slug = candidate;
        if repository::customers::insert(change.transaction, row.clone()).await? {
            return Ok(row);
        }
    }
    Err(operation.slug_taken(&row.slug))
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
    let integrations = from_json(&row.integrations, "a customer's integrations")?;
    Ok(Customer {
        id: row.id,
        name: row.name,
        slug: row.slug,
        external_customer_id: row.external_customer_id,
        domain: row.domain,
        integrations,
        created_at: time(row.created_at),
        created_by: User {
            id: row.created_by_id,
            name: row.created_by_name,
        },
        updated_at: time(row.updated_at),
        updated_by: User {
            id: row.updated_by_id,
            name: row.updated_by_name,
        },
    })
}
