//! Entitlements: what can be granted (kaiten.md, section 2.5).
//!
//! Type, aggregation method, meter type, reset period and reset anchor are fixed: once set they stay, and a replacement
//! may repeat them or leave them out, which means the same. What was left open on creation can be set later, as long as
//! no license grants the entitlement and no instance has used it. Everything else a replacement clears if it leaves it
//! out. Which fields go together is decided in `rules`.

mod entitlement;
mod rules;

use demae_store::{
    Store, StoreError,
    entity::entitlement::{Entity, Model},
    repository::{self, Listing, Page},
};
use uuid::Uuid;

use crate::{
    Actor, Change, DomainError, Stamps,
    change::Subject,
    error::{MAX_USERS_NAMED, Operation},
    resource,
};
pub use entitlement::{
    AggregationMethod, Entitlement, EntitlementInput, MAX_ICON, MAX_UNIT, MeterType, ResetAnchor, ResetPeriod,
};
use rules::Fixed;

const RESOURCE: &str = "entitlement";

/// Creates an entitlement.
pub async fn create(change: &mut Change<'_>, input: EntitlementInput) -> Result<Entitlement, DomainError> {
    let operation = Operation("CreateEntitlement");
    let fixed = Fixed::of_input(&input).with_default_method();
    operation.check(rules::check(&input, fixed))?;
    let (asked, name) = (input.slug.clone(), input.name.clone());
    let row = filled(resource::new(change, Model::default()), input, fixed);
    let names = (asked.as_deref(), name.as_str());
    let row = resource::insert::<Entity>(change, operation, row, names).await?;
    finish(change, "ENTITLEMENT_CREATION", row).await
}

/// The entitlement with this slug.
pub async fn get(store: &Store, actor: &Actor, slug: &str) -> Result<Entitlement, DomainError> {
    let not_found = Operation("GetEntitlement").not_found(RESOURCE);
    Ok(model(
        resource::get::<Entity>(store, actor, not_found, slug).await?,
    )?)
}

/// The entitlements of the actor's organization, oldest first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<Uuid>,
) -> Result<Listing<Entitlement, Uuid>, DomainError> {
    Ok(resource::list::<Entity>(store, actor, page)
        .await?
        .try_map(model)?)
}

/// Replaces an entitlement's fields, but for the slug and what is fixed.
pub async fn replace(
    change: &mut Change<'_>,
    slug: &str,
    input: EntitlementInput,
) -> Result<Entitlement, DomainError> {
    let operation = Operation("UpdateEntitlement");
    let row = resource::find_for_update::<Entity, _>(change, operation, RESOURCE, slug, model).await?;
    if input.slug.as_ref().is_some_and(|given| *given != row.slug) {
        return Err(operation.immutable("SlugNotRenameable", "slug"));
    }
    let stored = Fixed::of_row(&row)?;
    let fixed = stored
        .or(Fixed::of_input(&input), operation)?
        .with_default_method();
    operation.check(rules::check(&input, fixed))?;
    if fixed != stored {
        check_unused(change, operation, row.id).await?;
    }
    let row = filled(resource::changed(change, row), input, fixed);
    repository::resource::update::<Entity>(change.transaction, &row).await?;
    finish(change, "ENTITLEMENT_UPDATE", row).await
}

/// Deletes an entitlement; answers what it was.
pub async fn delete(change: &mut Change<'_>, slug: &str) -> Result<Entitlement, DomainError> {
    let operation = Operation("DeleteEntitlement");
    let row = resource::find_for_update::<Entity, _>(change, operation, RESOURCE, slug, model).await?;
    check_unused(change, operation, row.id).await?;
    repository::resource::delete::<Entity>(change.transaction, change.organization_id(), row.id).await?;
    finish(change, "ENTITLEMENT_DELETION", row).await
}

/// Refuses while a license grants it or an instance has used it.
async fn check_unused(change: &Change<'_>, operation: Operation, id: Uuid) -> Result<(), DomainError> {
    let (connection, organization) = (change.transaction.connection(), change.organization_id());
    let limit = MAX_USERS_NAMED as u64 + 1;
    let licenses = repository::entitlements::licenses_granting(connection, organization, id, limit).await?;
    let instances = repository::entitlements::instances_using(connection, organization, id, limit).await?;
    if licenses.is_empty() && instances.is_empty() {
        return Ok(());
    }
    let users = [("licenses", licenses), ("usage of instances", instances)];
    Err(operation.in_use(RESOURCE, &users))
}

/// The row with what the caller gave.
fn filled(row: Model, input: EntitlementInput, fixed: Fixed) -> Model {
    Model {
        name: input.name,
        description: input.description,
        kind: fixed.kind.map(|word| word.as_str().to_owned()),
        aggregation_method: fixed.aggregation_method.map(|word| word.as_str().to_owned()),
        meter_type: fixed.meter_type.map(|word| word.as_str().to_owned()),
        reset_period: fixed.reset_period.map(|word| word.as_str().to_owned()),
        reset_anchor: fixed.reset_anchor.map(|word| word.as_str().to_owned()),
        warning_threshold_percent: input.warning_threshold_percent,
        unit_singular: input.unit_singular,
        unit_plural: input.unit_plural,
        sale_unit_singular: input.sale_unit_singular,
        sale_unit_plural: input.sale_unit_plural,
        sale_unit_factor: input.sale_unit_factor.map(|factor| factor.to_string()),
        user_facing: input.user_facing,
        display_order: input.display_order,
        icon: input.icon,
        ..row
    }
}

/// Writes the event, and answers the entitlement that it is about.
async fn finish(change: &mut Change<'_>, name: &'static str, row: Model) -> Result<Entitlement, DomainError> {
    let entitlement = model(row)?;
    let subject = Subject::new(RESOURCE, entitlement.id, &entitlement.slug);
    change.emit(name, subject, &entitlement).await?;
    Ok(entitlement)
}

/// As it is shown.
pub(crate) fn model(row: Model) -> Result<Entitlement, StoreError> {
    let stamps = Stamps::of(&row);
    let fixed = Fixed::of_row(&row)?;
    let factor = row.sale_unit_factor.map(|text| text.parse());
    let factor = factor
        .transpose()
        .map_err(|_| StoreError::Unreadable("an entitlement's sale unit factor"))?;
    Ok(Entitlement {
        id: row.id,
        name: row.name,
        slug: row.slug,
        description: row.description,
        kind: fixed.kind,
        aggregation_method: fixed.aggregation_method,
        meter_type: fixed.meter_type,
        reset_period: fixed.reset_period,
        reset_anchor: fixed.reset_anchor,
        warning_threshold_percent: row.warning_threshold_percent,
        unit_singular: row.unit_singular,
        unit_plural: row.unit_plural,
        sale_unit_singular: row.sale_unit_singular,
        sale_unit_plural: row.sale_unit_plural,
        sale_unit_factor: factor,
        user_facing: row.user_facing,
        display_order: row.display_order,
        icon: row.icon,
        entitlement_groups: [],
        stamps,
    })
}
