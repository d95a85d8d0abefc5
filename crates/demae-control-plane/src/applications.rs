//! Applications: parts of an organization with endpoints, messages and history of their own.
//!
//! Every organization has a default application with its own ID, in which surfaces without applications work. A surface with
//! applications makes more of them here and works in their [`Scope`]. Domains know no applications: their events belong to
//! the default one.
//!
//! Changes are written into the audit trail; there is no event about them. Deleting an application deletes its endpoints.
//! Its history stays as long as that of others, but no function here leads to it.

use demae_event::{ApplicationId, Faults, Scope, Timestamp};
use demae_store::{
    Store, StoreError,
    entity::application::Model,
    repository::{self, Listing, Page},
};
use serde::Serialize;

use crate::{
    Actor, Change, DomainError,
    change::Subject,
    error::Operation,
    fields::{check_name, check_optional},
    model::time,
};

/// Longest client ID, in characters.
pub const MAX_UID: usize = 256;
/// Applications that an organization may have, the default one included.
pub const MAX_APPLICATIONS: u64 = 10_000;

const RESOURCE: &str = "application";

/// An application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// Its identity.
    pub id: ApplicationId,
    /// The ID that its owner chose; unique in its organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Display name.
    pub name: String,
    /// Rises with every change.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Application {
    /// The scope of what belongs to it, an application of `actor`'s organization.
    pub fn scope(&self, actor: &Actor) -> Scope {
        Scope::new(actor.organization_id, Some(self.id))
    }
}

/// What an application is made of, or replaced with.
#[derive(Debug, Clone, Default)]
pub struct ApplicationInput {
    /// Display name.
    pub name: String,
    /// The ID that its owner chooses.
    pub uid: Option<String>,
}

/// How a caller names an application.
#[derive(Debug, Clone, Copy)]
pub enum Key<'k> {
    /// By its identity.
    Id(ApplicationId),
    /// By the ID that its owner chose.
    Uid(&'k str),
}

/// Makes an application.
pub async fn create(change: &mut Change<'_>, input: ApplicationInput) -> Result<Application, DomainError> {
    let operation = Operation("CreateApplication");
    check(operation, &input)?;
    let now = change.now;
    let organization = change.organization_id();
    // Held, so that applications are counted one after the other.
    let default = Scope::default_of(organization);
    repository::applications::find_for_update(change.transaction, default).await?;
    let count = repository::applications::count(change.transaction.connection(), organization).await?;
    if count >= MAX_APPLICATIONS {
        let detail = format!("an organization may have at most {MAX_APPLICATIONS} applications");
        return Err(operation.conflict("LimitReached", detail));
    }
    let row = Model {
        id: ApplicationId::new(now).0,
        organization_id: organization.0,
        uid: input.uid,
        name: input.name,
        version: 0,
        created_at: now.as_micros(),
        updated_at: now.as_micros(),
        deleted_at: None,
    };
    if !repository::applications::insert(change.transaction, row.clone()).await? {
        return Err(uid_taken(operation));
    }
    let application = Application::from(row);
    note(
        change,
        "APPLICATION_CREATION",
        "com.kaiten.application.v1.created",
        &application,
    )
    .await?;
    Ok(application)
}

/// One application of the actor's organization.
pub async fn get(store: &Store, actor: &Actor, key: Key<'_>) -> Result<Application, DomainError> {
    let connection = store.reader();
    let found = match key {
        Key::Id(id) => {
            let scope = Scope::new(actor.organization_id, Some(id));
            repository::applications::find(connection, scope).await?
        }
        Key::Uid(uid) => {
            repository::applications::find_by_uid(connection, actor.organization_id, uid).await?
        }
    };
    found
        .map(Application::from)
        .ok_or(Operation("GetApplication").not_found(RESOURCE))
}

/// The applications of the actor's organization, oldest first; its default one among them.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<ApplicationId>,
) -> Result<Listing<Application, ApplicationId>, DomainError> {
    let listing = repository::applications::list(store.reader(), actor.organization_id, page).await?;
    Ok(listing.map(Application::from))
}

/// Replaces name and client ID.
pub async fn replace(
    change: &mut Change<'_>,
    id: ApplicationId,
    input: ApplicationInput,
) -> Result<Application, DomainError> {
    let operation = Operation("UpdateApplication");
    check(operation, &input)?;
    let mut row = hold(change, operation, id).await?;
    change.check_expected(operation, &Application::from(row.clone()))?;
    row.name = input.name;
    row.uid = input.uid;
    row.updated_at = change.after(row.updated_at);
    match repository::applications::update(change.transaction, &row).await {
        Ok(_) => row.version += 1,
        Err(StoreError::Conflict(_)) => return Err(uid_taken(operation)),
        Err(error) => return Err(error.into()),
    }
    let application = Application::from(row);
    note(
        change,
        "APPLICATION_UPDATE",
        "com.kaiten.application.v1.updated",
        &application,
    )
    .await?;
    Ok(application)
}

/// Deletes an application with its endpoints; what still waits for them is canceled by the workers. The default application
/// cannot be deleted.
pub async fn delete(change: &mut Change<'_>, id: ApplicationId) -> Result<(), DomainError> {
    let operation = Operation("DeleteApplication");
    let row = hold(change, operation, id).await?;
    let application = Application::from(row);
    change.check_expected(operation, &application)?;
    let scope = application.scope(change.actor);
    if scope.is_default() {
        let detail = "the default application of an organization cannot be deleted";
        return Err(operation.conflict("DefaultApplication", detail));
    }
    repository::applications::delete(change.transaction, scope, change.now).await?;
    note(
        change,
        "APPLICATION_DELETION",
        "com.kaiten.application.v1.deleted",
        &application,
    )
    .await?;
    Ok(())
}

fn check(operation: Operation, input: &ApplicationInput) -> Result<(), DomainError> {
    let mut faults = Faults::new();
    check_name(&mut faults, "name", &input.name);
    check_optional(&mut faults, "uid", input.uid.as_deref(), MAX_UID);
    operation.check(faults)
}

fn uid_taken(operation: Operation) -> DomainError {
    operation.conflict("UidConflict", "the client ID is taken")
}

/// Its row, which no other transaction changes until this one ends.
async fn hold(
    change: &mut Change<'_>,
    operation: Operation,
    id: ApplicationId,
) -> Result<Model, DomainError> {
    let scope = Scope::new(change.organization_id(), Some(id));
    repository::applications::find_for_update(change.transaction, scope)
        .await?
        .ok_or(operation.not_found(RESOURCE))
}

async fn note(
    change: &mut Change<'_>,
    name: &'static str,
    event_type: &'static str,
    application: &Application,
) -> Result<(), StoreError> {
    let shown = application.id.to_string();
    let slug = application.uid.as_deref().unwrap_or(&shown);
    let subject = Subject::new(RESOURCE, application.id.0, slug);
    change.note(name, event_type, subject, application).await
}

impl From<Model> for Application {
    fn from(row: Model) -> Self {
        Self {
            id: ApplicationId(row.id),
            uid: row.uid,
            name: row.name,
            version: row.version,
            created_at: time(row.created_at),
            updated_at: time(row.updated_at),
        }
    }
}
