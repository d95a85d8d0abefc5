//! The row of a license: found, written, and shown.

use demae_store::{StoreError, entity::license::Model, repository};

use super::{License, LicenseType, LifecycleState, state};
use crate::{Change, DomainError, User, change::Subject, error::Operation, model::time};

pub(super) const RESOURCE: &str = "license";

/// The row, which nobody else changes until the transaction ends, and which is as the caller saw it.
pub(super) async fn find_for_update(
    change: &mut Change<'_>,
    operation: Operation,
    slug: &str,
) -> Result<Model, DomainError> {
    let organization = change.organization_id();
    let row = repository::licenses::find_for_update(change.transaction, organization, slug)
        .await?
        .ok_or(operation.not_found(RESOURCE))?;
    change.check_expected(operation, &model(row.clone())?)?;
    Ok(row)
}

/// Writes a changed row, by whom it was changed, and the event.
pub(super) async fn update(change: &mut Change<'_>, row: Model) -> Result<License, DomainError> {
    let row = Model {
        updated_at: change.after(row.updated_at),
        updated_by_id: change.actor.id,
        updated_by_name: Some(change.actor.name.clone()),
        ..row
    };
    repository::licenses::update(change.transaction, &row).await?;
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
