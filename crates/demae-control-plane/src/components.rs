//! Components: the parts that releases consist of (kaiten.md, section 2.8).
//!
//! None of the 27 events tells of them; the audit trail does. A component can be renamed while releases contain it: they
//! show it as it is now. It cannot be deleted then. One that others name as the one before them can: they name nothing
//! from then on.

use demae_event::{Faults, Timestamp, id::new_uuid};
use demae_store::{
    Store, StoreError,
    entity::component::Model,
    repository::{self, Listing, Page},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Actor, Change, DomainError, User,
    change::Subject,
    error::{MAX_USERS_NAMED, Operation},
    fields::{check_description, check_name, check_text},
    model::time,
    slug,
};

/// Longest version of a component or a release, in characters.
pub const MAX_VERSION: usize = 100;

const RESOURCE: &str = "component";

/// A component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    pub name: String,
    /// Its version; a name has each version once.
    pub version: String,
    /// Name in URLs; never changes.
    pub slug: String,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The one that it takes the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_component_id: Option<Uuid>,
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: User,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: User,
}

/// What is needed to create a component.
#[derive(Debug, Clone, Default)]
pub struct CreateComponent {
    /// Display name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Name in URLs; derived from name and version if left out.
    pub slug: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// The one that it takes the place of.
    pub previous_component_id: Option<Uuid>,
}

/// What a component is replaced with: a description that is left out is cleared.
#[derive(Debug, Clone, Default)]
pub struct ReplaceComponent {
    /// Display name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// May be given if it is the same.
    pub slug: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// May be given if it is the same.
    pub previous_component_id: Option<Uuid>,
}

/// Creates a component.
pub async fn create(change: &mut Change<'_>, input: CreateComponent) -> Result<Component, DomainError> {
    let operation = Operation("CreateComponent");
    let mut faults = Faults::new();
    check_fields(
        &mut faults,
        &input.name,
        &input.version,
        input.description.as_deref(),
    );
    if let Some(slug) = &input.slug {
        faults.take("slug", slug::check(slug));
    }
    operation.check(faults)?;
    if let Some(previous) = input.previous_component_id {
        let organization = change.organization_id();
        let found =
            repository::components::find_all_shared(change.transaction, organization, &[previous]).await?;
        if found.is_empty() {
            return Err(operation.missing("PreviousComponentNotFound", RESOURCE));
        }
    }
    refuse_taken_version(change, operation, None, &input.name, &input.version).await?;
    let row = insert(change, operation, input).await?;
    let (name, event_type) = ("COMPONENT_CREATION", "com.kaiten.component.v1.created");
    finish(change, name, event_type, row).await
}

/// The component with this slug.
pub async fn get(store: &Store, actor: &Actor, slug: &str) -> Result<Component, DomainError> {
    let row = repository::components::find(store.reader(), actor.organization_id, slug).await?;
    Ok(model(row.ok_or(Operation("GetComponent").not_found(RESOURCE))?))
}

/// The components of the actor's organization, oldest first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<Uuid>,
) -> Result<Listing<Component, Uuid>, DomainError> {
    let listing = repository::components::list(store.reader(), actor.organization_id, page).await?;
    Ok(listing.map(model))
}

/// Replaces a component's name, version and description.
pub async fn replace(
    change: &mut Change<'_>,
    slug: &str,
    input: ReplaceComponent,
) -> Result<Component, DomainError> {
    let operation = Operation("UpdateComponent");
    let row = find_for_update(change, operation, slug).await?;
    if input.slug.is_some_and(|given| given != row.slug) {
        return Err(operation.immutable("SlugNotRenameable", "slug"));
    }
    if input.previous_component_id.is_some() && input.previous_component_id != row.previous_component_id {
        return Err(operation.immutable("PreviousComponentNotSettable", "previous_component_id"));
    }
    let mut faults = Faults::new();
    check_fields(
        &mut faults,
        &input.name,
        &input.version,
        input.description.as_deref(),
    );
    operation.check(faults)?;
    refuse_taken_version(change, operation, Some(row.id), &input.name, &input.version).await?;
    let row = Model {
        name: input.name,
        version: input.version,
        description: input.description,
        updated_at: change.after(row.updated_at),
        updated_by_id: change.actor.id,
        updated_by_name: Some(change.actor.name.clone()),
        ..row
    };
    match repository::components::update(change.transaction, &row).await {
        // Somebody else took it since it was looked up.
        Err(StoreError::Conflict(_)) => return Err(version_taken(operation, &row.name, &row.version)),
        written => written?,
    };
    let (name, event_type) = ("COMPONENT_UPDATE", "com.kaiten.component.v1.updated");
    finish(change, name, event_type, row).await
}

