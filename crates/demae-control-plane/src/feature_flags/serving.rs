//! Evaluates an organization's flags, as they are in the database right now.

use std::{collections::HashMap, sync::Arc};

use demae_event::Timestamp;
use demae_store::{
    Store, StoreError,
    entity::feature_flag::{Entity, Model},
    repository,
};
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

/// Flags as they were found; their rules are not read yet, unless they are remembered.
///
/// Reading and evaluating rules is work that their authors decide about. So it is done apart from finding them, and must
/// run outside transactions and runtime threads.
#[derive(Debug)]
pub struct FoundFlags(Vec<Found>);

#[derive(Debug)]
enum Found {
    Remembered(Arc<CompiledFlag>),
    Row(Box<Model>),
}

impl FoundFlags {
    /// Evaluates each of them, in the order in which they were found.
    pub fn evaluate(
        self,
        cache: &FlagCache,
        context: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Vec<Evaluated>, DomainError> {
        with_stack(|| {
            let flags = self.compile(cache)?;
            let subject = Subject::new(context);
            let evaluated = flags.iter().map(|flag| Evaluated {
                key: flag.flag().slug.clone(),
                outcome: evaluate(flag, &subject, now),
            });
            Ok(evaluated.collect())
        })
    }

    /// What each of them is, in the order in which they were found.
    pub fn manifest(self, cache: &FlagCache) -> Result<Vec<ManifestFlag>, DomainError> {
        let flags = self.compile(cache)?;
        Ok(flags.iter().map(|flag| manifest_flag(flag.flag())).collect())
    }

    fn compile(self, cache: &FlagCache) -> Result<Vec<Arc<CompiledFlag>>, StoreError> {
        let flags = self.0.into_iter().map(|found| match found {
            Found::Remembered(flag) => Ok(flag),
            Found::Row(row) => cache.of(*row),
        });
        flags.collect()
    }
}

/// Finds the flag with this slug.
pub async fn find_one(
    store: &Store,
    cache: &FlagCache,
    actor: &Actor,
    key: &str,
) -> Result<FoundFlags, DomainError> {
    let row = repository::resource::find::<Entity>(store.reader(), actor.organization_id, key).await?;
    let row = row.ok_or(Operation("EvaluateFeatureFlag").not_found(RESOURCE))?;
    let remembered = cache.get(actor.organization_id, row.id, row.updated_at);
    Ok(FoundFlags(vec![match remembered {
        Some(flag) => Found::Remembered(flag),
        None => Found::Row(Box::new(row)),
    }]))
}

/// Finds every flag of the actor's organization, in the order of their slugs. Only what is not remembered is read whole.
pub async fn find_all(store: &Store, cache: &FlagCache, actor: &Actor) -> Result<FoundFlags, DomainError> {
    /// Rows read in one query: few enough values for either database.
    const CHUNK: usize = 200;
    let organization = actor.organization_id;
    let revisions = repository::feature_flags::revisions(store.reader(), organization, MAX_FLAGS).await?;
    let mut flags: HashMap<Uuid, Found> = HashMap::with_capacity(revisions.len());
    let mut missing = Vec::new();
    for (id, updated_at) in &revisions {
        match cache.get(organization, *id, *updated_at) {
            Some(flag) => {
                flags.insert(*id, Found::Remembered(flag));
            }
            None => missing.push(*id),
        }
    }
    for ids in missing.chunks(CHUNK) {
        let rows = repository::feature_flags::find_many(store.reader(), organization, ids).await?;
        flags.extend(rows.into_iter().map(|row| (row.id, Found::Row(Box::new(row)))));
    }
    // One that was deleted in between is left out.
    let in_order = revisions.iter().filter_map(|(id, _)| flags.remove(id));
    Ok(FoundFlags(in_order.collect()))
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
