//! Defines the neutral requester: who asks, in which organization, with which rights, when, and in which trace.
//!
//! A surface's own extractor authenticates a request in the surface's own way and makes a [`Caller`] of it. Everything else
//! in this crate, [`write`](crate::write) first of all, takes the caller and asks nothing about the surface.
//!
//! # Guarantees
//! [`Caller::admit`] is the only way to make a caller, and it takes the request's turn among the readers of its organization
//! (see [`answers`](crate::answers)) and names the owner of its body. A request without a valid credential takes no turn.

use std::sync::Arc;

use demae_control_plane::{Actor, Change, revision::Expected};
use demae_event::{Scope, Timestamp};
use demae_store::Transaction;
use http::request::Parts;
use uuid::Uuid;

use crate::{ApiState, extract::BodyOwner, problem::Problem, revision, trace};

/// Who asks, when, in which trace, and on which state of what it changes the request insists.
#[derive(Debug, Clone)]
pub struct Caller {
    actor: Arc<Actor>,
    credential: Uuid,
    now: Timestamp,
    traceparent: Option<String>,
    expected: Expected,
}

impl Caller {
    /// The caller of a request whose credential was found valid at `now`. To be called once in a request.
    pub async fn admit(
        state: &ApiState,
        parts: &mut Parts,
        (actor, credential): (Actor, Uuid),
        now: Timestamp,
    ) -> Result<Self, Problem> {
        // Only now: a stranger takes no turn from anybody.
        state
            .answers()
            .begin(&parts.extensions, actor.organization_id)
            .await?;
        BodyOwner::tell(parts, actor.organization_id);
        Ok(Self {
            actor: Arc::new(actor),
            credential,
            now,
            traceparent: trace::traceparent(&parts.headers),
            expected: revision::expected(&parts.headers),
        })
    }

    /// Somebody, for tests of what callers do.
    #[cfg(test)]
    pub(crate) fn somebody(actor: Actor, now: Timestamp) -> Self {
        Self {
            actor: Arc::new(actor),
            credential: Uuid::nil(),
            now,
            traceparent: None,
            expected: Expected::Anything,
        }
    }

    /// Who asks.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The default application of the organization in which it asks. A surface with applications looks for the one that the
    /// request names among those of the organization instead.
    pub fn scope(&self) -> Scope {
        Scope::default_of(self.actor.organization_id)
    }

    /// The id of the credential that the request came with.
    pub fn credential(&self) -> Uuid {
        self.credential
    }

    /// When the request was taken up.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A change that this request makes.
    pub fn change<'c>(&'c self, transaction: &'c mut Transaction) -> Change<'c> {
        Change::new(transaction, &self.actor, self.now)
            .traced(self.traceparent())
            .expecting(self.expected.clone())
    }

    /// On which state of what it changes the request insists.
    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    /// The trace it belongs to.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }
}
