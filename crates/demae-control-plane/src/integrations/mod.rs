//! Customers and instances as other systems know them (kaiten.md, sections 2.1 and 3.2).
//!
//! An integration is part of the customer or instance that it belongs to: it is shown with it, and changing one is an
//! update of it, with its event. Each can also be looked at, added, replaced and removed alone, known by its adapter. Whoever
//! insists on the state that they saw (`If-Match`) means that integration then, not all of its owner.

pub(crate) mod integration;
mod owner;

use demae_event::Faults;
use demae_fields::{Input as _, Kind as _};
use demae_store::Store;

use self::owner::Verb;
pub use self::{
    integration::{Integration, MAX_INTEGRATIONS, NewIntegration},
    owner::Owner,
};
use crate::{Actor, Change, DomainError, fields::NAME, model::time};

const RESOURCE: &str = "integration";

/// How another system knows this customer or instance.
pub async fn get(
    store: &Store,
    actor: &Actor,
    owner: &Owner,
    adapter: &str,
) -> Result<Integration, DomainError> {
    let operation = owner.operation(Verb::Get);
    let mut integrations = owner.read(store, actor, operation).await?;
    integrations.remove(adapter).ok_or(operation.not_found(RESOURCE))
}

/// Says how one more system knows it.
pub async fn create(
    change: &mut Change<'_>,
    owner: &Owner,
    adapter: &str,
    new: NewIntegration,
) -> Result<Integration, DomainError> {
    let operation = owner.operation(Verb::Create);
    let mut faults = Faults::new();
    NAME.check(&adapter.to_owned(), "adapter", &mut faults);
    new.check_at("", &mut faults);
    operation.check(faults)?;
    let held = owner.hold(change, operation).await?;
    let mut integrations = held.integrations()?;
    if integrations.contains_key(adapter) {
        let detail = format!("there is an integration with {adapter:?} already");
        return Err(operation.conflict("AlreadyExists", detail));
    }
    if integrations.len() >= MAX_INTEGRATIONS {
        let detail = format!("there are {MAX_INTEGRATIONS} integrations already");
        return Err(operation.conflict("TooManyIntegrations", detail));
    }
    let moment = held.moment(change);
    let made = Integration::new(new, time(moment));
    integrations.insert(adapter.to_owned(), made.clone());
    held.write(change, &integrations).await?;
    Ok(made)
}

/// Replaces how a system knows it: what is left out is cleared.
pub async fn replace(
    change: &mut Change<'_>,
    owner: &Owner,
    adapter: &str,
    new: NewIntegration,
) -> Result<Integration, DomainError> {
    let operation = owner.operation(Verb::Update);
    operation.check(new.check())?;
    let held = owner.hold(change, operation).await?;
    let mut integrations = held.integrations()?;
    let before = integrations.get_mut(adapter);
    let before = before.ok_or(operation.not_found(RESOURCE))?;
    change.check_expected(operation, before)?;
    let moment = held.moment(change);
    *before = Integration::new(new, time(moment));
    let made = before.clone();
    held.write(change, &integrations).await?;
    Ok(made)
}

/// Forgets how a system knows it; answers how it did.
pub async fn delete(
    change: &mut Change<'_>,
    owner: &Owner,
    adapter: &str,
) -> Result<Integration, DomainError> {
    let operation = owner.operation(Verb::Delete);
    let held = owner.hold(change, operation).await?;
    let mut integrations = held.integrations()?;
    let removed = integrations.remove(adapter);
    let removed = removed.ok_or(operation.not_found(RESOURCE))?;
    change.check_expected(operation, &removed)?;
    held.write(change, &integrations).await?;
    Ok(removed)
}
