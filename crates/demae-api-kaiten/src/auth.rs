//! Who asks, and whether they may.
//!
//! A request comes with `Authorization: Bearer ksh_…`. The token is looked up by its digest; what it stands for becomes a
//! [`Caller`], the only thing from which a handler learns an organization. `Allowed` is the extractor that every
//! handler begins with: its type names the scope, so that a handler without a check does not compile into one that has a
//! caller.
//!
//! # Revocation
//!
//! A query per request would cost more than accepting an event, so [`TokenLookup`](demae_api::tokens::TokenLookup) uses an
//! answer of the database again for [`FRESH_FOR`](demae_api::tokens::FRESH_FOR), ten milliseconds. Within a process a
//! revocation makes every answer obsolete, so the very next request is refused. A revocation by another process (a second
//! server, the command line) takes effect within those ten milliseconds, which is less than its own answer takes to travel.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use demae_api::{
    ApiState,
    caller::Caller,
    problem::{Problem, ProblemKind},
    tokens::LookupError,
};
use demae_control_plane::{Access, Module, Scope, token};
use http::{HeaderMap, header, request::Parts};

/// Longest `Authorization` header that is looked at.
const MAX_HEADER: usize = 512;

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
        let caller = identify(parts, state).await?;
        if !caller.actor().may(W::SCOPE) {
            let detail = format!("The scope {} is needed.", W::SCOPE);
            return Err(Problem::new(ProblemKind::Forbidden, "Auth.MissingScope", detail));
        }
        Ok(Self {
            caller,
            scope: PhantomData,
        })
    }
}

async fn identify(parts: &mut Parts, state: &ApiState) -> Result<Caller, Problem> {
    let headers = &parts.headers;
    let text = bearer(headers).ok_or_else(no_identity)?;
    let credential = state.tokens().credential(token::digest(text)).await;
    let credential = credential
        .map_err(|error| not_looked_up(&error))?
        .ok_or_else(no_identity)?;
    let now = state.now();
    // Unknown, expired or revoked: which of them is nobody's business who does not hold a valid one.
    let actor = credential.at(now).map_err(|_| no_identity())?;
    Caller::admit(state, parts, (actor, credential.token_id), now).await
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

fn not_looked_up(error: &LookupError) -> Problem {
    match error {
        LookupError::Busy => Problem::new(
            ProblemKind::Unavailable,
            "Auth.Busy",
            "Too many tokens are being looked up; try again.",
        ),
        LookupError::Store(_) | LookupError::Panicked => Problem::unavailable(error),
    }
}

fn no_identity() -> Problem {
    Problem::new(
        ProblemKind::Unauthenticated,
        "Auth.NoIdentity",
        "A valid token is needed: Authorization: Bearer ksh_…",
    )
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
