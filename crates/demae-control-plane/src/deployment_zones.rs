//! Deployment zones, and which release runs in them (kaiten.md, sections 2.8 and 2.9).
//!
//! A zone's release is set by creating or replacing the zone. Each time it becomes another one a [`Deployment`] is added
//! to the zone's history, which is never rewritten, and `RELEASE_DEPLOYMENT` is emitted: on creation after
//! `DEPLOYMENT_ZONE_CREATION`, so that nobody hears of a deployment to a zone that they do not know, and on replacement
//! before `DEPLOYMENT_ZONE_UPDATE`, as Kaiten does. The same release again, or none, is no deployment: a release that
//! was deployed stays until another takes its place.
//!
//! With a zone its history goes, and its instances are in no zone. They are not otherwise touched, and emit nothing: a
//! zone may hold any number of them.

use demae_event::{Faults, Timestamp, id::new_uuid};
use demae_store::{
    Store, StoreError,
    entity::{deployment, deployment_zone::Model},
    repository::{self, Listing, Page},
};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    Actor, Change, DomainError, User,
    change::Subject,
    error::Operation,
    fields::{check_description, check_name, check_object, check_text},
    model::{from_json, json, time},
    slug,
};

/// Longest type, in characters.
pub const MAX_TYPE: usize = 100;

const RESOURCE: &str = "deployment zone";
/// The same in the audit trail.
const AUDITED: &str = "deployment_zone";

/// A deployment zone.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentZone {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    pub name: String,
    /// Name in URLs; never changes.
    pub slug: String,
    /// What kind of zone: `production`, `staging` or anything else.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is.
    pub description: String,
    /// The caller's own notes.
    pub metadata: Map<String, Value>,
    /// What runs there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_id: Option<Uuid>,
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: User,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: User,
}

/// A release that came to a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// Its identity.
    pub id: Uuid,
    /// Where.
    pub deployment_zone_id: Uuid,
    /// What.
    pub release_id: Uuid,
    /// When.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: User,
}

/// What is needed to create a zone.
#[derive(Debug, Clone, Default)]
pub struct CreateDeploymentZone {
    /// Everything but the slug.
    pub settings: Settings,
    /// Name in URLs; derived from the name if left out.
    pub slug: Option<String>,
}

/// What a zone is replaced with.
#[derive(Debug, Clone, Default)]
pub struct ReplaceDeploymentZone {
    /// Everything but the slug.
    pub settings: Settings,
    /// May be given if it is the same.
    pub slug: Option<String>,
}

/// What a caller says of a zone. On replacement what is left out is cleared, but for the release.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Display name.
    pub name: String,
    /// What kind of zone.
    pub kind: String,
    /// What it is.
    pub description: String,
    /// The caller's own notes.
    pub metadata: Map<String, Value>,
    /// What is to run there. Without it nothing does, or what did so far.
    pub release_id: Option<Uuid>,
}

/// Creates a zone, and deploys a release to it if it names one.
pub async fn create(
    change: &mut Change<'_>,
    input: CreateDeploymentZone,
) -> Result<DeploymentZone, DomainError> {
    let operation = Operation("CreateDeploymentZone");
    let mut faults = check(&input.settings);
    if let Some(slug) = &input.slug {
        faults.take("slug", slug::check(slug));
    }
    operation.check(faults)?;
    let release = input.settings.release_id;
    if !is_there(change, release).await? {
        return Err(release_missing(operation));
    }
    let row = insert(change, operation, input).await?;
    let zone = finish(change, "DEPLOYMENT_ZONE_CREATION", row).await?;
    if let Some(release) = release {
        deploy(change, &zone, release).await?;
    }
    Ok(zone)
}

/// The zone with this slug.
pub async fn get(store: &Store, actor: &Actor, slug: &str) -> Result<DeploymentZone, DomainError> {
    let row = repository::deployment_zones::find(store.reader(), actor.organization_id, slug).await?;
    let row = row.ok_or(Operation("GetDeploymentZone").not_found(RESOURCE))?;
    Ok(model(row)?)
}

/// The zones of the actor's organization, oldest first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<Uuid>,
) -> Result<Listing<DeploymentZone, Uuid>, DomainError> {
    let listing = repository::deployment_zones::list(store.reader(), actor.organization_id, page).await?;
    Ok(listing.try_map(model)?)
}

/// What came to a zone, newest first.
pub async fn deployments(
    store: &Store,
    actor: &Actor,
    slug: &str,
    page: Page<Uuid>,
) -> Result<Listing<Deployment, Uuid>, DomainError> {
    let (connection, organization) = (store.reader(), actor.organization_id);
    let zone = repository::deployment_zones::find(connection, organization, slug)
        .await?
        .ok_or(Operation("ListDeployments").not_found(RESOURCE))?;
    let listing = repository::deployment_zones::deployments(connection, organization, zone.id, page).await?;
    Ok(listing.map(deployment))
}

