//! Licenses: what is sold (kaiten.md, section 2.3).
//!
//! - A license is a version of what its name says: the server counts versions per name, unless the caller sends one. The
//!   version stays when the license is renamed.
//! - At most one license of an organization is the default. Taking the flag takes it from the previous default, whose own
//!   `LICENSE_UPDATE` comes *before* the event of the one that takes it: whoever applies the events in their order never
//!   sees two.
//! - Only a published license can be the default. States move as `lifecycle` says; the older `isActive` is true exactly
//!   for published ones, and setting it publishes or archives.
//!
//! Whoever writes names, versions or the flag takes turns with the others of the organization first, before any other
//! row is locked ([`repository::licenses::take_turn`]).

mod license;
mod lifecycle;
mod row;
mod state;

use demae_event::{Faults, id::new_uuid};
use demae_store::{
    Store, StoreError,
    entity::license::Model,
    repository::{self, Listing, Page},
};
use uuid::Uuid;

use crate::{
    Actor, Change, DomainError,
    error::{MAX_USERS_NAMED, Operation},
    fields::{check_description, check_name, check_optional},
    slug,
};
pub use license::{License, LicenseInput, LicenseType, LifecycleState};
pub use lifecycle::{archive, publish, unarchive};
pub(crate) use row::model;
use row::{RESOURCE, find_for_update, finish, update};

/// Longest name of a version, in characters.
pub const MAX_VERSION_NAME: usize = 100;
/// The highest version that a caller may send; the lowest is 1.
pub const MAX_VERSION: i64 = 2_147_483_647;

/// Creates a license.
pub async fn create(change: &mut Change<'_>, input: LicenseInput) -> Result<License, DomainError> {
    let operation = Operation("CreateLicense");
    let mut faults = check_fields(&input);
    if let Some(slug) = &input.slug {
        faults.take("slug", slug::check(slug));
    }
    if input
        .version
        .is_some_and(|version| !(1..=MAX_VERSION).contains(&version))
    {
        faults.push("version", format!("must be from 1 to {MAX_VERSION}"));
    }
    operation.check(faults)?;
    let state = state::initial(operation, &input)?;
    if input.names_family {
        return Err(operation.missing("FamilyNotFound", "license family"));
    }
    state::check_default(operation, input.is_default, state)?;
    let organization = change.organization_id();
    repository::licenses::take_turn(change.transaction, organization).await?;
    let version = match input.version {
        Some(version) => {
            check_version_free(change, operation, &input.name, version).await?;
            version
        }
        None => next_version(change, &input.name).await?,
    };
    if input.is_default {
        unset_default(change).await?;
    }
    let candidates = slug::candidates(input.slug.as_deref(), &input.name);
    let mut row = new_row(change, input, version, state);
    for candidate in candidates {
        row.slug = candidate;
        if repository::licenses::insert(change.transaction, row.clone()).await? {
            return finish(change, "LICENSE_CREATION", row).await;
        }
    }
    Err(operation.slug_taken(&row.slug))
}

/// The license with this slug.
pub async fn get(store: &Store, actor: &Actor, slug: &str) -> Result<License, DomainError> {
    let row = repository::licenses::find(store.reader(), actor.organization_id, slug).await?;
    Ok(model(row.ok_or(Operation("GetLicense").not_found(RESOURCE))?)?)
}

/// The licenses of the actor's organization, oldest first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<Uuid>,
) -> Result<Listing<License, Uuid>, DomainError> {
    let listing = repository::licenses::list(store.reader(), actor.organization_id, page).await?;
    Ok(listing.try_map(model)?)
}

/// Replaces a license's fields, but for slug and version, which stay.
pub async fn replace(
    change: &mut Change<'_>,
    slug: &str,
    input: LicenseInput,
) -> Result<License, DomainError> {
    let operation = Operation("UpdateLicense");
    let organization = change.organization_id();
    repository::licenses::take_turn(change.transaction, organization).await?;
    let row = find_for_update(change, operation, slug).await?;
    let state = state::stored(&row)?;
    check_fixed(operation, &row, state, &input)?;
    operation.check(check_fields(&input))?;
    let state = state::moved(state, input.is_active);
    state::check_default(operation, input.is_default, state)?;
    if input.name != row.name {
        check_version_free(change, operation, &input.name, row.version).await?;
    }
    if input.is_default && !row.is_default {
        unset_default(change).await?;
    }
    let row = Model {
        name: input.name,
        description: input.description,
        kind: input.kind.as_str().to_owned(),
        version_name: input.version_name,
        is_default: input.is_default,
        lifecycle_state: state.as_str().to_owned(),
        ..row
    };
    update(change, row).await
}

