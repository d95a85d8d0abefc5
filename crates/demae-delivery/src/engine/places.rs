//! What deliveries take in memory: a place until their attempt begins, and bytes until it ends.
//!
//! # Guarantees
//! - At most as many deliveries and as many of their bytes are in memory as the process has room for, shared among
//!   organizations, then endpoints ([`super::shares`]).
//! - A delivery counts for its message and for the encoded body of its attempt ([`cost_of`]), from the beginning: when its
//!   attempt begins, the room for the body is there.
//! - A delivery that is larger than the room for its lane is taken if the lane has nothing else, so it goes out at last.
//!
//! # Limits
//! - A message that goes to several endpoints counts for each of them, although they share it.
//! - How large the deliveries are that a claim brings is known only afterwards. A lane claims by the largest delivery that
//!   it has seen lately, and [`FIRST_CLAIM`] deliveries while it has seen none.

use demae_event::OrganizationId;
use demae_store::engine::{CLAIM_BYTES, Message};

use super::{lane::Lane, shares::Pool};

/// Deliveries that a lane claims first, of whose size nothing is known.
const FIRST_CLAIM: u64 = 16;
/// What the claim of such a lane is expected to cost.
const FIRST_COST: u64 = cost(CLAIM_BYTES / 2);

/// What a delivery takes in memory whose message has `bytes` of texts: the message and its encoded body.
pub(super) const fn cost(bytes: u64) -> u64 {
    2 * bytes
}

/// What a delivery of `message` takes in memory.
pub(super) fn cost_of(message: &Message) -> u64 {
    cost(message.size() as u64)
}

/// All places and bytes of the process.
#[derive(Debug)]
pub(super) struct Places {
    deliveries: Pool,
    bytes: Pool,
}

impl Places {
    pub(super) fn new(deliveries: usize, bytes: u64) -> Self {
        Self {
            deliveries: Pool::new(deliveries as u64),
            bytes: Pool::new(bytes),
        }
    }

    /// Takes a place and `size` bytes for a fresh delivery, if there is room.
    pub(super) fn take_fresh(&mut self, lane: &mut Lane, size: u64) -> bool {
        let room = self.room_for_bytes(lane);
        let fits = size <= room || (lane.bytes() == 0 && room > 0);
        let taken = fits && self.take_for_claim(lane, 1) > 0;
        if taken {
            self.take_bytes(lane, size);
        }
        taken
    }

    /// Takes at most `wanted` places for deliveries whose size is not known yet.
    pub(super) fn take_for_claim(&mut self, lane: &mut Lane, wanted: u32) -> u32 {
        let room = self
            .deliveries
            .room(lane.organization(), u64::from(lane.places()));
        let taken = u64::from(wanted).min(room) as u32;
        self.deliveries.take(lane.organization(), u64::from(taken));
        lane.reserve(taken);
        taken
    }

    /// How many deliveries the lane may claim by their bytes.
    pub(super) fn claimable(&self, lane: &Lane) -> u32 {
        let room = self.room_for_bytes(lane);
        let claimable = match lane.largest() {
            0 => FIRST_CLAIM.min(room),
            largest => (room / largest).max(u64::from(room > 0 && lane.bytes() == 0)),
        };
        u32::try_from(claimable).unwrap_or(u32::MAX)
    }

    /// About what it costs to claim so many deliveries for the lane.
    pub(super) fn expected(lane: &Lane, deliveries: u32) -> u64 {
        match lane.largest() {
            _ if deliveries == 0 => 0,
            0 => FIRST_COST,
            largest => (u64::from(deliveries) * largest).min(cost(CLAIM_BYTES) + largest),
        }
    }

    fn room_for_bytes(&self, lane: &Lane) -> u64 {
        self.bytes.room(lane.organization(), lane.bytes())
    }

    /// Counts the bytes of a delivery that is in memory now.
    pub(super) fn take_bytes(&mut self, lane: &mut Lane, size: u64) {
        self.bytes.take(lane.organization(), size);
        lane.add_bytes(size);
    }

    /// Gives the bytes of deliveries back whose attempt has ended, or that are not kept.
    pub(super) fn give_back_bytes(&mut self, lane: &mut Lane, size: u64) {
        self.bytes.give_back(lane.organization(), size);
        lane.remove_bytes(size);
    }

    /// Gives places back of deliveries that begin, or are not kept.
    pub(super) fn give_back(&mut self, organization: OrganizationId, places: u64) {
        self.deliveries.give_back(organization, places);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn lane() -> Lane {
        Lane::new(OrganizationId(Uuid::nil()))
    }

    #[test]
    fn large_deliveries_fill_the_memory_before_the_places_do() {
        let mut places = Places::new(1_000, 100);
        let mut lane = lane();
        let taken = (0..10).filter(|_| places.take_fresh(&mut lane, 10)).count();
        assert_eq!(
            (taken, lane.bytes()),
            (2, 20),
            "a quarter is the most for one endpoint"
        );
        places.give_back_bytes(&mut lane, 20);
        assert!(
            places.take_fresh(&mut lane, 1_000),
            "alone, also what is larger than all"
        );
        assert!(!places.take_fresh(&mut lane, 1));
        let mut other = Lane::new(OrganizationId(Uuid::from_u128(1)));
        assert!(!places.take_fresh(&mut other, 1));
    }

    #[test]
    fn a_claim_is_expected_to_cost_what_the_lane_brought_lately() {
        let mut places = Places::new(1_000, 4_000);
        let mut lane = lane();
        assert_eq!(Places::expected(&lane, 0), 0, "nothing is claimed");
        assert_eq!(Places::expected(&lane, 16), CLAIM_BYTES, "nothing is known");
        places.take_bytes(&mut lane, 100);
        assert_eq!(Places::expected(&lane, 16), 1_600);
        assert_eq!(
            Places::expected(&lane, u32::MAX),
            cost(CLAIM_BYTES) + 100,
            "a claim ends at its bytes"
        );
    }

    #[test]
    fn a_lane_claims_by_the_largest_that_it_has_seen() {
        let mut places = Places::new(1_000, 4_000);
        let mut lane = lane();
        assert_eq!(places.claimable(&lane), 16, "nothing is known");
        places.take_bytes(&mut lane, 100);
        places.give_back_bytes(&mut lane, 100);
        assert_eq!(places.claimable(&lane), 10);
        places.take_bytes(&mut lane, 3_000);
        assert_eq!(places.claimable(&lane), 0, "no room");
        places.give_back_bytes(&mut lane, 3_000);
        assert_eq!(places.claimable(&lane), 1, "one at least");
        for _ in 0..100 {
            places.take_bytes(&mut lane, 10);
            places.give_back_bytes(&mut lane, 10);
        }
        assert!(places.claimable(&lane) > 50, "that was long ago");
    }
}
