//! Decides when a change may take a connection of the database.
//!
//! # Guarantees
//! - Changes wait for their turn in this process, and hold no connection meanwhile. A turn that does not come within
//!   [`PATIENCE`] is refused with 503.
//! - An organization has at most half of the turns, and half of the places where changes wait. So a change of another
//!   organization waits for none that waits for its own organization's turn.
//! - Of the changes with one `Idempotency-Key`, one at a time has a turn; at most [`SAME_KEY`] of them have a place.
//! - A fifth of the connections is left to those that only read.
//!
//! # Limits
//! Each process counts by itself: of the changes with one key, each process may have one wait in the database.

use std::time::Duration;

use demae_event::OrganizationId;
use tokio::time::timeout;

use crate::{
    problem::{Problem, ProblemKind},
    shares::{Share, Shares},
};

/// The longest wait of a change for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Changes with one `Idempotency-Key` that have their turn or wait for it.
const SAME_KEY: usize = 128;
/// Changes leave one in so many connections to those that only read.
const LEFT_TO_READERS: usize = 5;
/// One organization's part of turns and places: so many.
const PART: usize = 2;

/// A digest that tells which requests are the same one.
pub(crate) type KeyDigest = [u8; 32];

/// The turns of one server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct WriteTurns {
    places: Shares,
    keys: Shares<KeyDigest>,
    turns: Shares,
}

/// A change's place among those that wait; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Place {
    organization: OrganizationId,
    of: WriteTurns,
    _held: Share,
}

/// A change's turn. Dropped, it is the next one's.
#[derive(Debug)]
pub(crate) struct Turn {
    // In this order: whoever waits for the key finds the turn free.
    _turn: Share,
    _key: Option<Share<KeyDigest>>,
    _place: Place,
}

impl WriteTurns {
    /// With `places` for one organization's changes under way and waiting, over so many connections.
    pub(crate) fn new(places: usize, connections: u32) -> Self {
        let all = places * PART;
        let connections = connections as usize;
        // On one connection (SQLite): one change at work, and one of another organization right behind it.
        let turns = (connections - connections / LEFT_TO_READERS).max(PART);
        Self {
            places: Shares::new(all, places, places),
            keys: Shares::new(all, 1, SAME_KEY),
            turns: Shares::new(turns, turns / PART, places),
        }
    }

    /// A place, if there is one now.
    pub(crate) fn enter(&self, organization: OrganizationId) -> Result<Place, Problem> {
        let held = self.places.try_take(organization, 1).map_err(|_| busy())?;
        Ok(Place {
            organization,
            of: self.clone(),
            _held: held,
        })
    }

    /// Changes of this organization that have a place.
    #[cfg(test)]
    pub(crate) fn places_of(&self, organization: OrganizationId) -> usize {
        self.places.users(&organization)
    }
}

impl Place {
    /// Waits for the turn of a change with this key.
    pub(crate) async fn turn(self, key: Option<KeyDigest>) -> Result<Turn, Problem> {
        let wait = async {
            let key = match key {
                Some(key) => Some(self.of.keys.take(key).await.map_err(|_| in_progress())?),
                None => None,
            };
            let turn = self.of.turns.take(self.organization).await;
            Ok::<_, Problem>((turn.map_err(|_| busy())?, key))
        };
        let (turn, key) = timeout(PATIENCE, wait).await.map_err(|_| busy())??;
        Ok(Turn {
            _turn: turn,
            _key: key,
            _place: self,
        })
    }
}

fn busy() -> Problem {
    Problem::new(
        ProblemKind::Unavailable,
        "Busy",
        "Too many changes are under way; try again.",
    )
}

fn in_progress() -> Problem {
    Problem::new(
        ProblemKind::Unavailable,
        "Idempotency.InProgress",
        "Too many requests with this Idempotency-Key wait for the first one's answer; try again.",
    )
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
    async fn an_organization_has_half_of_the_turns_and_of_the_places() {
        let turns = WriteTurns::new(4, 5);
        let turn = |number| turns.enter(organization(number)).unwrap().turn(None);
        let held = [turn(1).await.unwrap(), turn(1).await.unwrap()];
        let mut waiting = [Box::pin(turn(1)), Box::pin(turn(1))];
        assert!(waiting.iter_mut().all(|next| next.now_or_never().is_none()));
        let refused = turns.enter(organization(1)).unwrap_err();
        assert_eq!(
            (refused.kind(), refused.code()),
            (ProblemKind::Unavailable, "Busy")
        );
        let others = [turn(2).await.unwrap(), turn(2).await.unwrap()];
        drop(held);
        assert!(waiting.into_iter().all(|next| next.now_or_never().is_some()));
        drop(others);
    }

    #[tokio::test]
    async fn on_one_connection_another_organization_is_the_next() {
        let turns = WriteTurns::new(256, 1);
        let turn = |number| Box::pin(turns.enter(organization(number)).unwrap().turn(None));
        let first = turn(1).await.unwrap();
        let mut waiting: Vec<_> = (0..100).map(|_| turn(1)).collect();
        assert!(waiting.iter_mut().all(|next| next.now_or_never().is_none()));
        let other = turn(2).now_or_never().expect("waits for no change of another");
        drop((first, other));
    }

    #[tokio::test(start_paused = true)]
    async fn one_change_with_a_key_has_a_turn_and_the_others_wait_for_a_while() {
        let turns = WriteTurns::new(256, 10);
        let keyed = |key| Box::pin(turns.enter(organization(1)).unwrap().turn(Some([key; 32])));
        let first = keyed(1).await.unwrap();
        let mut same: Vec<_> = (1..SAME_KEY).map(|_| keyed(1)).collect();
        assert!(same.iter_mut().all(|next| next.now_or_never().is_none()));
        let one_more = keyed(1).await.unwrap_err();
        assert_eq!(
            (one_more.kind(), one_more.code()),
            (ProblemKind::Unavailable, "Idempotency.InProgress")
        );
        drop(keyed(2).await.unwrap());
        drop(first);
        let second = same.remove(0).await.unwrap();
        for late in same {
            assert_eq!(late.await.unwrap_err().code(), "Busy");
        }
        drop(second);
        assert_eq!(turns.places_of(organization(1)), 0);
    }
}
