//! Carries outcomes from the lanes to the recorder, and shares the room among organizations.
//!
//! # Guarantees
//! - At most [`QUEUED_OUTCOMES`] outcomes wait, and about [`OUTCOME_BYTES`] of them wait or are being written. Each organization has its
//!   share of both ([`super::shares`]): one whose outcomes come faster than the database takes them waits by itself.
//! - The recorder takes from the organizations in turns, so an outcome waits for its own organization's, and for as many
//!   of each other one.
//!
//! # Design
//! One line for all would make every lane wait until those before it are written: a tenant with hundreds of failing
//! receivers fills it, and the attempts of all others come to a stop.
//!
//! # Limits
//! An organization without outcomes has room for one however large it is, if there is any: the bytes are exceeded by that
//! much.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use demae_event::OrganizationId;
use tokio::sync::Notify;

use super::shares::Pool;

/// Outcomes that wait to be written: with the attempts in flight, the most that a crash can send twice.
const QUEUED_OUTCOMES: u64 = 2_048;
/// Bytes of outcomes that wait to be written, or are being written.
const OUTCOME_BYTES: u64 = 8 << 20;

/// A channel for things of a size.
pub(super) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            lines: HashMap::new(),
            turns: VecDeque::new(),
            places: Pool::new(QUEUED_OUTCOMES),
            bytes: Pool::new(OUTCOME_BYTES),
            is_closed: false,
        }),
        arrived: Notify::new(),
        room: Notify::new(),
    });
    (Sender(shared.clone()), Receiver(shared))
}

/// The lanes' end.
#[derive(Debug)]
pub(super) struct Sender<T>(Arc<Shared<T>>);

/// The recorder's end.
#[derive(Debug)]
pub(super) struct Receiver<T>(Arc<Shared<T>>);

/// The bytes of what was taken; dropping it gives them back.
#[derive(Debug)]
pub(super) struct Held<T> {
    shared: Arc<Shared<T>>,
    bytes: Vec<(OrganizationId, u64)>,
}

/// The other end is gone.
#[derive(Debug)]
pub(super) struct Closed;

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    /// Something waits for the receiver, or the sender is gone.
    arrived: Notify,
    /// There may be room again, or the receiver is gone.
    room: Notify,
}

#[derive(Debug)]
struct State<T> {
    /// What waits, with its size; no line is empty.
    lines: HashMap<OrganizationId, VecDeque<(T, u64)>>,
    /// The organizations that have a line, each once.
    turns: VecDeque<OrganizationId>,
    places: Pool,
    bytes: Pool,
    /// One of the ends is gone.
    is_closed: bool,
}

impl<T> Sender<T> {
    /// Waits until the organization has room for it.
    pub(super) async fn send(&self, organization: OrganizationId, size: u64, item: T) -> Result<(), Closed> {
        loop {
            // From here on it is woken, whatever happens before it waits.
            let room = self.0.room.notified();
            {
                let mut state = self.0.state();
                if state.is_closed {
                    return Err(Closed);
                }
                if state.has_room(organization) {
                    state.push(organization, size, item);
                    break;
                }
            }
            room.await;
        }
        self.0.arrived.notify_one();
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state().is_closed = true;
        self.0.arrived.notify_one();
    }
}

