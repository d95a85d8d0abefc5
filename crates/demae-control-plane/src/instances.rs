//! Instances (kaiten.md, sections 2.2 and 2.9).
//!
//! An instance is for one customer, under one license, in at most one zone. Unlike other resources it can be renamed:
//! its slug changes with a replacement that says so.
//!
//! Order of the events of one request: `INSTANCE_CREATION` or `INSTANCE_UPDATE` first, then `INSTANCE_DEPLOYMENT` where
//! the instance got its first zone, or `INSTANCE_MIGRATION` where it moved to another one. A replacement without a zone
//! keeps the present one, so that it cannot be cleared. Status and lifecycle stage, which are later than the seeds, have
//! none of the 27 events; their changes are in the audit trail.

use std::collections::BTreeMap;

use demae_event::{Faults, Timestamp};
use demae_fields::{Input, Kind, Node, RefOrSchema, Shown, schema::text};
use demae_store::{
    Store, StoreError,
    entity::instance::{Entity, Model},
    repository::{
        self, Listing, Page,
        instances::{NamedInstance, hold_customer, hold_license, hold_zone},
    },
};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    Actor, Change, DomainError, Stamps,
    change::Subject,
    choice::choices,
    error::Operation,
    fields::{AnyText, Description, NAME, OBJECT, Slug, Text},
    integrations::integration::{self, Adapters, Integration, NewIntegration},
    model::{from_json, json, time},
    resource,
    usage::period::year_after,
};

/// Longest lifecycle stage, in characters.
pub const MAX_STAGE: usize = 100;

const RESOURCE: &str = "instance";

choices! {
    /// How an instance fares.
    Status {
        /// All is well.
        Healthy = "HEALTHY",
        /// It works, not as it should.
        Degraded = "DEGRADED",
        /// It does not work.
        Incident = "INCIDENT",
        /// It is being worked on.
        Maintenance = "MAINTENANCE",
    }
}

/// An installation of the product, for one customer under one license.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Shown)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    #[shown(example = "Production")]
    pub name: String,
    /// Name in URLs.
    #[shown(example = "production")]
    pub slug: String,
    /// What it is for; may be empty.
    pub description: String,
    /// Whose it is.
    pub customer_id: Uuid,
    /// The customer's slug.
    pub customer_slug: String,
    /// Under which license.
    pub license_id: Uuid,
    /// The license's slug.
    pub license_slug: String,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_zone_id: Option<Uuid>,
    /// The zone's slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_zone_slug: Option<String>,
    /// Since when the license holds.
    pub start_license_date: Timestamp,
    /// Until when.
    pub end_license_date: Timestamp,
    /// Its owner's own notes.
    pub metadata: Map<String, Value>,
    /// How it fares: `HEALTHY`, `DEGRADED`, `INCIDENT` or `MAINTENANCE`.
    #[shown(described_as = String, example = "HEALTHY")]
    pub status: Status,
    /// Where it stands with its customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[shown(example = "TRIAL")]
    pub lifecycle_stage: Option<String>,
    /// Where else it is known, by adapter.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub integrations: BTreeMap<String, Integration>,
    /// Who created it, and who changed it last, and when.
    #[serde(flatten)]
    pub stamps: Stamps,
}

/// What an instance is replaced with: what is left out is cleared, but for slug, zone and dates, which stay, as do
/// status, lifecycle stage and integrations.
#[derive(Debug, Clone, Default, Input)]
#[input(name = "ReplaceInstance", example = json!({
    "name": "Production",
    "customerId": "019c22c8-a220-7b35-87f8-c2d7ea3634cb",
    "licenseId": "019c22bf-7a60-7029-a276-e01262f8f2e0",
}))]
pub struct InstanceInput {
    /// Display name.
    #[input(kind = NAME)]
    pub name: String,
    /// A new name in URLs.
    #[input(kind = Slug)]
    pub slug: Option<String>,
    /// What it is for.
    #[input(kind = Description, default)]
    pub description: String,
    /// Whose it is: the customer's id.
    pub customer_id: Uuid,
    /// Under which license: its id.
    pub license_id: Uuid,
    /// The license's slug, which follows from its id; another one is refused.
    #[input(kind = AnyText(255))]
    pub license_slug: Option<String>,
    /// Where it runs from now on: the zone's id.
    pub deployment_zone_id: Option<Uuid>,
    /// Since when the license holds.
    pub start_license_date: Option<Timestamp>,
    /// Until when, which is later.
    pub end_license_date: Option<Timestamp>,
    /// Its owner's own notes; at most 16,384 bytes as JSON.
    #[input(kind = OBJECT, default)]
    pub metadata: Map<String, Value>,
    /// Accepted from older clients and not kept.
    pub platform: Option<Map<String, Value>>,
}

