//! Grants: what a license grants of an entitlement (kaiten.md, section 2.4).
//!
//! A grant is known by its license and its entitlement; its own id is only its place in lists. Its value fits the type of
//! the entitlement, or is of any kind if the entitlement has none. The license itself does not change with its grants, so
//! no `LICENSE_UPDATE` accompanies their events.

use demae_event::{Faults, Timestamp};
use demae_store::{
    Store, StoreError,
    entity::{
        entitlement, license,
        license_entitlement::{Entity, Model},
        resource::{Changeable as _, Created as _},
    },
    repository::{self, Listing, Page},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Actor, Amount, Change, DomainError, EntitlementType, EntitlementValue, User, change::Subject,
    error::Operation, model::time, resource,
};

/// The largest tolerated overage, in percent.
pub const MAX_OVERAGE_PERCENT: i32 = 1_000_000;
/// The overage of a grant without a limit.
pub const UNLIMITED_OVERAGE: i32 = -1;

const RESOURCE: &str = "license entitlement";

/// A grant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LicenseEntitlement {
    /// The license that grants.
    pub license_id: Uuid,
    /// Its slug.
    pub license_slug: String,
    /// The name of the entitlement that is granted.
    pub entitlement_name: String,
    /// Its slug.
    pub entitlement_slug: String,
    /// Its type, or that of the value if it has none.
    pub entitlement_type: EntitlementType,
    /// What is granted.
    pub value: EntitlementValue,
    /// How far usage may pass the value: -1 without limit (exactly if the value is unlimited), 0 not at all, otherwise
    /// percent; nothing for what is no number.
    pub limit_cap_exceeded_overage_percent: Option<i32>,
    /// Always empty: there are no groups here.
    pub entitlement_groups: [(); 0],
    /// When it was granted.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: User,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: User,
}

/// What is to be granted.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantInput {
    /// The value.
    pub value: EntitlementValue,
    /// If left out: -1 for an unlimited number, 0 for another one.
    pub overage_percent: Option<i32>,
}

/// Grants an entitlement.
pub async fn assign(
    change: &mut Change<'_>,
    license_slug: &str,
    entitlement_slug: &str,
    input: GrantInput,
) -> Result<LicenseEntitlement, DomainError> {
    let operation = Operation("AssignLicenseEntitlement");
    let license = find_license(change, operation, license_slug).await?;
    let entitlement = find_entitlement(change, entitlement_slug)
        .await?
        .ok_or(operation.missing("EntitlementNotFound", "entitlement"))?;
    let overage = check(operation, &entitlement, &input)?;
    let row = Model {
        license_id: license.id,
        entitlement_id: entitlement.id,
        value: input.value.to_column(),
        limit_cap_exceeded_overage_percent: overage,
        ..resource::new(change, Model::default())
    };
    if !repository::resource::insert::<Entity>(change.transaction, row.clone()).await? {
        let detail = format!("the license {license_slug} grants {entitlement_slug} already");
        return Err(operation.conflict("AlreadyAssigned", detail));
    }
    finish(
        change,
        "LICENSE_ENTITLEMENT_ASSIGNMENT",
        &license,
        &entitlement,
        row,
    )
    .await
}

/// What a license grants of an entitlement.
pub async fn get(
    store: &Store,
    actor: &Actor,
    license_slug: &str,
    entitlement_slug: &str,
) -> Result<LicenseEntitlement, DomainError> {
    let operation = Operation("GetLicenseEntitlement");
    let (reader, organization) = (store.reader(), actor.organization_id);
    let missing = operation.missing("LicenseNotFound", "license");
    let license = resource::get::<license::Entity>(store, actor, missing, license_slug).await?;
    let not_found = operation.not_found(RESOURCE);
    let entitlement = resource::get::<entitlement::Entity>(store, actor, not_found, entitlement_slug).await?;
    let row = repository::license_entitlements::find(reader, organization, license.id, entitlement.id)
        .await?
        .ok_or(operation.not_found(RESOURCE))?;
    Ok(model(&license, &entitlement, &row)?)
}

/// What a license grants, in the order in which it was granted.
pub async fn list(
    store: &Store,
    actor: &Actor,
    license_slug: &str,
    page: Page<Uuid>,
) -> Result<Listing<LicenseEntitlement, Uuid>, DomainError> {
    let operation = Operation("ListLicenseEntitlements");
    let (reader, organization) = (store.reader(), actor.organization_id);
    let missing = operation.missing("LicenseNotFound", "license");
    let license = resource::get::<license::Entity>(store, actor, missing, license_slug).await?;
    let listing = repository::license_entitlements::list(reader, organization, license.id, page).await?;
    Ok(listing.try_map(|(row, entitlement)| model(&license, &entitlement, &row))?)
}

/// Replaces what is granted.
pub async fn replace(
    change: &mut Change<'_>,
    license_slug: &str,
    entitlement_slug: &str,
    input: GrantInput,
) -> Result<LicenseEntitlement, DomainError> {
    let operation = Operation("UpdateLicenseEntitlement");
    let (license, entitlement, row) =
        find_for_update(change, operation, license_slug, entitlement_slug).await?;
    let row = Model {
        limit_cap_exceeded_overage_percent: check(operation, &entitlement, &input)?,
        value: input.value.to_column(),
        ..resource::changed(change, row)
    };
    repository::resource::update::<Entity>(change.transaction, &row).await?;
    finish(change, "LICENSE_ENTITLEMENT_UPDATE", &license, &entitlement, row).await
}

