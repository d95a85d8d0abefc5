//! Feature flags (kaiten.md, section 2.7): looked after here, evaluated in [`evaluation`].
//!
//! Creation, replacement and deletion each emit their event, whether or not anything changed. What is written can be
//! evaluated: variants, shares, dates and rules are checked as a whole ([`check`](mod@check)), every fault at its
//! location, before the transaction begins: only a [`CheckedFlag`] is written. The type of a flag's values never changes, because applications ask for it by type. An organization has at
//! most [`MAX_FLAGS`] flags, so that all of them can be evaluated at once.

mod cache;
mod check;
pub mod evaluation;
mod model;
mod rule;
mod serving;

use demae_event::Faults;
use demae_store::{
    Store, StoreError,
    entity::feature_flag::{Entity, Model},
    repository::{self, Listing, Page},
};
use uuid::Uuid;

pub use cache::FlagCache;
pub use check::{MAX_DOCUMENT, MAX_EVENT_NAME, MAX_TARGETINGS, MAX_VARIANTS};
pub use model::{
    Dates, DefaultVariant, FeatureFlag, FlagInput, FlagType, Percentages, Stage, TargetedVariant, Targeting,
    Variant,
};
pub use rule::{FUNCTIONS, MAX_RULE, Rule, RuleError};
pub use serving::{Evaluated, FoundFlags, ManifestFlag, find_all, find_one};

use crate::{
    Actor, Change, DomainError,
    change::Subject,
    error::Operation,
    model::{from_json, json},
    resource, slug,
};

/// Flags of an organization.
pub const MAX_FLAGS: u64 = 1_000;

const RESOURCE: &str = "feature_flag";
const CREATE: Operation = Operation("CreateFeatureFlag");
const UPDATE: Operation = Operation("UpdateFeatureFlag");

/// A flag that was found right.
#[derive(Debug, Clone)]
pub struct CheckedFlag(FlagInput);

/// Checks a flag that is to be created. Must run outside transactions and runtime threads: it reads the rules.
pub fn check_new(input: FlagInput) -> Result<CheckedFlag, DomainError> {
    let mut faults = Faults::new();
    check::check(&mut faults, &input);
    if let Some(slug) = &input.slug {
        faults.take("slug", slug::check(slug));
    }
    CREATE.check(faults)?;
    Ok(CheckedFlag(input))
}

/// Checks what a flag is to be replaced with. Must run outside transactions and runtime threads: it reads the rules.
pub fn check_replacement(input: FlagInput) -> Result<CheckedFlag, DomainError> {
    let mut faults = Faults::new();
    check::check(&mut faults, &input);
    UPDATE.check(faults)?;
    Ok(CheckedFlag(input))
}

/// Creates a flag.
pub async fn create(
    change: &mut Change<'_>,
    CheckedFlag(input): CheckedFlag,
) -> Result<FeatureFlag, DomainError> {
    let operation = CREATE;
    let organization = change.organization_id();
    let count = repository::feature_flags::count_before_insert(change.transaction, organization).await?;
    if count >= MAX_FLAGS {
        let detail = format!("an organization has at most {MAX_FLAGS} feature flags");
        return Err(operation.conflict("TooManyFeatureFlags", detail));
    }
    let row = insert(change, operation, input).await?;
    finish(change, "FEATUREFLAG_CREATION", row).await
}

/// The flag with this slug.
pub async fn get(store: &Store, actor: &Actor, slug: &str) -> Result<FeatureFlag, DomainError> {
    let not_found = Operation("GetFeatureFlag").not_found(RESOURCE);
    Ok(model_of(
        resource::get::<Entity>(store, actor, not_found, slug).await?,
    )?)
}

/// The flags of the actor's organization, oldest first.
pub async fn list(
    store: &Store,
    actor: &Actor,
    page: Page<Uuid>,
) -> Result<Listing<FeatureFlag, Uuid>, DomainError> {
    Ok(resource::list::<Entity>(store, actor, page)
        .await?
        .try_map(model_of)?)
}

/// Replaces a flag but for its slug and its type.
pub async fn replace(
    change: &mut Change<'_>,
    slug: &str,
    CheckedFlag(input): CheckedFlag,
) -> Result<FeatureFlag, DomainError> {
    let operation = UPDATE;
    let row = resource::find_for_update::<Entity, _>(change, operation, RESOURCE, slug, model_of).await?;
    if input.slug.as_ref().is_some_and(|given| *given != row.slug) {
        return Err(operation.immutable("SlugNotRenameable", "slug"));
    }
    if input.kind.name() != row.kind {
        return Err(operation.immutable("TypeNotChangeable", "type"));
    }
    let row = Model {
        name: input.name,
        description: input.description,
        enabled: input.enabled,
        event_name: input.event_name,
        metadata: json(&input.metadata),
        variants: Some(json(&input.variants)),
        default_variant: json(&input.default_variant),
        targetings: input.targetings.as_ref().map(json),
        ..resource::changed(change, row)
    };
    repository::resource::update::<Entity>(change.transaction, &row).await?;
    finish(change, "FEATUREFLAG_UPDATE", row).await
}

/// Deletes a flag; answers what it was.
pub async fn delete(change: &mut Change<'_>, slug: &str) -> Result<FeatureFlag, DomainError> {
    let operation = Operation("DeleteFeatureFlag");
    let row = resource::find_for_update::<Entity, _>(change, operation, RESOURCE, slug, model_of).await?;
    repository::resource::delete::<Entity>(change.transaction, change.organization_id(), row.id).await?;
    finish(change, "FEATUREFLAG_DELETION", row).await
}

async fn insert(
    change: &mut Change<'_>,
    operation: Operation,
    input: FlagInput,
) -> Result<Model, DomainError> {
    let row = Model {
        name: input.name.clone(),
        description: input.description,
        kind: input.kind.name().to_owned(),
        enabled: input.enabled,
        event_name: input.event_name,
        metadata: json(&input.metadata),
        variants: Some(json(&input.variants)),
        default_variant: json(&input.default_variant),
        targetings: input.targetings.as_ref().map(json),
        ..resource::new(change, Model::default())
    };
    let names = (input.slug.as_deref(), input.name.as_str());
    resource::insert::<Entity>(change, operation, row, names).await
}

/// Writes the event, and answers the flag that it is about.
async fn finish(change: &mut Change<'_>, name: &'static str, row: Model) -> Result<FeatureFlag, DomainError> {
    let flag = model_of(row)?;
    let subject = Subject::new(RESOURCE, flag.id, &flag.slug);
    change.emit(name, subject, &flag).await?;
    Ok(flag)
}

fn model_of(row: Model) -> Result<FeatureFlag, StoreError> {
    const WHAT: &str = "a feature flag";
    let variants = row.variants.as_deref().unwrap_or("[]");
    let targetings = row.targetings.as_deref();
    Ok(FeatureFlag {
        id: row.id,
        name: row.name,
        slug: row.slug,
        description: row.description,
        kind: FlagType::from_name(&row.kind).ok_or(StoreError::Unreadable(WHAT))?,
        enabled: row.enabled,
        event_name: row.event_name,
        metadata: from_json(&row.metadata, WHAT)?,
        variants: from_json(variants, WHAT)?,
        default_variant: from_json(&row.default_variant, WHAT)?,
        targetings: targetings.map(|text| from_json(text, WHAT)).transpose()?,
    })
}
