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

use demae_event::{Timestamp, id::new_uuid};
use demae_fields::{Input, Shown};
use demae_store::{
    Store, StoreError,
    entity::{
        deployment,
        deployment_zone::{Entity, Model},
        release,
    },
    repository::{self, Listing, Page},
};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    Actor, Change, DomainError, Stamps, User,
    change::Subject,
    error::Operation,
    fields::{Description, NAME, OBJECT, OwnSlug, Slug, Text},
    model::{from_json, json, time},
    resource,
};

/// Longest type, in characters.
pub const MAX_TYPE: usize = 100;

const RESOURCE: &str = "deployment zone";
/// The same in the audit trail.
const AUDITED: &str = "deployment_zone";

/// A place where instances run.
#[derive(Debug, Clone, PartialEq, Serialize, Shown)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentZone {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    #[shown(example = "EU West")]
    pub name: String,
    /// Name in URLs; never changes.
    #[shown(example = "eu-west")]
    pub slug: String,
    /// What kind of zone: production, staging or anything else.
    #[serde(rename = "type")]
    #[shown(example = "production")]
    pub kind: String,
    /// What it is.
    pub description: String,
    /// The caller's own notes.
    pub metadata: Map<String, Value>,
    /// The release that runs there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_id: Option<Uuid>,
    /// Who created it, and who changed it last, and when.
    #[serde(flatten)]
    pub stamps: Stamps,
}

/// A release that came to a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Shown)]
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

/// A new deployment zone.
#[derive(Debug, Clone, Default, Input)]
#[input(example = json!({"name": "EU West", "type": "production", "description": ""}))]
pub struct CreateDeploymentZone {
    /// Display name.
    #[input(kind = NAME)]
    pub name: String,
    /// What kind of zone: production, staging or anything else.
    #[input(kind = Text(MAX_TYPE), rename = "type")]
    pub kind: String,
    /// Name in URLs; derived from the name if left out.
    #[input(kind = Slug)]
    pub slug: Option<String>,
    /// What it is.
    #[input(kind = Description, default)]
    pub description: String,
    /// The caller's own notes; at most 16,384 bytes as JSON.
    #[input(kind = OBJECT, default)]
    pub metadata: Map<String, Value>,
    /// The release to deploy.
    pub release_id: Option<Uuid>,
}

/// What a deployment zone is replaced with: what is left out is cleared, but for slug and release, which stay.
#[derive(Debug, Clone, Default, Input)]
#[input(example = json!({"name": "EU West", "type": "production", "description": ""}))]
pub struct ReplaceDeploymentZone {
    /// Display name.
    #[input(kind = NAME)]
    pub name: String,
    /// What kind of zone: production, staging or anything else.
    #[input(kind = Text(MAX_TYPE), rename = "type")]
    pub kind: String,
    /// May be given if it is the same; another one is refused.
    #[input(kind = OwnSlug)]
    pub slug: Option<String>,
    /// What it is.
    #[input(kind = Description, default)]
    pub description: String,
    /// The caller's own notes; at most 16,384 bytes as JSON.
    #[input(kind = OBJECT, default)]
    pub metadata: Map<String, Value>,
    /// The release to deploy; without it, what runs there stays.
    pub release_id: Option<Uuid>,
}

/// Creates a zone, and deploys a release to it if it names one.
pub async fn create(
    change: &mut Change<'_>,
    input: CreateDeploymentZone,
) -> Result<DeploymentZone, DomainError> {
    let operation = Operation("CreateDeploymentZone");
    operation.check(input.check())?;
    let release = input.release_id;
    if !is_there(change, release).await? {
        return Err(release_missing(operation));
    }
    let row = Model {
        name: input.name.clone(),
        kind: input.kind,
        description: input.description,
        metadata: json(&input.metadata),
        release_id: release,
        ..resource::new(change, Model::default())
    };
    let names = (input.slug.as_deref(), input.name.as_str());
    let row = resource::insert::<Entity>(change, operation, row, names).await?;
    let zone = finish(change, "DEPLOYMENT_ZONE_CREATION", row).await?;
    if let Some(release) = release {
        deploy(change, &zone, release).await?;
    }
    Ok(zone)
}

