//! Defines the scope of endpoints, messages and history: an application within an organization.
//!
//! # Guarantees
//! Whatever belongs to one application is read and written with its [`Scope`], and every query names both parts of it: the
//! organization, because another tenant's row is never shown, and the application, because two applications of one
//! organization do not see each other's endpoints, messages, attempts and recoveries. An event reaches endpoints of its own
//! scope only.
//!
//! # Design
//! Every organization has a default application, whose ID is the organization's ID. A surface without applications works in
//! [`Scope::default_of`] and never mentions them. A surface with applications finds the scope of a request by looking up
//! the application among those of the caller's organization.
//!
//! A scope does not prove that the application belongs to the organization: sources name both. What a source names is
//! checked before its events are routed.
//!
//! # Limits
//! Tokens, domains, event types, quotas and the shares of fair scheduling belong to the organization, so that more
//! applications do not get an organization more of them.

use uuid::Uuid;

use crate::{ApplicationId, EventId, OrganizationId};

/// An application within its organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The tenant.
    pub organization: OrganizationId,
    /// The application, which belongs to the tenant.
    pub application: ApplicationId,
}

impl Scope {
    /// The default application of an organization.
    pub const fn default_of(organization: OrganizationId) -> Self {
        Self {
            organization,
            application: ApplicationId::default_of(organization),
        }
    }

    /// An application of an organization; the default one for `None`, as in the outbox.
    pub fn new(organization: OrganizationId, application: Option<ApplicationId>) -> Self {
        Self {
            organization,
            application: application.unwrap_or(ApplicationId::default_of(organization)),
        }
    }

    /// Whether it is the organization's default application.
    pub fn is_default(self) -> bool {
        self.application.0 == self.organization.0
    }

    /// The application as the outbox holds it: `None` for the default one.
    pub fn named_application(self) -> Option<ApplicationId> {
        (!self.is_default()).then_some(self.application)
    }

    /// The name space of event IDs that are derived from what a sender chose (RFC 9562, version 5). It depends on the
    /// organization even if the sender names an application of another one.
    fn name_space(self) -> Uuid {
        match self.named_application() {
            None => self.organization.0,
            Some(application) => {
                let name = [b"application\n", application.0.as_bytes().as_slice()].concat();
                Uuid::new_v5(&self.organization.0, &name)
            }
        }
    }
}

impl EventId {
    /// The identity of an event that its sender named `key`: the same for the same application and key, so that a
    /// repeated request is recognised, and unguessable from outside the application's own keys (RFC 9562, version 5).
    pub fn from_client_key(scope: Scope, key: &str) -> Self {
        Self(Uuid::new_v5(&scope.name_space(), key.as_bytes()))
    }

    /// The identity of the event at `place` in a request that its sender may repeat: the same for the same application
    /// and request. `request` names the request, also among those of other senders in the organization.
    pub fn from_request(scope: Scope, request: &[u8; 32], place: u32) -> Self {
        // A name space of its own: no key that a client chooses leads into it.
        let requests = Uuid::new_v5(&scope.name_space(), b"idempotency-key");
        Self(Uuid::new_v5(
            &requests,
            &[request.as_slice(), &place.to_be_bytes()].concat(),
        ))
    }

    /// The identity of an event that an outside source named `id`: the same whenever it comes again, and different for
    /// every organization, application and source. What one of them sends can neither suppress another's event nor find
    /// out that there is one, though all events share one key space (RFC 9562, version 5, in the scope's name space).
    pub fn of_source(scope: Scope, source: &str, id: &str) -> Self {
        Self::from_client_key(scope, &format!("{source}\n{id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_id_is_another_event_for_every_organization_application_and_source() {
        let [mine, other] = [1, 2].map(|number| Scope::default_of(OrganizationId(Uuid::from_u128(number))));
        let id = EventId::of_source(mine, "shop", "17");
        assert_eq!(id, EventId::of_source(mine, "shop", "17"));
        assert_ne!(id, EventId::of_source(other, "shop", "17"));
        let application = Scope::new(mine.organization, Some(ApplicationId(Uuid::from_u128(3))));
        assert_ne!(id, EventId::of_source(application, "shop", "17"));
        assert_ne!(id, EventId::of_source(mine, "billing", "17"));
        assert_ne!(id, EventId::from_client_key(mine, "17"));
    }

    #[test]
    fn the_default_application_has_the_organizations_id_and_no_name_in_the_outbox() {
        let [organization, other] = [1, 2].map(|number| OrganizationId(Uuid::from_u128(number)));
        let default = Scope::default_of(organization);
        assert_eq!(default.application.0, organization.0);
        assert_eq!(default.named_application(), None);
        assert_eq!(Scope::new(organization, None), default);
        let application = ApplicationId(Uuid::from_u128(3));
        let named = Scope::new(organization, Some(application));
        assert_eq!(named.named_application(), Some(application));
        let spaces = [
            default,
            named,
            Scope::default_of(other),
            Scope::new(other, Some(application)),
            Scope::new(other, Some(default.application)),
        ]
        .map(Scope::name_space);
        let distinct: std::collections::HashSet<_> = spaces.into_iter().collect();
        assert_eq!(distinct.len(), spaces.len());
    }
}