/// A new instance.
#[derive(Debug, Clone, Default, Input)]
#[input(example = json!({
    "name": "Production",
    "customerId": "019c22c8-a220-7b35-87f8-c2d7ea3634cb",
    "licenseId": "019c22bf-7a60-7029-a276-e01262f8f2e0",
}))]
pub struct CreateInstance {
    /// What it is made of.
    #[input(
        flatten,
        described(
            slug = "Name in URLs; derived from the name if left out.",
            deployment_zone_id = "Where it runs: the zone's id.",
            start_license_date = "Since when the license holds; now if left out.",
            end_license_date = "Until when, which is later; a year after the start if left out.",
        )
    )]
    pub input: InstanceInput,
    /// Where else it is known, by adapter; at most 50.
    #[input(kind = Adapters, default)]
    pub integrations: BTreeMap<String, NewIntegration>,
}

/// Creates an instance.
pub async fn create(
    change: &mut Change<'_>,
    input: InstanceInput,
    integrations: BTreeMap<String, NewIntegration>,
) -> Result<Instance, DomainError> {
    let operation = Operation("CreateInstance");
    let start = input.start_license_date.unwrap_or(change.now);
    let end = input.end_license_date.or_else(|| year_after(start));
    let mut faults = input.check();
    check_dates(&mut faults, start, end);
    Adapters.check(&integrations, "integrations", &mut faults);
    operation.check(faults)?;
    let references = hold_references(change, operation, &input).await?;
    let row = Model {
        name: input.name.clone(),
        description: input.description,
        customer_id: input.customer_id,
        license_id: input.license_id,
        deployment_zone_id: input.deployment_zone_id,
        start_license_date: start.as_micros(),
        end_license_date: end.unwrap_or(start).as_micros(),
        metadata: json(&input.metadata),
        status: Status::Healthy.as_str().to_owned(),
        lifecycle_stage: None,
        integrations: json(&integration::made(integrations, change.now)),
        ..resource::new(change, Model::default())
    };
    let names = (input.slug.as_deref(), input.name.as_str());
    let row = resource::insert::<Entity>(change, operation, row, names).await?;
    let instance = references.model(row)?;
    emit(change, "INSTANCE_CREATION", &instance).await?;
    if instance.deployment_zone_id.is_some() {
        emit(change, "INSTANCE_DEPLOYMENT", &instance).await?;
    }
    Ok(instance)
}

/// The instance with this slug.
pub async fn get(store: &Store, actor: &Actor, slug: &str) -> Result<Instance, DomainError> {
    let found = repository::instances::find(store.reader(), actor.organization_id, slug).await?;
    Ok(model(found.ok_or(Operation("GetInstance").not_found(RESOURCE))?)?)
}

/// The instances of the actor's organization, oldest first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<Uuid>,
) -> Result<Listing<Instance, Uuid>, DomainError> {
    let listing = repository::instances::list(store.reader(), actor.organization_id, page).await?;
    Ok(listing.try_map(model)?)
}

