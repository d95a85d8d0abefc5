//! Who acts.

use demae_event::{OrganizationId, Timestamp};
use uuid::Uuid;

use crate::{
    model::User,
    scope::{Scope, ScopeSet},
};

/// Who acts, in which organization, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The service account, for a token.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The organization it belongs to; it can act in no other.
    pub organization_id: OrganizationId,
    /// What it may do.
    pub scopes: ScopeSet,
    /// When it can act no longer; none for whoever needs no token, or has one without an end.
    pub expires_at: Option<Timestamp>,
}

impl Actor {
    /// Whoever has the machine: the command line, which needs no token.
    pub fn operator(organization_id: OrganizationId) -> Self {
        Self {
            id: Uuid::nil(),
            name: "operator".to_owned(),
            organization_id,
            scopes: ScopeSet::all(),
            expires_at: None,
        }
    }

    /// Whether it may do this.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.allows(scope)
    }

    /// As audit fields show it.
    pub fn user(&self) -> User {
        User {
            id: self.id,
            name: Some(self.name.clone()),
        }
    }
}