/// Deletes a component that no release contains; answers what it was.
pub async fn delete(change: &mut Change<'_>, slug: &str) -> Result<Component, DomainError> {
    let operation = Operation("DeleteComponent");
    let row = find_for_update(change, operation, slug).await?;
    let organization = change.organization_id();
    let connection = change.transaction.connection();
    let limit = MAX_USERS_NAMED as u64 + 1;
    let releases = repository::components::releases_with(connection, organization, row.id, limit).await?;
    if !releases.is_empty() {
        return Err(operation.in_use(RESOURCE, &[("releases", releases)]));
    }
    repository::components::delete(change.transaction, organization, row.id).await?;
    let (name, event_type) = ("COMPONENT_DELETION", "com.kaiten.component.v1.deleted");
    finish(change, name, event_type, row).await
}

/// The row, which nobody else changes until the transaction ends, and which is as the caller saw it.
async fn find_for_update(
    change: &mut Change<'_>,
    operation: Operation,
    slug: &str,
) -> Result<Model, DomainError> {
    let row = repository::components::find_for_update(change.transaction, change.actor.organization_id, slug)
        .await?
        .ok_or(operation.not_found(RESOURCE))?;
    change.check_expected(operation, &model(row.clone()))?;
    Ok(row)
}

fn check_fields(faults: &mut Faults, name: &str, version: &str, description: Option<&str>) {
    check_name(faults, "name", name);
    check_text(faults, "version", version, MAX_VERSION);
    if let Some(description) = description {
        check_description(faults, "description", description);
    }
}

/// Refuses if another component than `own` has this name at this version.
async fn refuse_taken_version(
    change: &Change<'_>,
    operation: Operation,
    own: Option<Uuid>,
    name: &str,
    version: &str,
) -> Result<(), DomainError> {
    let connection = change.transaction.connection();
    let holder =
        repository::components::find_version(connection, change.organization_id(), name, version).await?;
    match holder {
        Some(holder) if Some(holder.id) != own => Err(version_taken(operation, name, version)),
        _ => Ok(()),
    }
}

fn version_taken(operation: Operation, name: &str, version: &str) -> DomainError {
    operation.conflict(
        "VersionConflict",
        format!("the component {name:?} has a version {version:?} already"),
    )
}

async fn insert(
    change: &mut Change<'_>,
    operation: Operation,
    input: CreateComponent,
) -> Result<Model, DomainError> {
    let (actor, now) = (change.actor, change.now);
    // Versions of one component share its name; with the version in it, its slug rarely needs a random end.
    let words = format!("{} {}", input.name, input.version);
    let candidates = slug::candidates(input.slug.as_deref(), &words);
    let mut row = Model {
        id: new_uuid(now),
        organization_id: actor.organization_id.0,
        slug: String::new(),
        name: input.name,
        version: input.version,
        description: input.description,
        previous_component_id: input.previous_component_id,
        created_at: now.as_micros(),
        created_by_id: actor.id,
        created_by_name: Some(actor.name.clone()),
        updated_at: now.as_micros(),
        updated_by_id: actor.id,
        updated_by_name: Some(actor.name.clone()),
    };
    for candidate in candidates {
        row.slug = candidate;
        if repository::components::insert(change.transaction, row.clone()).await? {
            return Ok(row);
        }
    }
    // Which of the two is taken: the version may be since it was looked up.
    refuse_taken_version(change, operation, None, &row.name, &row.version).await?;
    Err(operation.slug_taken(&row.slug))
}

/// Writes the entry in the audit trail, and answers the component that it is about.
async fn finish(
    change: &mut Change<'_>,
    name: &'static str,
    event_type: &'static str,
    row: Model,
) -> Result<Component, DomainError> {
    let component = model(row);
    let subject = Subject::new(RESOURCE, component.id, &component.slug);
    change.note(name, event_type, subject, &component).await?;
    Ok(component)
}

pub(crate) fn model(row: Model) -> Component {
    Component {
        id: row.id,
        name: row.name,
        version: row.version,
        slug: row.slug,
        description: row.description,
        previous_component_id: row.previous_component_id,
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
    }
}