impl<T> Receiver<T> {
    /// Waits until there is something; at most `limit`. None once the sender is gone and everything was taken.
    pub(super) async fn take(&mut self, limit: usize) -> Option<(Vec<T>, Held<T>)> {
        loop {
            {
                let mut state = self.0.state();
                let (taken, bytes) = state.pop(limit);
                let is_closed = state.is_closed;
                drop(state);
                if !taken.is_empty() {
                    self.0.room.notify_waiters();
                    let shared = self.0.clone();
                    return Some((taken, Held { shared, bytes }));
                }
                if is_closed {
                    return None;
                }
            }
            self.0.arrived.notified().await;
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.state().is_closed = true;
        self.0.room.notify_waiters();
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        for (organization, bytes) in self.bytes.drain(..) {
            state.bytes.give_back(organization, bytes);
        }
        drop(state);
        self.shared.room.notify_waiters();
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // A panic elsewhere leaves these plain collections whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn has_room(&self, organization: OrganizationId) -> bool {
        self.places.room(organization, 0) > 0 && self.bytes.room(organization, 0) > 0
    }

    fn push(&mut self, organization: OrganizationId, size: u64, item: T) {
        self.places.take(organization, 1);
        self.bytes.take(organization, size);
        let line = self.lines.entry(organization).or_default();
        if line.is_empty() {
            self.turns.push_back(organization);
        }
        line.push_back((item, size));
    }

    /// At most `limit`, one of each organization in turn, and whose bytes they are.
    fn pop(&mut self, limit: usize) -> (Vec<T>, Vec<(OrganizationId, u64)>) {
        let (mut taken, mut bytes) = (Vec::new(), Vec::new());
        while taken.len() < limit
            && let Some(organization) = self.turns.pop_front()
        {
            let Some(line) = self.lines.get_mut(&organization) else {
                continue;
            };
            if let Some((item, size)) = line.pop_front() {
                self.places.give_back(organization, 1);
                taken.push(item);
                bytes.push((organization, size));
            }
            if line.is_empty() {
                self.lines.remove(&organization);
            } else {
                self.turns.push_back(organization);
            }
        }
        (taken, bytes)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use uuid::Uuid;

    use super::*;

    fn organization(number: u128) -> OrganizationId {
        OrganizationId(Uuid::from_u128(number))
    }

    /// Sends until the organization has to wait.
    fn fill(sender: &Sender<u128>, number: u128, size: u64) -> u64 {
        let mut sent = 0;
        while let Some(result) = sender.send(organization(number), size, number).now_or_never() {
            result.unwrap();
            sent += 1;
        }
        sent
    }

    #[test]
    fn an_organization_waits_by_itself_and_another_is_served_in_turn() {
        let (sender, mut receiver) = channel();
        assert_eq!(fill(&sender, 1, 100), QUEUED_OUTCOMES / 2);
        // Nobody stands before it, although the line of the other one is full.
        for _ in 0..3 {
            let sent = sender.send(organization(2), 100, 2).now_or_never();
            sent.expect("there is room").unwrap();
        }
        let (taken, _held) = receiver.take(6).now_or_never().flatten().unwrap();
        assert_eq!(taken, [1, 2, 1, 2, 1, 2]);
    }

    #[test]
    fn large_outcomes_are_bounded_in_bytes_until_they_are_written() {
        const LARGE: u64 = 100_000;
        let (sender, mut receiver) = channel();
        let sent = fill(&sender, 1, LARGE);
        assert!(
            (OUTCOME_BYTES / 2..=OUTCOME_BYTES / 2 + LARGE).contains(&(sent * LARGE)),
            "{sent}"
        );
        assert_eq!(fill(&sender, 2, 2 * OUTCOME_BYTES), 1, "one is indivisible");
        let (taken, held) = receiver.take(512).now_or_never().flatten().unwrap();
        assert_eq!(taken.len() as u64, sent + 1);
        assert_eq!(fill(&sender, 1, LARGE), 0, "they are not written yet");
        drop(held);
        assert_eq!(fill(&sender, 1, LARGE), sent);
    }

    #[tokio::test]
    async fn a_waiting_lane_goes_on_when_there_is_room_and_ends_with_the_recorder() {
        let (sender, mut receiver) = channel();
        fill(&sender, 1, 1);
        let waiting = sender.send(organization(1), 1, 7);
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(receiver.take(512).await);
        waiting.await.unwrap();
        fill(&sender, 1, 1);
        let waiting = sender.send(organization(1), 1, 7);
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(receiver);
        waiting.await.unwrap_err();
    }

    #[tokio::test]
    async fn everything_is_taken_before_the_end() {
        let (sender, mut receiver) = channel();
        sender.send(organization(1), 1, 1).await.unwrap();
        sender.send(organization(2), 1, 2).await.unwrap();
        drop(sender);
        assert_eq!(receiver.take(1).await.unwrap().0, [1]);
        assert_eq!(receiver.take(1).await.unwrap().0, [2]);
        assert!(receiver.take(1).await.is_none());
    }
}
