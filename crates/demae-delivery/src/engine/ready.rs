//! Orders the lanes that have something due in the table, so that each organization gets its turn.
//!
//! # Guarantees
//! - Organizations take turns, and within an organization its lanes: one with a thousand lanes that are always due does
//!   not keep the others waiting.
//! - A lane is in the order once, and keeps its place until it is taken.
//!
//! Pure. [`super::scheduler`] claims for the lanes that this order names.

use std::collections::{HashMap, HashSet, VecDeque};

use demae_event::{EndpointId, OrganizationId};

/// The lanes to be served, in turns.
#[derive(Debug, Default)]
pub(super) struct Ready {
    turns: VecDeque<OrganizationId>,
    lanes: HashMap<OrganizationId, VecDeque<EndpointId>>,
    contained: HashSet<EndpointId>,
}

impl Ready {
    pub(super) fn is_empty(&self) -> bool {
        self.contained.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.contained.len()
    }

    /// Puts a lane at the end of its organization's, unless it is in the order already.
    pub(super) fn add(&mut self, organization: OrganizationId, endpoint: EndpointId) {
        if !self.contained.insert(endpoint) {
            return;
        }
        let lanes = self.lanes.entry(organization).or_default();
        if lanes.is_empty() {
            self.turns.push_back(organization);
        }
        lanes.push_back(endpoint);
    }

    /// Takes the lane whose turn it is.
    pub(super) fn take(&mut self) -> Option<(OrganizationId, EndpointId)> {
        let organization = self.turns.pop_front()?;
        let lanes = self.lanes.get_mut(&organization)?;
        let endpoint = lanes.pop_front()?;
        if lanes.is_empty() {
            self.lanes.remove(&organization);
        } else {
            self.turns.push_back(organization);
        }
        self.contained.remove(&endpoint);
        Some((organization, endpoint))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn organization(number: u128) -> OrganizationId {
        OrganizationId(Uuid::from_u128(number))
    }

    fn endpoint(number: u128) -> EndpointId {
        EndpointId(Uuid::from_u128(number))
    }

    #[test]
    fn an_organization_with_many_lanes_gets_every_other_turn() {
        let mut ready = Ready::default();
        for number in 0..1_000 {
            ready.add(organization(1), endpoint(number));
        }
        ready.add(organization(2), endpoint(5_000));
        ready.add(organization(2), endpoint(5_001));
        let order: Vec<u128> = std::iter::from_fn(|| ready.take())
            .map(|(_, endpoint)| endpoint.0.as_u128())
            .take(6)
            .collect();
        assert_eq!(order, [0, 5_000, 1, 5_001, 2, 3]);
        assert_eq!(ready.len(), 996);
    }

    #[test]
    fn a_lane_that_is_always_due_keeps_nobody_waiting() {
        let mut ready = Ready::default();
        for number in 0..3 {
            ready.add(organization(1), endpoint(number));
        }
        for number in [0, 1, 2, 0, 1, 2] {
            let (organization, taken) = ready.take().unwrap();
            assert_eq!(taken, endpoint(number));
            ready.add(organization, taken);
            ready.add(organization, taken);
        }
        assert_eq!(ready.len(), 3, "each is in it once");
        while ready.take().is_some() {}
        assert!(ready.is_empty() && ready.turns.is_empty() && ready.lanes.is_empty());
    }
}
