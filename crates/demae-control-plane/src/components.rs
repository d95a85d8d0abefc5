//! Components: the parts that releases consist of (kaiten.md, section 2.8).
//!
//! None of the 27 events tells of them; the audit trail does. A component can be renamed while releases contain it: they
//! show it as it is now. It cannot be deleted then. One that others name as the one before them can: they name nothing
//! from then on.

use demae_fields::{Input, Shown};
use demae_store::{
    Store, StoreError,
    entity::component::{Entity, Model},
    repository::{self, Listing, Page},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Actor, Change, DomainError, Stamps,
    change::Subject,
    error::{MAX_USERS_NAMED, Operation},
    fields::{Description, NAME, OwnSlug, Slug, Text},
    resource,
};

/// Longest version of a component or a release, in characters.
pub const MAX_VERSION: usize = 100;

const RESOURCE: &str = "component";

/// A part of the product, at a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Shown)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    #[shown(example = "api")]
    pub name: String,
    /// Its version; a name has each version once.
    #[shown(example = "4.1.0")]
    pub version: String,
    /// Name in URLs; never changes.
    #[shown(example = "api-4-1-0")]
    pub slug: String,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The one that it takes the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_component_id: Option<Uuid>,
    /// Who created it, and who changed it last, and when.
    #[serde(flatten)]
    pub stamps: Stamps,
}

/// A new component.
#[derive(Debug, Clone, Default, Input)]
#[input(example = json!({"name": "api", "version": "4.1.0"}))]
pub struct CreateComponent {
    /// Display name.
    #[input(kind = NAME)]
    pub name: String,
    /// Its version; a name has each version once.
    #[input(kind = Text(MAX_VERSION))]
    pub version: String,
    /// Name in URLs; derived from name and version if left out.
    #[input(kind = Slug)]
    pub slug: Option<String>,
    /// What it is.
    #[input(kind = Description)]
    pub description: Option<String>,
    /// The one that it takes the place of.
    pub previous_component_id: Option<Uuid>,
}

/// What a component is replaced with: a description that is left out is cleared; slug and predecessor stay.
#[derive(Debug, Clone, Default, Input)]
#[input(example = json!({"name": "api", "version": "4.1.1"}))]
pub struct ReplaceComponent {
    /// Display name.
    #[input(kind = NAME)]
    pub name: String,
    /// Its version; a name has each version once.
    #[input(kind = Text(MAX_VERSION))]
    pub version: String,
    /// May be given if it is the same; another one is refused.
    #[input(kind = OwnSlug)]
    pub slug: Option<String>,
    /// What it is.
    #[input(kind = Description)]
    pub description: Option<String>,
    /// May be given if it is the same; another one is refused.
    pub previous_component_id: Option<Uuid>,
}

/// Creates a component.
pub async fn create(change: &mut Change<'_>, input: CreateComponent) -> Result<Component, DomainError> {
    let operation = Operation("CreateComponent");
    operation.check(input.check())?;
    if let Some(previous) = input.previous_component_id {
        let organization = change.organization_id();
        let found =
            repository::resource::find_all_shared::<Entity>(change.transaction, organization, &[previous])
                .await?;
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
    let not_found = Operation("GetComponent").not_found(RESOURCE);
    Ok(model(
        resource::get::<Entity>(store, actor, not_found, slug).await?,
    ))
}

/// The components of the actor's organization, oldest first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<Uuid>,
) -> Result<Listing<Component, Uuid>, DomainError> {
    Ok(resource::list::<Entity>(store, actor, page).await?.map(model))
}

/// Replaces a component's name, version and description.
pub async fn replace(
    change: &mut Change<'_>,
    slug: &str,
    input: ReplaceComponent,
) -> Result<Component, DomainError> {
    let operation = Operation("UpdateComponent");
    let row = find_for_update(change, operation, slug).await?;
    if input.slug.as_ref().is_some_and(|given| *given != row.slug) {
        return Err(operation.immutable("SlugNotRenameable", "slug"));
    }
    if input.previous_component_id.is_some() && input.previous_component_id != row.previous_component_id {
        return Err(operation.immutable("PreviousComponentNotSettable", "previous_component_id"));
    }
    operation.check(input.check())?;
    refuse_taken_version(change, operation, Some(row.id), &input.name, &input.version).await?;
    let row = Model {
        name: input.name,
        version: input.version,
        description: input.description,
        ..resource::changed(change, row)
    };
    match repository::resource::update::<Entity>(change.transaction, &row).await {
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
    repository::resource::delete::<Entity>(change.transaction, organization, row.id).await?;
    let (name, event_type) = ("COMPONENT_DELETION", "com.kaiten.component.v1.deleted");
    finish(change, name, event_type, row).await
}

/// The row, which nobody else changes until the transaction ends, and which is as the caller saw it.
async fn find_for_update(
    change: &mut Change<'_>,
    operation: Operation,
    slug: &str,
) -> Result<Model, DomainError> {
    resource::find_for_update::<Entity, _>(change, operation, RESOURCE, slug, |row| Ok(model(row))).await
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
    // Versions of one component share its name; with the version in it, its slug rarely needs a random end.
    let words = format!("{} {}", input.name, input.version);
    let row = Model {
        name: input.name.clone(),
        version: input.version.clone(),
        description: input.description,
        previous_component_id: input.previous_component_id,
        ..resource::new(change, Model::default())
    };
    let names = (input.slug.as_deref(), words.as_str());
    let inserted = resource::insert::<Entity>(change, operation, row, names).await;
    if let Err(DomainError::Conflict { .. }) = inserted {
        // Which of the two is taken: the version may be since it was looked up.
        refuse_taken_version(change, operation, None, &input.name, &input.version).await?;
    }
    inserted
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
    let stamps = Stamps::of(&row);
    Component {
        id: row.id,
        name: row.name,
        version: row.version,
        slug: row.slug,
        description: row.description,
        previous_component_id: row.previous_component_id,
        stamps,
    }
}