/// Deletes a license; answers what it was.
pub async fn delete(change: &mut Change<'_>, slug: &str) -> Result<License, DomainError> {
    let operation = Operation("DeleteLicense");
    let row = find_for_update(change, operation, slug).await?;
    check_unused(change, operation, row.id).await?;
    repository::licenses::delete(change.transaction, change.organization_id(), row.id).await?;
    finish(change, "LICENSE_DELETION", row).await
}

fn check_fields(input: &LicenseInput) -> Faults {
    let mut faults = Faults::new();
    check_name(&mut faults, "name", &input.name);
    check_description(&mut faults, "description", &input.description);
    check_optional(
        &mut faults,
        "version_name",
        input.version_name.as_deref(),
        MAX_VERSION_NAME,
    );
    faults
}

/// Refuses to change what a replacement cannot change.
fn check_fixed(
    operation: Operation,
    row: &Model,
    state: LifecycleState,
    input: &LicenseInput,
) -> Result<(), DomainError> {
    let fixed = [
        (
            input.slug.as_ref().is_some_and(|given| *given != row.slug),
            "SlugNotRenameable",
            "slug",
        ),
        (
            input.version.is_some_and(|given| given != row.version),
            "VersionNotSettable",
            "version",
        ),
        (
            input.lifecycle_state.is_some_and(|given| given != state),
            "LifecycleStateNotSettable",
            "lifecycle_state",
        ),
        (input.names_family, "FamilyNotReassignable", "family_id"),
    ];
    match fixed.into_iter().find(|(differs, ..)| *differs) {
        Some((_, reason, location)) => Err(operation.immutable(reason, location)),
        None => Ok(()),
    }
}

async fn check_version_free(
    change: &Change<'_>,
    operation: Operation,
    name: &str,
    version: i64,
) -> Result<(), DomainError> {
    let (connection, organization) = (change.transaction.connection(), change.organization_id());
    if repository::licenses::version_exists(connection, organization, name, version).await? {
        let detail = format!("there is a license {name:?} at version {version} already");
        return Err(operation.conflict("VersionConflict", detail));
    }
    Ok(())
}

/// One more than the highest there is.
async fn next_version(change: &Change<'_>, name: &str) -> Result<i64, StoreError> {
    let (connection, organization) = (change.transaction.connection(), change.organization_id());
    let highest = repository::licenses::highest_version(connection, organization, name).await?;
    Ok(highest.unwrap_or(0) + 1)
}

/// Takes the flag from the default, if there is one.
async fn unset_default(change: &mut Change<'_>) -> Result<(), DomainError> {
    let organization = change.organization_id();
    let previous = repository::licenses::find_default_for_update(change.transaction, organization).await?;
    if let Some(previous) = previous {
        let row = Model {
            is_default: false,
            ..previous
        };
        update(change, row).await?;
    }
    Ok(())
}

/// Refuses while an instance has it or it grants anything.
async fn check_unused(change: &Change<'_>, operation: Operation, id: Uuid) -> Result<(), DomainError> {
    let (connection, organization) = (change.transaction.connection(), change.organization_id());
    let limit = MAX_USERS_NAMED as u64 + 1;
    let instances = repository::licenses::instances_under(connection, organization, id, limit).await?;
    let grants = repository::licenses::entitlements_granted(connection, organization, id, limit).await?;
    if instances.is_empty() && grants.is_empty() {
        return Ok(());
    }
    let users = [("instances", instances), ("grants of entitlements", grants)];
    Err(operation.in_use(RESOURCE, &users))
}

fn new_row(change: &Change<'_>, input: LicenseInput, version: i64, state: LifecycleState) -> Model {
    let (actor, now) = (change.actor, change.now.as_micros());
    Model {
        id: new_uuid(change.now),
        organization_id: actor.organization_id.0,
        slug: String::new(),
        name: input.name,
        description: input.description,
        kind: input.kind.as_str().to_owned(),
        version,
        version_name: input.version_name,
        is_default: input.is_default,
        lifecycle_state: state.as_str().to_owned(),
        created_at: now,
        created_by_id: actor.id,
        created_by_name: Some(actor.name.clone()),
        updated_at: now,
        updated_by_id: actor.id,
        updated_by_name: Some(actor.name.clone()),
    }
}