/// Replaces an instance's fields: what is left out is cleared, but for slug, zone and dates, which stay.
pub async fn replace(
    change: &mut Change<'_>,
    slug: &str,
    input: InstanceInput,
) -> Result<Instance, DomainError> {
    let operation = Operation("UpdateInstance");
    operation.check(input.check())?;
    // Before the instance, as everywhere: whoever waits for one of them holds none that comes after it.
    let named = hold_references(change, operation, &input).await?;
    let NamedInstance {
        row,
        deployment_zone_slug,
        ..
    } = find_for_update(change, operation, slug).await?;
    let start = input.start_license_date.unwrap_or(time(row.start_license_date));
    let end = input.end_license_date.unwrap_or(time(row.end_license_date));
    let mut faults = Faults::new();
    check_dates(&mut faults, start, Some(end));
    operation.check(faults)?;
    let zone_before = row.deployment_zone_id;
    let renamed = input.slug.as_ref().is_some_and(|slug| *slug != row.slug);
    let row = Model {
        slug: input.slug.unwrap_or_else(|| row.slug.clone()),
        name: input.name,
        description: input.description,
        customer_id: input.customer_id,
        license_id: input.license_id,
        deployment_zone_id: input.deployment_zone_id.or(zone_before),
        start_license_date: start.as_micros(),
        end_license_date: end.as_micros(),
        metadata: json(&input.metadata),
        ..resource::changed(change, row)
    };
    if renamed && is_taken(change, &row.slug).await? {
        return Err(operation.slug_taken(&row.slug));
    }
    match repository::resource::update::<Entity>(change.transaction, &row).await {
        // Taken since it was looked for.
        Err(StoreError::Conflict(_)) => return Err(operation.slug_taken(&row.slug)),
        written => written?,
    };
    let named = References {
        deployment_zone: named.deployment_zone.or(deployment_zone_slug),
        ..named
    };
    let instance = named.model(row)?;
    emit(change, "INSTANCE_UPDATE", &instance).await?;
    match zone_before {
        None if instance.deployment_zone_id.is_some() => {
            emit(change, "INSTANCE_DEPLOYMENT", &instance).await?;
        }
        Some(_) if instance.deployment_zone_id != zone_before => {
            emit(change, "INSTANCE_MIGRATION", &instance).await?;
        }
        _ => {}
    }
    Ok(instance)
}

/// What changes; what is left out stays. One of the two at least.
#[derive(Debug, Clone, Default, PartialEq, Eq, Input)]
#[input(example = json!({"status": "DEGRADED"}))]
pub struct PatchInstance {
    /// How it fares: `HEALTHY`, `DEGRADED`, `INCIDENT` or `MAINTENANCE`.
    #[input(kind = StatusWord)]
    pub status: Option<Status>,
    /// Where it stands with its customer; any text, such as `TRIAL`, `ACTIVE`, `AT_RISK` or `CHURNED`.
    #[input(kind = Text(MAX_STAGE))]
    pub lifecycle_stage: Option<String>,
}

/// A status, which may be null in a patch: its words are in its pattern, or null would be none of them.
struct StatusWord;

impl Kind<Status> for StatusWord {
    fn read(&self, node: Node<'_>) -> Option<Status> {
        Status::find(&node.one_of(Status::WORDS)?)
    }

    fn schema(&self) -> RefOrSchema {
        text(None, None, Some(&format!("^({})$", Status::WORDS.join("|"))))
    }
}

/// Changes an instance's status or its lifecycle stage.
pub async fn patch(
    change: &mut Change<'_>,
    slug: &str,
    patch: PatchInstance,
) -> Result<Instance, DomainError> {
    let operation = Operation("PatchInstance");
    let mut faults = patch.check();
    if patch == PatchInstance::default() {
        faults.push("", "must have status or lifecycleStage");
    }
    operation.check(faults)?;
    let mut named = find_for_update(change, operation, slug).await?;
    let notes = [
        patch
            .status
            .map(|_| ("INSTANCE_STATUS_CHANGED", "com.kaiten.instance.v1.status_changed")),
        patch.lifecycle_stage.as_ref().map(|_| {
            (
                "INSTANCE_LIFECYCLE_STAGE_CHANGED",
                "com.kaiten.instance.v1.lifecycle_stage_changed",
            )
        }),
    ];
    let row = &mut named.row;
    if let Some(status) = patch.status {
        status.as_str().clone_into(&mut row.status);
    }
    row.lifecycle_stage = patch.lifecycle_stage.or(row.lifecycle_stage.take());
    named.row = resource::changed(change, named.row);
    repository::resource::update::<Entity>(change.transaction, &named.row).await?;
    let instance = model(named)?;
    for (name, event_type) in notes.into_iter().flatten() {
        change
            .note(name, event_type, subject(&instance), &instance)
            .await?;
    }
    Ok(instance)
}