/// Replaces a zone, and deploys a release to it if it names another one than runs there.
pub async fn replace(
    change: &mut Change<'_>,
    slug: &str,
    input: ReplaceDeploymentZone,
) -> Result<DeploymentZone, DomainError> {
    let operation = Operation("UpdateDeploymentZone");
    let settings = input.settings;
    // Releases are locked before zones; who waits for whom is thus never a circle.
    let release_is_there = is_there(change, settings.release_id).await?;
    let row = find_for_update(change, operation, slug).await?;
    if input.slug.is_some_and(|given| given != row.slug) {
        return Err(operation.immutable("SlugNotRenameable", "slug"));
    }
    operation.check(check(&settings))?;
    if !release_is_there {
        return Err(release_missing(operation));
    }
    let deployed = settings.release_id.filter(|new| Some(*new) != row.release_id);
    let row = Model {
        name: settings.name,
        kind: settings.kind,
        description: settings.description,
        metadata: json(&settings.metadata),
        release_id: settings.release_id.or(row.release_id),
        updated_at: change.after(row.updated_at),
        updated_by_id: change.actor.id,
        updated_by_name: Some(change.actor.name.clone()),
        ..row
    };
    repository::deployment_zones::update(change.transaction, &row).await?;
    if let Some(release) = deployed {
        deploy(change, &model(row.clone())?, release).await?;
    }
    finish(change, "DEPLOYMENT_ZONE_UPDATE", row).await
}

/// Deletes a zone with its history; answers what it was.
pub async fn delete(change: &mut Change<'_>, slug: &str) -> Result<DeploymentZone, DomainError> {
    let operation = Operation("DeleteDeploymentZone");
    let row = find_for_update(change, operation, slug).await?;
    repository::deployment_zones::delete(change.transaction, change.organization_id(), row.id).await?;
    finish(change, "DEPLOYMENT_ZONE_DELETION", row).await
}

/// The row, which nobody else changes until the transaction ends, and which is as the caller saw it.
async fn find_for_update(
    change: &mut Change<'_>,
    operation: Operation,
    slug: &str,
) -> Result<Model, DomainError> {
    let organization = change.organization_id();
    let row = repository::deployment_zones::find_for_update(change.transaction, organization, slug)
        .await?
        .ok_or(operation.not_found(RESOURCE))?;
    change.check_expected(operation, &model(row.clone())?)?;
    Ok(row)
}

fn check(settings: &Settings) -> Faults {
    let mut faults = Faults::new();
    check_name(&mut faults, "name", &settings.name);
    check_text(&mut faults, "type", &settings.kind, MAX_TYPE);
    check_description(&mut faults, "description", &settings.description);
    check_object(&mut faults, "metadata", &settings.metadata);
    faults
}

/// Whether the release that is asked for, if one is, can be deployed, and nobody deletes it until the transaction ends.
async fn is_there(change: &mut Change<'_>, release: Option<Uuid>) -> Result<bool, DomainError> {
    let Some(id) = release else { return Ok(true) };
    let organization = change.organization_id();
    let found = repository::releases::find_shared(change.transaction, organization, id).await?;
    Ok(found.is_some())
}

fn release_missing(operation: Operation) -> DomainError {
    operation.missing("ReleaseNotFound", "release")
}

async fn insert(
    change: &mut Change<'_>,
    operation: Operation,
    input: CreateDeploymentZone,
) -> Result<Model, DomainError> {
    let (actor, now, settings) = (change.actor, change.now, input.settings);
    let candidates = slug::candidates(input.slug.as_deref(), &settings.name);
    let mut row = Model {
        id: new_uuid(now),
        organization_id: actor.organization_id.0,
        slug: String::new(),
        name: settings.name,
        kind: settings.kind,
        description: settings.description,
        metadata: json(&settings.metadata),
        release_id: settings.release_id,
        created_at: now.as_micros(),
        created_by_id: actor.id,
        created_by_name: Some(actor.name.clone()),
        updated_at: now.as_micros(),
        updated_by_id: actor.id,
        updated_by_name: Some(actor.name.clone()),
    };
    for candidate in candidates {
        row.slug = candidate;
        if repository::deployment_zones::insert(change.transaction, row.clone()).await? {
            return Ok(row);
        }
    }
    Err(operation.slug_taken(&row.slug))
}

/// Adds to the history of a zone, whose row its caller has written.
async fn deploy(change: &mut Change<'_>, zone: &DeploymentZone, release: Uuid) -> Result<(), DomainError> {
    // The zone's time rather than the clock's: it only ever grows, and with it the ids, which order the history.
    let now = zone.updated_at;
    let row = deployment::Model {
        id: new_uuid(now),
        organization_id: change.organization_id().0,
        deployment_zone_id: zone.id,
        release_id: release,
        created_at: now.as_micros(),
        created_by_id: change.actor.id,
        created_by_name: Some(change.actor.name.clone()),
    };
    repository::deployment_zones::insert_deployment(change.transaction, row.clone()).await?;
    let subject = Subject::new(AUDITED, zone.id, &zone.slug);
    change
        .emit("RELEASE_DEPLOYMENT", subject, &deployment(row))
        .await?;
    Ok(())
}

/// Writes the event, and answers the zone that it is about.
async fn finish(
    change: &mut Change<'_>,
    name: &'static str,
    row: Model,
) -> Result<DeploymentZone, DomainError> {
    let zone = model(row)?;
    let subject = Subject::new(AUDITED, zone.id, &zone.slug);
    change.emit(name, subject, &zone).await?;
    Ok(zone)
}

fn model(row: Model) -> Result<DeploymentZone, StoreError> {
    Ok(DeploymentZone {
        id: row.id,
        name: row.name,
        slug: row.slug,
        kind: row.kind,
        description: row.description,
        metadata: from_json(&row.metadata, "a zone's metadata")?,
        release_id: row.release_id,
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

fn deployment(row: deployment::Model) -> Deployment {
    Deployment {
        id: row.id,
        deployment_zone_id: row.deployment_zone_id,
        release_id: row.release_id,
        created_at: time(row.created_at),
        created_by: User {
            id: row.created_by_id,
            name: row.created_by_name,
        },
    }
}
