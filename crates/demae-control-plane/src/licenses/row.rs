//! The row of a license: found, written, and shown.

use demae_store::{
    StoreError,
    entity::license::{Entity, Model},
    repository,
};

use super::{
    license::{License, LicenseType, LifecycleState},
    state,
};
use crate::{Change, DomainError, Stamps, change::Subject, error::Operation, resource};

pub(super) const RESOURCE: &str = "license";

/// The row, which nobody else changes until the transaction ends, and which is as the caller saw it.
pub(super) async fn find_for_update(
    change: &mut Change<'_>,
    operation: Operation,
    slug: &str,
) -> Result<Model, DomainError> {
    resource::find_for_update::<Entity, _>(change, operation, RESOURCE, slug, model).await
}

/// Writes a changed row, by whom it was changed, and the event.
pub(super) async fn update(change: &mut Change<'_>, row: Model) -> Result<License, DomainError> {
    let row = resource::changed(change, row);
    repository::resource::update::<Entity>(change.transaction, &row).await?;
    finish(change, "LICENSE_UPDATE", row).await
}

/// Writes the event, and answers the license that it is about.
pub(super) async fn finish(
    change: &mut Change<'_>,
    name: &'static str,
    row: Model,
) -> Result<License, DomainError> {
    let license = model(row)?;
    let subject = Subject::new(RESOURCE, license.id, &license.slug);
    change.emit(name, subject, &license).await?;
    Ok(license)
}

/// As it is shown.
pub(crate) fn model(row: Model) -> Result<License, StoreError> {
    let stamps = Stamps::of(&row);
    let state = state::stored(&row)?;
    let kind = LicenseType::find(&row.kind).ok_or(StoreError::Unreadable("a license's type"))?;
    Ok(License {
        id: row.id,
        name: row.name,
        slug: row.slug,
        description: row.description,
        kind,
        version: row.version.to_string(),
        version_name: row
            .version_name
            .unwrap_or_else(|| format!("Version - {}", row.version)),
        is_default: row.is_default,
        is_active: state == LifecycleState::Published,
        lifecycle_state: state,
        stamps,
    })
}
