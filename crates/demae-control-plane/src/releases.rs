//! Releases: versions of the product (kaiten.md, section 2.8).
//!
//! What a release is never changes: there is no operation that updates one, and what it consists of is said when it is
//! created. (Its components are shown as they are now; see [`components`](crate::components).) One that was deployed to
//! a zone that still exists cannot be deleted: the zone's history names it.

use demae_event::Timestamp;
use demae_fields::{Input, List, Natural, Shown};
use demae_store::{
    Store,
    entity::{
        component,
        release::{Entity, Model},
        resource::Created as _,
    },
    repository::{self, Listing, Page},
};
use sea_orm::ConnectionTrait;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Actor, Change, DomainError, User,
    change::Subject,
    components::{self, Component, MAX_VERSION},
    error::{MAX_USERS_NAMED, Operation},
    fields::{Description, Slug, Text},
    model::time,
    resource,
};

/// A release consists of at most so many components.
pub const MAX_COMPONENTS: usize = 100;

const RESOURCE: &str = "release";

/// A version of the product. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Shown)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Its identity.
    pub id: Uuid,
    /// Its version, unique in its organization.
    #[shown(example = "2026.2.0")]
    pub version: String,
    /// Name in URLs.
    #[shown(example = "2026-2-0")]
    pub slug: String,
    /// What is new in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it consists of, in the order in which it was said, each as it is now.
    pub components: Vec<Component>,
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: User,
}

/// A new release.
#[derive(Debug, Clone, Default, Input)]
#[input(example = json!({"version": "2026.2.0"}))]
pub struct CreateRelease {
    /// Its version, unique in its organization.
    #[input(kind = Text(MAX_VERSION))]
    pub version: String,
    /// Name in URLs; derived from the version if left out.
    #[input(kind = Slug)]
    pub slug: Option<String>,
    /// What is new in it.
    #[input(kind = Description)]
    pub description: Option<String>,
    /// What it consists of; each once.
    #[input(kind = List(0..=MAX_COMPONENTS, Natural), default)]
    pub component_ids: Vec<Uuid>,
}

/// Creates a release.
pub async fn create(change: &mut Change<'_>, input: CreateRelease) -> Result<Release, DomainError> {
    let operation = Operation("CreateRelease");
    check(operation, &input)?;
    let components = find_components(change, operation, &input.component_ids).await?;
    refuse_taken_version(change, operation, &input.version).await?;
    let row = insert(change, operation, &input).await?;
    repository::releases::insert_components(change.transaction, &row, &input.component_ids).await?;
    finish(change, "RELEASE_CREATION", model(row, components)).await
}

/// The release with this slug.
pub async fn get(store: &Store, actor: &Actor, slug: &str) -> Result<Release, DomainError> {
    let connection = store.reader();
    let not_found = Operation("GetRelease").not_found(RESOURCE);
    let row = resource::get::<Entity>(store, actor, not_found, slug).await?;
    with_components(connection, actor, row).await
}

/// The releases of the actor's organization, oldest first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<Uuid>,
) -> Result<Listing<Release, Uuid>, DomainError> {
    let (connection, organization) = (store.reader(), actor.organization_id);
    let listing = resource::list::<Entity>(store, actor, page).await?;
    let ids: Vec<Uuid> = listing.items.iter().map(|row| row.id).collect();
    let components = repository::releases::components_of(connection, organization, &ids).await?;
    // Both are in the order of the releases' ids.
    let mut components = components.into_iter().peekable();
    Ok(listing.map(|row| {
        let mut own = Vec::new();
        while let Some((_, component)) = components.next_if(|(release, _)| *release == row.id) {
            own.push(components::model(component));
        }
        model(row, own)
    }))
}

