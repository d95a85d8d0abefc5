//! Shares permits out among organizations.
//!
//! # Guarantees
//! An organization holds at most its share, so the others always find permits beside it. An organization beyond its share
//! waits for its own permits first, and stands in nobody's way meanwhile.
//!
//! # Limits
//! Three organizations that take their whole shares can hold everything, if a share is a third. At most so many users of one
//! organization hold or wait ([`Shares::new`]); organizations without users cost nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use demae_event::OrganizationId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits of one kind. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shares(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    permits: Arc<Semaphore>,
    /// Permits that one organization may hold.
    share: usize,
    /// Users of one organization that hold permits or wait for them.
    most_users: usize,
    /// Organizations with users.
    organizations: Mutex<HashMap<OrganizationId, Organization>>,
}

#[derive(Debug)]
struct Organization {
    own: Arc<Semaphore>,
    users: usize,
}

/// The organization has too many users, or there are no permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many are at work")]
pub(crate) struct NoShare;

/// Permits that are held; dropped, they are free again.
#[derive(Debug)]
pub(crate) struct Share {
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    _place: Place,
}

/// A user that holds permits or waits for them.
#[derive(Debug)]
struct Place {
    shares: Shares,
    organization: OrganizationId,
    own: Arc<Semaphore>,
}

impl Shares {
    /// `permits` in all, `share` of them for one organization, which has `most_users` at most.
    pub(crate) fn new(permits: usize, share: usize, most_users: usize) -> Self {
        Self(Arc::new(Shared {
            permits: Arc::new(Semaphore::new(permits)),
            share: share.clamp(1, permits.max(1)),
            most_users,
            organizations: Mutex::default(),
        }))
    }

    /// Waits for one permit; how long is the caller's business. Refused at once if the organization has too many users.
    pub(crate) async fn take(&self, organization: OrganizationId) -> Result<Share, NoShare> {
        let place = self.enter(organization)?;
        let own = Arc::clone(&place.own)
            .acquire_owned()
            .await
            .map_err(|_| NoShare)?;
        let permit = Arc::clone(&self.0.permits)
            .acquire_owned()
            .await
            .map_err(|_| NoShare)?;
        Ok(Share {
            _permits: (own, permit),
            _place: place,
        })
    }

    /// Takes `weight` permits if they are free now. More than a share count as the share.
    pub(crate) fn try_take(&self, organization: OrganizationId, weight: u64) -> Result<Share, NoShare> {
        let place = self.enter(organization)?;
        let weight = usize::try_from(weight).unwrap_or(usize::MAX).min(self.0.share) as u32;
        let own = Arc::clone(&place.own)
            .try_acquire_many_owned(weight)
            .map_err(|_| NoShare)?;
        let permits = Arc::clone(&self.0.permits)
            .try_acquire_many_owned(weight)
            .map_err(|_| NoShare)?;
        Ok(Share {
            _permits: (own, permits),
            _place: place,
        })
    }

    fn enter(&self, organization: OrganizationId) -> Result<Place, NoShare> {
        let mut organizations = self.organizations();
        let entry = organizations.entry(organization).or_insert_with(|| Organization {
            own: Arc::new(Semaphore::new(self.0.share)),
            users: 0,
        });
        if entry.users >= self.0.most_users {
            return Err(NoShare);
        }
        entry.users += 1;
        Ok(Place {
            shares: self.clone(),
            organization,
            own: Arc::clone(&entry.own),
        })
    }

    fn organizations(&self) -> MutexGuard<'_, HashMap<OrganizationId, Organization>> {
        // A map of counts is whole at every moment, also after a panic.
        self.0
            .organizations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut organizations = self.shares.organizations();
        if let Some(entry) = organizations.get_mut(&self.organization) {
            entry.users -= 1;
            if entry.users == 0 {
                organizations.remove(&self.organization);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;

    fn organization(number: u128) -> OrganizationId {
        OrganizationId(Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn an_organization_beyond_its_share_waits_and_another_does_not() {
        let shares = Shares::new(4, 2, 3);
        let held = [
            shares.take(organization(1)).await.unwrap(),
            shares.take(organization(1)).await.unwrap(),
        ];
        let mut third = Box::pin(shares.take(organization(1)));
        assert!((&mut third).now_or_never().is_none());
        assert_eq!(
            shares.take(organization(1)).await.unwrap_err(),
            NoShare,
            "a fourth user"
        );
        let other = shares.take(organization(2)).await.unwrap();
        drop(held);
        drop((third.await.unwrap(), other));
        assert!(shares.organizations().is_empty());
    }

    #[test]
    fn weights_count_against_the_share_and_all_permits() {
        let shares = Shares::new(10, 6, 9);
        let most = shares.try_take(organization(1), 100).unwrap();
        assert!(shares.try_take(organization(1), 1).is_err());
        let rest = shares.try_take(organization(2), 4).unwrap();
        assert!(shares.try_take(organization(3), 1).is_err());
        drop((most, rest));
        assert!(shares.try_take(organization(3), 6).is_ok());
        assert!(shares.organizations().is_empty());
    }
}