/// Deletes an instance and what it used, for good; answers what it was.
pub async fn delete(change: &mut Change<'_>, slug: &str) -> Result<Instance, DomainError> {
    let operation = Operation("DeleteInstance");
    let instance = model(find_for_update(change, operation, slug).await?)?;
    repository::resource::delete::<Entity>(change.transaction, change.organization_id(), instance.id).await?;
    emit(change, "INSTANCE_DELETION", &instance).await?;
    Ok(instance)
}

/// The row, which nobody else changes until the transaction ends, and which is as the caller saw it.
async fn find_for_update(
    change: &mut Change<'_>,
    operation: Operation,
    slug: &str,
) -> Result<NamedInstance, DomainError> {
    let organization = change.organization_id();
    let found = repository::instances::find_for_update(change.transaction, organization, slug)
        .await?
        .ok_or(operation.not_found(RESOURCE))?;
    change.check_expected(operation, &model(found.clone())?)?;
    Ok(found)
}

fn check_dates(faults: &mut Faults, start: Timestamp, end: Option<Timestamp>) {
    match end {
        Some(end) if end > start => {}
        Some(_) => faults.push("end_license_date", "must be after startLicenseDate"),
        // A year after the start is beyond the calendar.
        None => faults.push("end_license_date", "is required"),
    }
}

/// The slugs of what an instance refers to.
struct References {
    customer: String,
    license: String,
    deployment_zone: Option<String>,
}

/// Looks up what the input refers to, all of which stays until the transaction ends.
async fn hold_references(
    change: &mut Change<'_>,
    operation: Operation,
    input: &InstanceInput,
) -> Result<References, DomainError> {
    let organization = change.organization_id();
    let transaction = &mut *change.transaction;
    let customer = hold_customer(transaction, organization, input.customer_id)
        .await?
        .ok_or(operation.missing("CustomerNotFound", "customer"))?;
    let license = hold_license(transaction, organization, input.license_id)
        .await?
        .ok_or(operation.missing("LicenseNotFound", "license"))?;
    if input.license_slug.as_ref().is_some_and(|slug| *slug != license) {
        return Err(operation.invalid("license_slug", "must be the slug of the license"));
    }
    let deployment_zone = match input.deployment_zone_id {
        None => None,
        Some(zone) => {
            let found = hold_zone(transaction, organization, zone).await?;
            Some(found.ok_or(operation.missing("DeploymentZoneNotFound", "deployment zone"))?)
        }
    };
    Ok(References {
        customer,
        license,
        deployment_zone,
    })
}

async fn is_taken(change: &Change<'_>, slug: &str) -> Result<bool, StoreError> {
    let connection = change.transaction.connection();
    let other = repository::instances::find(connection, change.organization_id(), slug).await?;
    Ok(other.is_some())
}

pub(crate) async fn emit(
    change: &mut Change<'_>,
    name: &'static str,
    instance: &Instance,
) -> Result<(), StoreError> {
    change.emit(name, subject(instance), instance).await
}

fn subject(instance: &Instance) -> Subject<'_> {
    Subject {
        instance: Some((instance.id, &instance.slug)),
        ..Subject::new(RESOURCE, instance.id, &instance.slug)
    }
}

impl References {
    fn model(self, row: Model) -> Result<Instance, StoreError> {
        model(NamedInstance {
            row,
            customer_slug: self.customer,
            license_slug: self.license,
            deployment_zone_slug: self.deployment_zone,
        })
    }
}

pub(crate) fn model(named: NamedInstance) -> Result<Instance, StoreError> {
    let row = named.row;
    let stamps = Stamps::of(&row);
    Ok(Instance {
        id: row.id,
        name: row.name,
        slug: row.slug,
        description: row.description,
        customer_id: row.customer_id,
        customer_slug: named.customer_slug,
        license_id: row.license_id,
        license_slug: named.license_slug,
        deployment_zone_id: row.deployment_zone_id,
        deployment_zone_slug: named.deployment_zone_slug,
        start_license_date: time(row.start_license_date),
        end_license_date: time(row.end_license_date),
        metadata: from_json(&row.metadata, "an instance's metadata")?,
        status: Status::find(&row.status).ok_or(StoreError::Unreadable("an instance's status"))?,
        lifecycle_stage: row.lifecycle_stage,
        integrations: from_json(&row.integrations, "an instance's integrations")?,
        stamps,
    })
}
