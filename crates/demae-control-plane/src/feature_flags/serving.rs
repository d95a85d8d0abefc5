//! Evaluating an organization's flags, as they are in the database right now.

use std::{collections::HashMap, sync::Arc};

use demae_event::Timestamp;
use demae_store::{Store, repository};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    FlagCache, FlagType, MAX_FLAGS, RESOURCE,
    evaluation::{CompiledFlag, Evaluation, EvaluationError, Subject, evaluate},
    model::{FeatureFlag, Serving},
    rule::with_stack,
};
use crate::{Actor, DomainError, error::Operation};

/// What became of one flag.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// The flag's slug.
    pub key: String,
    /// What is served.
    pub outcome: Result<Evaluation, EvaluationError>,
}

/// What generators of code need to know of a flag.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestFlag {
    /// The flag's slug.
    pub key: String,
    /// Type of its values.
    pub kind: FlagType,
    /// What to assume while it cannot be asked: the default variant's value; of a rollout, that of the largest share, or
    /// of its start.
    pub default_value: Value,
    /// Display name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
}

/// Evaluates the flag with this slug.
pub async fn evaluate_one(
    store: &Store,
    cache: &FlagCache,
    actor: &Actor,
    key: &str,
    context: Map<String, Value>,
    now: Timestamp,
) -> Result<Evaluated, DomainError> {
    let row = repository::feature_flags::find(store.reader(), actor.organization_id, key).await?;
    let row = row.ok_or(Operation("EvaluateFeatureFlag").not_found(RESOURCE))?;
    let flag = cache.of(row)?;
    let mut evaluated = in_thread(vec![flag], context, now).await;
    #[expect(clippy::expect_used, reason = "one flag was given")]
    Ok(evaluated.pop().expect("one flag"))
}

/// Evaluates every flag of the actor's organization, in the order of their slugs.
pub async fn evaluate_all(
    store: &Store,
    cache: &FlagCache,
    actor: &Actor,
    context: Map<String, Value>,
    now: Timestamp,
) -> Result<Vec<Evaluated>, DomainError> {
    let flags = all(store, cache, actor).await?;
    Ok(in_thread(flags, context, now).await)
}

/// What every flag of the actor's organization is, in the order of their slugs.
pub async fn manifest(
    store: &Store,
    cache: &FlagCache,
    actor: &Actor,
) -> Result<Vec<ManifestFlag>, DomainError> {
    let flags = all(store, cache, actor).await?;
    Ok(flags.iter().map(|flag| manifest_flag(flag.flag())).collect())
}

/// Every flag, in the order of their slugs. Only what is not remembered is read whole.
async fn all(store: &Store, cache: &FlagCache, actor: &Actor) -> Result<Vec<Arc<CompiledFlag>>, DomainError> {
    /// Rows read in one query: few enough values for either database.
    const CHUNK: usize = 200;
    let organization = actor.organization_id;
    let revisions = repository::feature_flags::revisions(store.reader(), organization, MAX_FLAGS).await?;
    let mut flags: HashMap<Uuid, Arc<CompiledFlag>> = HashMap::with_capacity(revisions.len());
    let mut missing = Vec::new();
    for (id, updated_at) in &revisions {
        match cache.get(*id, *updated_at) {
            Some(flag) => {
                flags.insert(*id, flag);
            }
            None => missing.push(*id),
        }
    }
    for ids in missing.chunks(CHUNK) {
        let rows = repository::feature_flags::find_many(store.reader(), organization, ids).await?;
        for row in rows {
            flags.insert(row.id, cache.of(row)?);
        }
    }
    // One that was deleted in between is left out.
    let in_order = revisions.iter().filter_map(|(id, _)| flags.remove(id));
    Ok(in_order.collect())
}

/// Rules are bounded but may take milliseconds, which other tasks of the thread would have to wait.
async fn in_thread(
    flags: Vec<Arc<CompiledFlag>>,
    context: Map<String, Value>,
    now: Timestamp,
) -> Vec<Evaluated> {
    let evaluate_all = move || {
        let subject = Subject::new(&context);
        let evaluated = flags.iter().map(|flag| Evaluated {
            key: flag.flag().slug.clone(),
            outcome: evaluate(flag, &subject, now),
        });
        evaluated.collect()
    };
    #[expect(
        clippy::expect_used,
        reason = "evaluation does not panic, and nobody cancels it"
    )]
    tokio::task::spawn_blocking(|| with_stack(evaluate_all))
        .await
        .expect("an evaluation that ended")
}

fn manifest_flag(flag: &FeatureFlag) -> ManifestFlag {
    let variant = match flag.default_variant.serving() {
        Serving::One(variant) => variant,
        Serving::Shares(shares) => {
            let largest = shares.distribution.iter().rev().max_by_key(|(_, share)| **share);
            largest.map_or("", |(variant, _)| variant.as_str())
        }
        Serving::Growing(dates) => &dates.start.variant,
    };
    let value = flag.variants.iter().find(|candidate| candidate.name == variant);
    ManifestFlag {
        key: flag.slug.clone(),
        kind: flag.kind,
        default_value: value.map_or(Value::Null, |variant| variant.value.clone()),
        name: flag.name.clone(),
        description: flag.description.clone(),
    }
}
