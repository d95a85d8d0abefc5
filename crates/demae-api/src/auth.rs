//! Who asks, and whether they may.
//!
//! A request comes with `Authorization: Bearer ksh_…`. The token is looked up by its digest; what it stands for is a
//! `Caller`, the only thing from which a handler learns an organization. `Allowed` is the extractor that every
//! handler begins with: its type names the scope, so that a handler without a check does not compile into one that has a
//! caller.
//!
//! # Revocation
//!
//! A query per request would cost more than taking in an event, so what a token stands for is remembered, for
//! [`FRESH_FOR`], ten milliseconds, counted from the moment the question was put to the database. Within a process a
//! revocation forgets everything remembered, so the very next request is refused. Another process (a second server, the
//! command line) is heard of within those ten milliseconds, which is less than its own answer takes to travel. At any
//! load that is at most a hundred look-ups a second per token; callers that arrive during one share it. Tokens that open
//! nothing are not remembered.

use std::{
    collections::HashMap,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::extract::FromRequestParts;
use demae_control_plane::{
    Access, Actor, Change, Module, Scope,
    revision::Expected,
    token::{self, Credential},
};
use demae_event::Timestamp;
use demae_store::{Store, StoreError, Transaction};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::{HeaderMap, header, request::Parts};
use tokio::time::Instant;

use crate::{
    ApiState,
    problem::{Problem, ProblemKind},
    revision, trace,
};

/// How long the answer to "what does this token stand for" is used again.
pub const FRESH_FOR: Duration = Duration::from_millis(10);

/// Tokens remembered, at most.
const MAX_REMEMBERED: usize = 4_096;

/// Longest `Authorization` header that is looked at.
const MAX_HEADER: usize = 512;

/// Who asks, when, in which trace, and on which state of what it changes the request insists.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    actor: Arc<Actor>,
    now: Timestamp,
    traceparent: Option<String>,
    expected: Expected,
}

impl Caller {
    /// Somebody, for tests of what callers do.
    #[cfg(test)]
    pub(crate) fn somebody(actor: Actor, now: Timestamp) -> Self {
        Self {
            actor: Arc::new(actor),
            now,
            traceparent: None,
            expected: Expected::Anything,
        }
    }

    /// Who asks.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// When the request was taken up.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// A change that this request makes.
    pub(crate) fn change<'c>(&'c self, transaction: &'c mut Transaction) -> Change<'c> {
        Change::new(transaction, &self.actor, self.now)
            .traced(self.traceparent())
            .expecting(self.expected.clone())
    }

    /// On which state of what it changes the request insists.
    pub(crate) fn expected(&self) -> &Expected {
        &self.expected
    }

    /// The trace it belongs to.
    pub(crate) fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }
}

/// A scope as a type.
pub(crate) trait Wanted: Send + Sync + 'static {
    /// The scope.
    const SCOPE: Scope;
}

macro_rules! wanted {
    ($($name:ident = $access:ident $module:ident,)*) => {
        $(
            #[doc = concat!(stringify!($access), " ", stringify!($module), ".")]
            #[derive(Debug)]
            pub(crate) struct $name;

            impl Wanted for $name {
                const SCOPE: Scope = Scope { access: Access::$access, module: Some(Module::$module) };
            }
        )*
    };
}

wanted! {
    ReadCustomers = Read Customers,
    WriteCustomers = Write Customers,
    ReadInstances = Read Instances,
    WriteInstances = Write Instances,
    ReadLicenses = Read Licenses,
    WriteLicenses = Write Licenses,
    ReadEntitlements = Read Entitlements,
    WriteEntitlements = Write Entitlements,
    ReadFeatureFlags = Read FeatureFlags,
    WriteFeatureFlags = Write FeatureFlags,
    ReadDeploymentZones = Read DeploymentZones,
    WriteDeploymentZones = Write DeploymentZones,
    ReadReleases = Read Releases,
    WriteReleases = Write Releases,
    ReadComponents = Read Components,
    WriteComponents = Write Components,
    ReadOrganizations = Read Organizations,
    ReadWebhooks = Read Webhooks,
    WriteWebhooks = Write Webhooks,
    ReadTokens = Read Tokens,
    WriteTokens = Write Tokens,
}

/// A caller who has the scope `W`.
pub(crate) struct Allowed<W> {
    /// Who asks.
    pub(crate) caller: Caller,
    scope: PhantomData<W>,
}

