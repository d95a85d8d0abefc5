//! Shares permits out among organizations, or among other users that must not take everything.
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
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use demae_event::OrganizationId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits of one kind. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Shares<K: Copy + Eq + Hash = OrganizationId>(Arc<Shared<K>>);

impl<K: Copy + Eq + Hash> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Shared<K> {
    permits: Arc<Semaphore>,
    /// Permits that one organization may hold.
    share: usize,
    /// Users of one organization that hold permits or wait for them.
    most_users: usize,
    /// Organizations with users.
    organizations: Mutex<HashMap<K, Organization>>,
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
pub(crate) struct Share<K: Copy + Eq + Hash = OrganizationId> {
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    _place: Place<K>,
}

/// A user that holds permits or waits for them.
#[derive(Debug)]
struct Place<K: Copy + Eq + Hash> {
    shares: Shares<K>,
    organization: K,
    own: Arc<Semaphore>,
}

impl<K: Copy + Eq + Hash> Shares<K> {
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
    pub(crate) async fn take(&self, organization: K) -> Result<Share<K>, NoShare> {
        self.take_many(organization, 1).await
    }

    /// Waits for `weight` permits, otherwise as [`Self::take`]. More than a share count as the share.
    pub(crate) async fn take_many(&self, organization: K, weight: u64) -> Result<Share<K>, NoShare> {
        let place = self.enter(organization)?;
        let weight = self.weight(weight);
        let own = Arc::clone(&place.own)
            .acquire_many_owned(weight)
            .await
            .map_err(|_| NoShare)?;
        let permits = Arc::clone(&self.0.permits)
            .acquire_many_owned(weight)
            .await
            .map_err(|_| NoShare)?;
        Ok(Share {
            _permits: (own, permits),
            _place: place,
        })
    }

    /// Takes `weight` permits if they are free now. More than a share count as the share.
    pub(crate) fn try_take(&self, organization: K, weight: u64) -> Result<Share<K>, NoShare> {
        let place = self.enter(organization)?;
        let weight = self.weight(weight);
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

    /// Permits that nobody holds.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.0.permits.available_permits()
    }

    /// Users of this organization that hold permits or wait for them.
    #[cfg(test)]
    pub(crate) fn users(&self, organization: &K) -> usize {
        self.organizations()
            .get(organization)
            .map_or(0, |entry| entry.users)
    }

    fn weight(&self, weight: u64) -> u32 {
        let weight = usize::try_from(weight).unwrap_or(usize::MAX);
        u32::try_from(weight.min(self.0.share)).unwrap_or(u32::MAX)
    }

    fn enter(&self, organization: K) -> Result<Place<K>, NoShare> {
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

    fn organizations(&self) -> MutexGuard<'_, HashMap<K, Organization>> {
        // A map of counts is whole at every moment, also after a panic.
        self.0
            .organizations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Drop for Place<K> {
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