/// Deletes a release that no zone has had; answers what it was.
pub async fn delete(change: &mut Change<'_>, slug: &str) -> Result<Release, DomainError> {
    let operation = Operation("DeleteRelease");
    let organization = change.organization_id();
    let row = repository::resource::find_for_update::<Entity>(change.transaction, organization, slug)
        .await?
        .ok_or(operation.not_found(RESOURCE))?;
    let connection = change.transaction.connection();
    let limit = MAX_USERS_NAMED as u64 + 1;
    let zones = repository::releases::zones_with(connection, organization, row.id, limit).await?;
    let release = with_components(connection, change.actor, row).await?;
    change.check_expected(operation, &release)?;
    if !zones.is_empty() {
        return Err(operation.in_use(RESOURCE, &[("the history of deployment zones", zones)]));
    }
    repository::resource::delete::<Entity>(change.transaction, organization, release.id).await?;
    finish(change, "RELEASE_DELETION", release).await
}

fn check(operation: Operation, input: &CreateRelease) -> Result<(), DomainError> {
    let mut faults = input.check();
    let ids = &input.component_ids;
    if ids.len() > MAX_COMPONENTS {
        let message = format!("must not have more than {MAX_COMPONENTS} items");
        faults.push("component_ids", message);
    } else {
        for (place, id) in ids
            .iter()
            .enumerate()
            .filter(|(place, id)| ids[..*place].contains(id))
        {
            let location = format!("component_ids[{place}]");
            faults.push_value(location, "must not be repeated", id.to_string());
        }
    }
    operation.check(faults)
}

/// The components with these ids, in this order, which nobody deletes until the transaction ends.
async fn find_components(
    change: &mut Change<'_>,
    operation: Operation,
    ids: &[Uuid],
) -> Result<Vec<Component>, DomainError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let organization = change.organization_id();
    let mut rows =
        repository::resource::find_all_shared::<component::Entity>(change.transaction, organization, ids)
            .await?;
    if rows.len() < ids.len() {
        return Err(operation.missing("ComponentNotFound", "component"));
    }
    rows.sort_by_key(|row| ids.iter().position(|id| *id == row.id));
    Ok(rows.into_iter().map(components::model).collect())
}

async fn refuse_taken_version(
    change: &Change<'_>,
    operation: Operation,
    version: &str,
) -> Result<(), DomainError> {
    let connection = change.transaction.connection();
    if repository::releases::is_version_taken(connection, change.organization_id(), version).await? {
        let detail = format!("there is a release of the version {version:?} already");
        return Err(operation.conflict("VersionConflict", detail));
    }
    Ok(())
}

async fn insert(
    change: &mut Change<'_>,
    operation: Operation,
    input: &CreateRelease,
) -> Result<Model, DomainError> {
    let row = Model {
        version: input.version.clone(),
        description: input.description.clone(),
        ..resource::created(change, Model::default())
    };
    let names = (input.slug.as_deref(), input.version.as_str());
    let inserted = resource::insert::<Entity>(change, operation, row, names).await;
    if let Err(DomainError::Conflict { .. }) = inserted {
        // Which of the two is taken: the version may be since it was looked up.
        refuse_taken_version(change, operation, &input.version).await?;
    }
    inserted
}

async fn with_components(
    connection: &impl ConnectionTrait,
    actor: &Actor,
    row: Model,
) -> Result<Release, DomainError> {
    let components =
        repository::releases::components_of(connection, actor.organization_id, &[row.id]).await?;
    let components = components
        .into_iter()
        .map(|(_, component)| components::model(component));
    Ok(model(row, components.collect()))
}

/// Writes the event, and answers the release that it is about.
async fn finish(
    change: &mut Change<'_>,
    name: &'static str,
    release: Release,
) -> Result<Release, DomainError> {
    let subject = Subject::new(RESOURCE, release.id, &release.slug);
    change.emit(name, subject, &release).await?;
    Ok(release)
}

fn model(row: Model, components: Vec<Component>) -> Release {
    let created = row.created();
    Release {
        id: row.id,
        version: row.version,
        slug: row.slug,
        description: row.description,
        components,
        created_at: time(created.at),
        created_by: created.into(),
    }
}