impl<W: Wanted> FromRequestParts<ApiState> for Allowed<W> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let caller = identify(&parts.headers, state).await?;
        if !caller.actor.may(W::SCOPE) {
            let detail = format!("The scope {} is needed.", W::SCOPE);
            return Err(Problem::new(ProblemKind::Forbidden, "Auth.MissingScope", detail));
        }
        Ok(Self {
            caller,
            scope: PhantomData,
        })
    }
}

async fn identify(headers: &HeaderMap, state: &ApiState) -> Result<Caller, Problem> {
    let text = bearer(headers).ok_or_else(no_identity)?;
    let credential = state
        .tokens()
        .credential(state.store(), token::digest(text))
        .await;
    let credential = credential
        .map_err(|error| Problem::unavailable(&*error))?
        .ok_or_else(no_identity)?;
    let now = state.now();
    // Unknown, expired or revoked: which of them is nobody's business who does not hold a valid one.
    let actor = credential.at(now).map_err(|_| no_identity())?;
    Ok(Caller {
        actor: Arc::new(actor),
        now,
        traceparent: trace::traceparent(headers),
        expected: revision::expected(headers),
    })
}

/// The token of an `Authorization: Bearer …` header (RFC 6750, section 2.1); the scheme's case does not matter.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, text) = header.split_once(' ')?;
    let text = text.trim();
    let plausible = scheme.eq_ignore_ascii_case("bearer")
        && header.len() <= MAX_HEADER
        && text.starts_with(token::PREFIX);
    plausible.then_some(text)
}

fn no_identity() -> Problem {
    Problem::new(
        ProblemKind::Unauthenticated,
        "Auth.NoIdentity",
        "A valid token is needed: Authorization: Bearer ksh_…",
    )
}

type Found = Result<Option<Arc<Credential>>, Arc<StoreError>>;
type Lookup = Shared<BoxFuture<'static, Found>>;

struct Remembered {
    asked_at: Instant,
    lookup: Lookup,
}

/// What tokens stand for. See the module's documentation.
#[derive(Default)]
pub(crate) struct TokenCache(Mutex<HashMap<[u8; 32], Remembered>>);

impl TokenCache {
    /// What the token of this digest stands for, as of at most [`FRESH_FOR`] ago.
    async fn credential(&self, store: &Store, digest: [u8; 32]) -> Found {
        let lookup = self.lookup(store, digest);
        let found = lookup.clone().await;
        if !matches!(found, Ok(Some(_))) {
            self.forget(&digest, &lookup);
        }
        found
    }

    /// Forgets everything: a token was revoked.
    pub(crate) fn clear(&self) {
        self.remembered().clear();
    }

    fn lookup(&self, store: &Store, digest: [u8; 32]) -> Lookup {
        let mut remembered = self.remembered();
        if let Some(known) = remembered.get(&digest)
            && known.asked_at.elapsed() < FRESH_FOR
        {
            return known.lookup.clone();
        }
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, known| known.asked_at.elapsed() < FRESH_FOR);
            if remembered.len() >= MAX_REMEMBERED {
                remembered.clear();
            }
        }
        let store = store.clone();
        let lookup = async move {
            let found = token::find_credential(&store, &digest).await.map_err(Arc::new)?;
            Ok(found.map(Arc::new))
        };
        let lookup = lookup.boxed().shared();
        remembered.insert(
            digest,
            Remembered {
                asked_at: Instant::now(),
                lookup: lookup.clone(),
            },
        );
        lookup
    }

    /// Forgets one answer, unless somebody has asked anew since.
    fn forget(&self, digest: &[u8; 32], lookup: &Lookup) {
        let mut remembered = self.remembered();
        if remembered
            .get(digest)
            .is_some_and(|known| known.lookup.ptr_eq(lookup))
        {
            remembered.remove(digest);
        }
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Remembered>> {
        // A map of answers is whole at every moment, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_bearer_tokens_of_ours() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(read("Bearer ksh_abc"), Some("ksh_abc".to_owned()));
        assert_eq!(read("bEARER  ksh_abc "), Some("ksh_abc".to_owned()));
        for text in [
            "",
            "ksh_abc",
            "Basic ksh_abc",
            "Bearer",
            "Bearer ",
            "Bearer ksm_abc",
            "Bearer whsec_abc",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&format!("Bearer ksh_{}", "x".repeat(MAX_HEADER))), None);
    }
}
