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

use demae_fields::Input as _;
use demae_store::{
    Store, StoreError,
    entity::license::{Entity, Model},
    repository::{self, Listing, Page},
};
use uuid::Uuid;

use crate::{
    Actor, Change, DomainError,
    error::{MAX_USERS_NAMED, Operation},
    resource,
};
pub use license::{License, LicenseInput, LicenseType, LifecycleState, MAX_VERSION, MAX_VERSION_NAME};
pub use lifecycle::{archive, publish, unarchive};
pub(crate) use row::model;
use row::{RESOURCE, find_for_update, finish, update};

/// Creates a license.
pub async fn create(change: &mut Change<'_>, input: LicenseInput) -> Result<License, DomainError> {
    let operation = Operation("CreateLicense");
    operation.check(input.check())?;
    let state = state::initial(operation, &input)?;
    if input.names_family() {
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
    let row = Model {
        name: input.name.clone(),
        description: input.description,
        kind: input.kind.as_str().to_owned(),
        version,
        version_name: input.version_name,
        is_default: input.is_default,
        lifecycle_state: state.as_str().to_owned(),
        ..resource::new(change, Model::default())
    };
    let names = (input.slug.as_deref(), input.name.as_str());
    let row = resource::insert::<Entity>(change, operation, row, names).await?;
    finish(change, "LICENSE_CREATION", row).await
}

/// The license with this slug.
pub async fn get(store: &Store, actor: &Actor, slug: &str) -> Result<License, DomainError> {
    let not_found = Operation("GetLicense").not_found(RESOURCE);
    Ok(model(
        resource::get::<Entity>(store, actor, not_found, slug).await?,
    )?)
}

/// The licenses of the actor's organization, oldest first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<Uuid>,
) -> Result<Listing<License, Uuid>, DomainError> {
    Ok(resource::list::<Entity>(store, actor, page)
        .await?
        .try_map(model)?)
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
    operation.check(input.check())?;
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
    repository::resource::delete::<Entity>(change.transaction, change.organization_id(), row.id).await?;
    finish(change, "LICENSE_DELETION", row).await
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
        (input.names_family(), "FamilyNotReassignable", "family_id"),
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
