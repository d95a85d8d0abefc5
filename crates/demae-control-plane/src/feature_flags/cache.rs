//! Flags with their rules compiled, remembered by revision.
//!
//! Nothing here is ever out of date: an entry is used only for the `updated_at` with which its row was just seen, which
//! grows with every change.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use demae_store::{StoreError, entity::feature_flag::Model};
use uuid::Uuid;

use super::{evaluation::CompiledFlag, model_of};

/// JSON of remembered flags, at most, in bytes; compiled they are some times as large.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// What a flag counts for besides its JSON.
const OVERHEAD: usize = 512;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct FlagCache(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    flags: HashMap<Uuid, (i64, Arc<CompiledFlag>)>,
    bytes: usize,
}

impl FlagCache {
    /// The flag in this revision, if it is remembered.
    pub(super) fn get(&self, id: Uuid, updated_at: i64) -> Option<Arc<CompiledFlag>> {
        let remembered = self.remembered();
        let (revision, flag) = remembered.flags.get(&id)?;
        (*revision == updated_at).then(|| Arc::clone(flag))
    }

    /// The flag of this row.
    pub(super) fn of(&self, row: Model) -> Result<Arc<CompiledFlag>, StoreError> {
        let (id, revision) = (row.id, row.updated_at);
        if let Some(flag) = self.get(id, revision) {
            return Ok(flag);
        }
        let size = size_of(&row);
        // Outside the lock: reading rules takes a while.
        let flag = Arc::new(CompiledFlag::new(model_of(row)?));
        let mut remembered = self.remembered();
        if remembered.bytes + size > MAX_BYTES {
            // Rare, and what is asked for comes back with the next request.
            *remembered = Remembered::default();
        }
        remembered.bytes += size;
        remembered.flags.insert(id, (revision, Arc::clone(&flag)));
        Ok(flag)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        // Whoever panicked: at worst the sum is too high.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size_of(row: &Model) -> usize {
    let texts = [row.variants.as_deref(), row.targetings.as_deref()];
    let texts: usize = texts.into_iter().flatten().map(str::len).sum();
    OVERHEAD + texts + row.default_variant.len() + row.metadata.len() + row.name.len()
}