/// Grants an entitlement no longer; answers what the grant was.
pub async fn unassign(
    change: &mut Change<'_>,
    license_slug: &str,
    entitlement_slug: &str,
) -> Result<LicenseEntitlement, DomainError> {
    let operation = Operation("UnassignLicenseEntitlement");
    let (license, entitlement, row) =
        find_for_update(change, operation, license_slug, entitlement_slug).await?;
    repository::resource::delete::<Entity>(change.transaction, change.organization_id(), row.id).await?;
    finish(
        change,
        "LICENSE_ENTITLEMENT_UNASSIGNMENT",
        &license,
        &entitlement,
        row,
    )
    .await
}

/// The license, which nobody changes or deletes until the transaction ends.
async fn find_license(
    change: &mut Change<'_>,
    operation: Operation,
    slug: &str,
) -> Result<license::Model, DomainError> {
    let organization = change.organization_id();
    let license =
        repository::resource::find_shared::<license::Entity>(change.transaction, organization, slug).await?;
    license.ok_or(operation.missing("LicenseNotFound", "license"))
}

/// The entitlement, which nobody changes or deletes until the transaction ends.
async fn find_entitlement(
    change: &mut Change<'_>,
    slug: &str,
) -> Result<Option<entitlement::Model>, StoreError> {
    let organization = change.organization_id();
    repository::resource::find_shared::<entitlement::Entity>(change.transaction, organization, slug).await
}

/// The grant, which nobody else changes until the transaction ends, and which is as the caller saw it.
async fn find_for_update(
    change: &mut Change<'_>,
    operation: Operation,
    license_slug: &str,
    entitlement_slug: &str,
) -> Result<(license::Model, entitlement::Model, Model), DomainError> {
    let license = find_license(change, operation, license_slug).await?;
    let entitlement = find_entitlement(change, entitlement_slug)
        .await?
        .ok_or(operation.not_found(RESOURCE))?;
    let organization = change.organization_id();
    let row = repository::license_entitlements::find_for_update(
        change.transaction,
        organization,
        license.id,
        entitlement.id,
    );
    let row = row.await?.ok_or(operation.not_found(RESOURCE))?;
    change.check_expected(operation, &model(&license, &entitlement, &row)?)?;
    Ok((license, entitlement, row))
}

/// Refuses a value that does not fit the entitlement; answers the overage that is to be written.
fn check(
    operation: Operation,
    entitlement: &entitlement::Model,
    input: &GrantInput,
) -> Result<Option<i32>, DomainError> {
    let mut faults = Faults::new();
    input.value.check_granted(&mut faults, "value");
    let fits = input.value.fits().as_str();
    if let Some(kind) = entitlement.kind.as_deref()
        && kind != fits
    {
        faults.push(
            "value.type",
            format!("fits an entitlement of the type {fits}, and this one's is {kind}"),
        );
    }
    let overage = overage(&mut faults, &input.value, input.overage_percent);
    operation.check(faults)?;
    Ok(overage)
}

/// What was asked for, or what follows from the value.
fn overage(faults: &mut Faults, value: &EntitlementValue, asked: Option<i32>) -> Option<i32> {
    let (default, allowed, fault) = match value.amount() {
        None => {
            if asked.is_some() {
                faults.push("limit_cap_exceeded_overage_percent", "is only for numbers");
            }
            return None;
        }
        Some(Amount::UNLIMITED) => (
            UNLIMITED_OVERAGE,
            UNLIMITED_OVERAGE..=UNLIMITED_OVERAGE,
            "must be -1 for an unlimited value",
        ),
        Some(_) => (
            0,
            0..=MAX_OVERAGE_PERCENT,
            "must be from 0 to 1000000 for a limited value",
        ),
    };
    let overage = asked.unwrap_or(default);
    if !allowed.contains(&overage) {
        faults.push("limit_cap_exceeded_overage_percent", fault);
    }
    Some(overage)
}

/// Writes the event, and answers the grant that it is about.
async fn finish(
    change: &mut Change<'_>,
    name: &'static str,
    license: &license::Model,
    entitlement: &entitlement::Model,
    row: Model,
) -> Result<LicenseEntitlement, DomainError> {
    let id = row.id;
    let grant = model(license, entitlement, &row)?;
    let slug = format!("{}/{}", license.slug, entitlement.slug);
    change
        .emit(name, Subject::new("license_entitlement", id, &slug), &grant)
        .await?;
    Ok(grant)
}

fn model(
    license: &license::Model,
    entitlement: &entitlement::Model,
    row: &Model,
) -> Result<LicenseEntitlement, StoreError> {
    let (created, changed) = (row.created(), row.changed());
    let value = EntitlementValue::from_column(&row.value)?;
    Ok(LicenseEntitlement {
        license_id: license.id,
        license_slug: license.slug.clone(),
        entitlement_name: entitlement.name.clone(),
        entitlement_slug: entitlement.slug.clone(),
        entitlement_type: value.fits(),
        value,
        limit_cap_exceeded_overage_percent: row.limit_cap_exceeded_overage_percent,
        entitlement_groups: [],
        created_at: time(created.at),
        created_by: created.into(),
        updated_at: time(changed.at),
        updated_by: changed.into(),
    })
}
