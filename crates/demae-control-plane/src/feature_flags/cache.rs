//! Remembers flags with their rules compiled, by revision.
//!
//! Nothing here is ever out of date: an entry is used only for the `updated_at` with which its row was just seen, which
//! grows with every change. When there is no room, the organization that has most of it loses its flags: an organization
//! whose flags are many or long does not push out the flags of the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use demae_event::OrganizationId;
use demae_store::{StoreError, entity::feature_flag::Model};
use uuid::Uuid;

use super::{evaluation::CompiledFlag, model_of};

/// JSON of remembered flags, at most, in bytes; compiled they are some times as large.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// What a flag counts for besides its JSON.
const OVERHEAD: usize = 512;

/// See the module's documentation. Cheap to clone.
#[derive(Debug, Default, Clone)]
pub struct FlagCache(Arc<Mutex<Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    organizations: HashMap<OrganizationId, Share>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Share {
    flags: HashMap<Uuid, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    revision: i64,
    flag: Arc<CompiledFlag>,
    bytes: usize,
}

impl FlagCache {
    /// The flag in this revision, if it is remembered.
    pub(super) fn get(
        &self,
        organization: OrganizationId,
        id: Uuid,
        updated_at: i64,
    ) -> Option<Arc<CompiledFlag>> {
        let remembered = self.remembered();
        let entry = remembered.organizations.get(&organization)?.flags.get(&id)?;
        (entry.revision == updated_at).then(|| Arc::clone(&entry.flag))
    }

    /// The flag of this row. Compiles its rules, which takes its time.
    pub(super) fn of(&self, row: Model) -> Result<Arc<CompiledFlag>, StoreError> {
        let (organization, id, revision) = (OrganizationId(row.organization_id), row.id, row.updated_at);
        if let Some(flag) = self.get(organization, id, revision) {
            return Ok(flag);
        }
        let bytes = size_of(&row);
        // Outside the lock: reading rules takes a while.
        let flag = Arc::new(CompiledFlag::new(model_of(row)?));
        let entry = Entry {
            revision,
            flag: Arc::clone(&flag),
            bytes,
        };
        self.remembered().insert(organization, id, entry);
        Ok(flag)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        // What panics is not done under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    fn insert(&mut self, organization: OrganizationId, id: Uuid, entry: Entry) {
        let share = self.organizations.entry(organization).or_default();
        share.bytes += entry.bytes;
        self.bytes += entry.bytes;
        if let Some(earlier) = share.flags.insert(id, entry) {
            share.bytes -= earlier.bytes;
            self.bytes -= earlier.bytes;
        }
        // Rare, and what is asked for comes back with the next request.
        while self.bytes > MAX_BYTES {
            let largest = self.organizations.iter().max_by_key(|(_, share)| share.bytes);
            let Some(organization) = largest.map(|(organization, _)| *organization) else {
                return;
            };
            let share = self.organizations.remove(&organization).unwrap_or_default();
            self.bytes -= share.bytes;
        }
    }
}

fn size_of(row: &Model) -> usize {
    let texts = [row.variants.as_deref(), row.targetings.as_deref()];
    let texts: usize = texts.into_iter().flatten().map(str::len).sum();
    OVERHEAD + texts + row.default_variant.len() + row.metadata.len() + row.name.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(organization: u128, number: u128, bytes: usize) -> Model {
        Model {
            id: Uuid::from_u128(number),
            organization_id: Uuid::from_u128(organization),
            slug: format!("flag-{number}"),
            name: "x".repeat(bytes),
            description: None,
            kind: "boolean".to_owned(),
            enabled: true,
            event_name: String::new(),
            metadata: "{}".to_owned(),
            variants: Some("[]".to_owned()),
            default_variant: r#"{"type":"basic","value":"on"}"#.to_owned(),
            targetings: None,
            created_at: 1,
            created_by_id: Uuid::nil(),
            created_by_name: None,
            updated_at: 1,
            updated_by_id: Uuid::nil(),
            updated_by_name: None,
        }
    }

    #[test]
    fn an_organization_with_long_flags_pushes_out_only_its_own() {
        let cache = FlagCache::default();
        cache.of(row(1, 1, 100)).unwrap();
        for number in 2..40 {
            cache.of(row(2, number, MAX_BYTES / 16)).unwrap();
            assert!(cache.remembered().bytes <= MAX_BYTES);
        }
        let kept = |organization, number| {
            let organization = OrganizationId(Uuid::from_u128(organization));
            cache.get(organization, Uuid::from_u128(number), 1).is_some()
        };
        assert!(kept(1, 1));
        assert!(!kept(2, 2) && kept(2, 39));
    }
}