/// The zone with this slug.
pub async fn get(store: &Store, actor: &Actor, slug: &str) -> Result<DeploymentZone, DomainError> {
    let not_found = Operation("GetDeploymentZone").not_found(RESOURCE);
    Ok(model(
        resource::get::<Entity>(store, actor, not_found, slug).await?,
    )?)
}

/// The zones of the actor's organization, oldest first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<Uuid>,
) -> Result<Listing<DeploymentZone, Uuid>, DomainError> {
    Ok(resource::list::<Entity>(store, actor, page)
        .await?
        .try_map(model)?)
}

/// What came to a zone, newest first.
pub async fn deployments(
    store: &Store,
    actor: &Actor,
    slug: &str,
    page: Page<Uuid>,
) -> Result<Listing<Deployment, Uuid>, DomainError> {
    let (connection, organization) = (store.reader(), actor.organization_id);
    let not_found = Operation("ListDeployments").not_found(RESOURCE);
    let zone = resource::get::<Entity>(store, actor, not_found, slug).await?;
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
    // Releases are locked before zones; who waits for whom is thus never a circle.
    let release_is_there = is_there(change, input.release_id).await?;
    let row = resource::find_for_update::<Entity, _>(change, operation, RESOURCE, slug, model).await?;
    if input.slug.as_ref().is_some_and(|given| *given != row.slug) {
        return Err(operation.immutable("SlugNotRenameable", "slug"));
    }
    operation.check(input.check())?;
    if !release_is_there {
        return Err(release_missing(operation));
    }
    let deployed = input.release_id.filter(|new| Some(*new) != row.release_id);
    let row = Model {
        name: input.name,
        kind: input.kind,
        description: input.description,
        metadata: json(&input.metadata),
        release_id: input.release_id.or(row.release_id),
        ..resource::changed(change, row)
    };
    repository::resource::update::<Entity>(change.transaction, &row).await?;
    if let Some(release) = deployed {
        deploy(change, &model(row.clone())?, release).await?;
    }
    finish(change, "DEPLOYMENT_ZONE_UPDATE", row).await
}

/// Deletes a zone with its history; answers what it was.
pub async fn delete(change: &mut Change<'_>, slug: &str) -> Result<DeploymentZone, DomainError> {
    let operation = Operation("DeleteDeploymentZone");
    let row = resource::find_for_update::<Entity, _>(change, operation, RESOURCE, slug, model).await?;
    repository::resource::delete::<Entity>(change.transaction, change.organization_id(), row.id).await?;
    finish(change, "DEPLOYMENT_ZONE_DELETION", row).await
}

/// Whether the release that is asked for, if one is, can be deployed, and nobody deletes it until the transaction ends.
async fn is_there(change: &mut Change<'_>, release: Option<Uuid>) -> Result<bool, DomainError> {
    let Some(id) = release else { return Ok(true) };
    let organization = change.organization_id();
    let found =
        repository::resource::find_all_shared::<release::Entity>(change.transaction, organization, &[id])
            .await?;
    Ok(!found.is_empty())
}

fn release_missing(operation: Operation) -> DomainError {
    operation.missing("ReleaseNotFound", "release")
}

/// Adds to the history of a zone, whose row its caller has written.
async fn deploy(change: &mut Change<'_>, zone: &DeploymentZone, release: Uuid) -> Result<(), DomainError> {
    // The zone's time rather than the clock's: it only ever grows, and with it the ids, which order the history.
    let now = zone.stamps.updated_at;
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
    let stamps = Stamps::of(&row);
    Ok(DeploymentZone {
        id: row.id,
        name: row.name,
        slug: row.slug,
        kind: row.kind,
        description: row.description,
        metadata: from_json(&row.metadata, "a zone's metadata")?,
        release_id: row.release_id,
        stamps,
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
