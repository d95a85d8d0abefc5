//! Shares a bounded resource among organizations first, then among the endpoints of each.
//!
//! Pure: no clock, no tasks, no waiting. [`super::permits`] shares attempts in flight with it, [`super::places`] the
//! deliveries in memory and their bytes.
//!
//! # Guarantees
//! - An organization may grow to as much as is free: while it is alone it gets one half of the pool, two get a third
//!   each, `n` get `1 / (n + 1)` each. So a piece of the size of one share stays free for the organization that asks
//!   next, however greedy the others are and however long they keep what they hold.
//! - Within what its organization may hold, the same rule divides between its endpoints.
//! - While fewer organizations than units hold anything, a newcomer always finds a unit.
//!
//! # Design
//! Units are held for as long as a receiver likes, and cannot be taken back. A rule that lends all idle units to
//! whoever asks therefore fails the next one to ask; a fixed share per organization leaves most of the pool idle. The
//! rule here is the dynamic threshold of shared-memory switches (Choudhury and Hahne, 1998): what one may hold is
//! proportional to what is free. It needs two numbers, no list of who is active, and no timer.
//!
//! # Limits
//! The free piece is the price: one organization with one endpoint uses at most a quarter of the pool.

use std::collections::HashMap;

use demae_event::OrganizationId;

/// So many units, and who holds how many.
#[derive(Debug)]
pub(super) struct Pool {
    total: u64,
    used: u64,
    /// Only organizations that hold something.
    organizations: HashMap<OrganizationId, u64>,
}

impl Pool {
    pub(super) fn new(total: u64) -> Self {
        Self {
            total,
            used: 0,
            organizations: HashMap::new(),
        }
    }

    /// Units held by anybody.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// How many more units an endpoint of `organization` may take that holds `own` of them.
    pub(super) fn room(&self, organization: OrganizationId, own: u64) -> u64 {
        let free = self.total.saturating_sub(self.used);
        let held = self.organizations.get(&organization).copied().unwrap_or_default();
        let of_organization = half(free.saturating_sub(held));
        half(of_organization.saturating_sub(own))
    }

    /// Takes units, also beyond the room for them: the caller decides what is indivisible.
    pub(super) fn take(&mut self, organization: OrganizationId, units: u64) {
        if units > 0 {
            self.used += units;
            *self.organizations.entry(organization).or_default() += units;
        }
    }

    /// Gives units back.
    pub(super) fn give_back(&mut self, organization: OrganizationId, units: u64) {
        self.used = self.used.saturating_sub(units);
        if let Some(held) = self.organizations.get_mut(&organization) {
            *held = held.saturating_sub(units);
            if *held == 0 {
                self.organizations.remove(&organization);
            }
        }
    }
}

/// After taking `n / 2`, what was taken is at most what is left; the last single unit may be taken.
fn half(units: u64) -> u64 {
    units.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn organization(number: u128) -> OrganizationId {
        OrganizationId(Uuid::from_u128(number))
    }

    /// Takes one unit after the other for endpoints of the organization, in turns, until none gets more.
    fn fill(pool: &mut Pool, organization: OrganizationId, endpoints: usize) -> Vec<u64> {
        let mut held = vec![0; endpoints];
        loop {
            let mut any = false;
            for own in &mut held {
                if pool.room(organization, *own) > 0 {
                    pool.take(organization, 1);
                    *own += 1;
                    any = true;
                }
            }
            if !any {
                return held;
            }
        }
    }

    #[test]
    fn greedy_organizations_leave_a_share_for_the_next_one() {
        for greedy in [1_u64, 2, 10, 100] {
            let mut pool = Pool::new(1_024);
            let mut held = vec![0_u64; greedy as usize];
            // All of them take in turns, each through many endpoints that hold nothing yet.
            while let Some(next) = (0..greedy).find(|n| {
                pool.room(organization(u128::from(*n)), 0) > 0
                    && held.iter().all(|other| held[*n as usize] <= *other)
            }) {
                pool.take(organization(u128::from(next)), 1);
                held[next as usize] += 1;
            }
            let share = 1_024 / (greedy + 1);
            assert!(
                held.iter().all(|held| held.abs_diff(share) <= 1),
                "{greedy}: {held:?}"
            );
            assert!(
                (1_024 - pool.used()).abs_diff(share) <= greedy + 1,
                "{greedy}: {} used",
                pool.used()
            );
        }
    }

    #[test]
    fn endpoints_divide_what_their_organization_may_hold() {
        let mut pool = Pool::new(1_024);
        let held = fill(&mut pool, organization(1), 80);
        assert!(held.iter().all(|held| (5..=7).contains(held)), "{held:?}");
        assert!(pool.room(organization(1), 0) > 0, "its next endpoint finds room");
        assert_eq!(fill(&mut Pool::new(1_024), organization(1), 1), [256]);
    }

    #[test]
    fn as_many_newcomers_as_there_are_units_find_one_each() {
        let mut pool = Pool::new(48);
        for number in 0..47 {
            assert!(pool.room(organization(number), 0) > 0, "organization {number}");
            pool.take(organization(number), 1);
        }
        assert_eq!(
            pool.room(organization(3), 1),
            0,
            "the last one is not for somebody who has one"
        );
        assert_eq!(pool.room(organization(99), 0), 1);
    }

    #[test]
    fn the_smallest_pool_can_be_used() {
        let mut pool = Pool::new(1);
        assert_eq!(pool.room(organization(1), 0), 1);
        pool.take(organization(1), 1);
        assert_eq!(pool.room(organization(2), 0), 0);
        pool.give_back(organization(1), 1);
        assert_eq!(
            (pool.used(), pool.organizations.len()),
            (0, 0),
            "nothing is remembered"
        );
    }

    #[test]
    fn more_than_there_is_leaves_no_room_and_comes_back() {
        let mut pool = Pool::new(10);
        pool.take(organization(1), 25);
        assert_eq!(pool.room(organization(2), 0), 0);
        pool.give_back(organization(1), 25);
        assert_eq!(pool.room(organization(2), 0), 3);
    }
}
