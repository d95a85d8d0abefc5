//! What the actors did, and what came of it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Result, ensure};

/// Acts by actor and outcome. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Arc<Mutex<BTreeMap<&'static str, BTreeMap<String, u64>>>>);

/// The answer that no request may get, whoever sent it: an error of the program's own.
const OWN_ERROR: &str = "500";

impl Tally {
    pub(super) fn count(&self, actor: &'static str, outcome: &str, times: u64) {
        let mut acts = self.acts();
        let outcomes = acts.entry(actor).or_default();
        if let Some(count) = outcomes.get_mut(outcome) {
            *count += times;
        } else {
            outcomes.insert(outcome.to_owned(), times);
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.acts().values().flat_map(BTreeMap::values).sum()
    }

    /// Whether there is an outcome of an actor's.
    pub(super) fn has_acted(&self, actor: &str) -> bool {
        self.acts().contains_key(actor)
    }

    /// No actor was kept from acting, and none met an error of the program's own.
    pub(super) fn judge(&self) -> Result<()> {
        for (actor, outcomes) in &*self.acts() {
            ensure!(
                !outcomes.contains_key(OWN_ERROR),
                "{actor} was answered {OWN_ERROR}: {outcomes:?}"
            );
        }
        Ok(())
    }

    fn acts(&self) -> MutexGuard<'_, BTreeMap<&'static str, BTreeMap<String, u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (actor, outcomes) in &*self.acts() {
            let all: u64 = outcomes.values().sum();
            write!(f, "\n  {actor} {all}: {outcomes:?}")?;
        }
        Ok(())
    }
}
