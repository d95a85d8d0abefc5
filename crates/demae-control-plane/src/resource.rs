//! What all resources do alike: they are found, listed, named and written, and say who did it.
//!
//! A domain's file holds its fields, its rules and its events. Which event follows from a change stays with the rules.

use demae_event::id::new_uuid;
use demae_store::{
    Store, StoreError,
    entity::resource::{Changeable, Created, Named, Owned, Stamp},
    repository::{self, Listing, Page},
};
use sea_orm::{EntityTrait, IntoActiveModel};
use serde::Serialize;
use uuid::Uuid;

use crate::{Actor, Change, DomainError, error::Operation, slug};

type ActiveModel<R> = <R as EntityTrait>::ActiveModel;

/// The one with this slug.
pub(crate) async fn get<R: Named>(
    store: &Store,
    actor: &Actor,
    not_found: DomainError,
    slug: &str,
) -> Result<R::Model, DomainError> {
    let row = repository::resource::find::<R>(store.reader(), actor.organization_id, slug).await?;
    row.ok_or(not_found)
}

/// Those of the actor's organization, oldest first.
pub(crate) async fn list<R: Owned>(
    store: &Store,
    actor: &Actor,
    page: Page<Uuid>,
) -> Result<Listing<R::Model, Uuid>, StoreError> {
    repository::resource::list::<R>(store.reader(), actor.organization_id, page).await
}

/// The row, which nobody else changes until the transaction ends, and which is as the caller saw it.
pub(crate) async fn find_for_update<R: Named, S: Serialize>(
    change: &mut Change<'_>,
    operation: Operation,
    resource: &'static str,
    slug: &str,
    show: impl FnOnce(R::Model) -> Result<S, StoreError>,
) -> Result<R::Model, DomainError> {
    let organization = change.organization_id();
    let row = repository::resource::find_for_update::<R>(change.transaction, organization, slug)
        .await?
        .ok_or(operation.not_found(resource))?;
    change.check_expected(operation, &show(row.clone())?)?;
    Ok(row)
}

/// Writes a new row under the slug that was asked for, or under the first free one that comes of `words`.
pub(crate) async fn insert<R: Named>(
    change: &mut Change<'_>,
    operation: Operation,
    mut row: R::Model,
    (asked, words): (Option<&str>, &str),
) -> Result<R::Model, DomainError>
where
    R::Model: IntoActiveModel<ActiveModel<R>>,
{
    let mut last = String::new();
    for candidate in slug::candidates(asked, words) {
        last.clone_from(&candidate);
        R::name(&mut row, candidate);
        if repository::resource::insert::<R>(change.transaction, row.clone()).await? {
            return Ok(row);
        }
    }
    Err(operation.slug_taken(&last))
}

/// A new row of a kind that never changes: with an identity, and who created it when.
pub(crate) fn created<M: Created>(change: &Change<'_>, mut row: M) -> M {
    let organization = change.organization_id().0;
    row.create(
        new_uuid(change.now),
        organization,
        &stamp(change, change.now.as_micros()),
    );
    row
}

/// A new row: with an identity, and who created it when.
pub(crate) fn new<M: Changeable>(change: &Change<'_>, row: M) -> M {
    let mut row = created(change, row);
    row.change(stamp(change, change.now.as_micros()));
    row
}

/// A changed row: with who changed it when, which is later than it was.
pub(crate) fn changed<M: Changeable>(change: &Change<'_>, mut row: M) -> M {
    let at = change.after(row.changed().at);
    row.change(stamp(change, at));
    row
}

fn stamp(change: &Change<'_>, at: i64) -> Stamp {
    Stamp {
        at,
        id: change.actor.id,
        name: Some(change.actor.name.clone()),
    }
}
