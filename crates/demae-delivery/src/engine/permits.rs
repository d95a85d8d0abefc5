//! Decides which lane may begin its next attempt.
//!
//! # Guarantees
//! - At most `total` attempts are in flight.
//! - Organizations share them fairly, then the endpoints of each ([`super::shares`]). A newcomer finds a free permit
//!   although others hold theirs for as long as their receivers take to answer.
//! - Lanes that are not known to be quick (new, slow or in trouble: [`Standing::Doubtful`]) together hold at most
//!   [`DOUBTFUL_SHARE`]. Quick lanes always find the rest, however many organizations have slow receivers.
//! - A lane that finds no permit waits in a line of its organization; the lines are served in turns. A lane stands in
//!   line once.
//!
//! # Design
//! One mutex, held for a few map accesses: once when an attempt begins and once when it ends. A permit that comes back
//! is handed to a waiting lane at once. [`LOOKS`] bounds the search for one that may take it; since the lines rotate,
//! the next permit that comes back continues the search. If no permit is out, any lane may take one, so the search
//! cannot end with lanes waiting and nothing in flight.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use demae_event::OrganizationId;
use tokio::sync::oneshot;

use super::shares::Pool;

/// The share of permits for lanes of doubtful standing: numerator and denominator.
const DOUBTFUL_SHARE: (usize, usize) = (3, 4);
/// How many waiting lanes in a row one returned permit is offered to in vain.
const LOOKS: usize = 16;

/// What is known about how long a lane keeps a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its receiver answers quickly.
    Quick,
    /// Its receiver is slow or in trouble, or has not answered yet.
    Doubtful,
}

/// A lane as it takes permits.
#[derive(Debug)]
pub(super) struct Holder {
    organization: OrganizationId,
    /// Changed only under the lock of [`Permits`].
    in_flight: AtomicU32,
}

impl Holder {
    pub(super) fn new(organization: OrganizationId) -> Arc<Self> {
        Arc::new(Self {
            organization,
            in_flight: AtomicU32::new(0),
        })
    }

    /// The permits it has.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// All permits of the process.
#[derive(Debug)]
pub(super) struct Permits {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    all: Pool,
    doubtful: Pool,
    quick_line: Line,
    doubtful_line: Line,
}

/// The right to one attempt; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Arc<Permits>,
    holder: Arc<Holder>,
    standing: Standing,
}

/// A permit, or the place in line where one will arrive.
#[derive(Debug)]
pub(super) enum Answer {
    Permit(Permit),
    Wait(oneshot::Receiver<Permit>),
    /// Neither: the lane stands in line already.
    Refused,
}

/// Permits and lanes of doubtful standing, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    /// Permits held by lanes of doubtful standing.
    pub(super) doubtful: u64,
    /// Lanes that wait for a permit.
    pub(super) waiting: usize,
}

impl Permits {
    pub(super) fn new(total: usize) -> Arc<Self> {
        let (share, of) = DOUBTFUL_SHARE;
        let doubtful = (total * share / of).max(1);
        Arc::new(Self {
            state: Mutex::new(State {
                all: Pool::new(total as u64),
                doubtful: Pool::new(doubtful as u64),
                quick_line: Line::default(),
                doubtful_line: Line::default(),
            }),
        })
    }

    /// Takes a permit, or stands in line for one unless the lane does so already.
    pub(super) fn take(self: &Arc<Self>, holder: &Arc<Holder>, standing: Standing, in_line: bool) -> Answer {
        let mut state = self.state();
        if state.may_take(holder, standing) {
            state.count(holder, standing);
            return Answer::Permit(self.permit(holder.clone(), standing));
        }
        if in_line {
            return Answer::Refused;
        }
        let (hand_over, wait) = oneshot::channel();
        let waiter = Waiter {
            holder: holder.clone(),
            hand_over,
        };
        state.line(standing).push(waiter);
        Answer::Wait(wait)
    }

    /// A lane that stands in line has proved to be quick.
    pub(super) fn promote(self: &Arc<Self>, holder: &Arc<Holder>) {
        let mut state = self.state();
        if let Some(waiter) = state.doubtful_line.remove(holder) {
            state.quick_line.push(waiter);
            self.serve(state);
        }
    }

    pub(super) fn usage(&self) -> Usage {
        let state = self.state();
        Usage {
            doubtful: state.doubtful.used(),
            waiting: state.quick_line.length + state.doubtful_line.length,
        }
    }

    fn permit(self: &Arc<Self>, holder: Arc<Holder>, standing: Standing) -> Permit {
        Permit {
            permits: self.clone(),
            holder,
            standing,
        }
    }

    /// Hands permits to waiting lanes while there are any that may have one.
    fn serve(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut served = Vec::new();
        for standing in [Standing::Quick, Standing::Doubtful] {
            while let Some(waiter) = state.next_in_line(standing) {
                state.count(&waiter.holder, standing);
                served.push((waiter, standing));
            }
        }
        drop(state);
        for (waiter, standing) in served {
            // A lane that left meanwhile drops the permit, which comes back here; so the lock must be free.
            drop(waiter.hand_over.send(self.permit(waiter.holder, standing)));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves these plain numbers whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.permits.state();
        state.give_back(&self.holder, self.standing);
        if state.quick_line.length > 0 || state.doubtful_line.length > 0 {
            self.permits.serve(state);
        }
    }
}

impl State {
    fn may_take(&self, holder: &Holder, standing: Standing) -> bool {
        let own = u64::from(holder.in_flight());
        let room = |pool: &Pool| pool.room(holder.organization, own) > 0;
        room(&self.all) && (standing == Standing::Quick || room(&self.doubtful))
    }

    fn count(&mut self, holder: &Holder, standing: Standing) {
        holder.in_flight.fetch_add(1, Ordering::Relaxed);
        self.all.take(holder.organization, 1);
        if standing == Standing::Doubtful {
            self.doubtful.take(holder.organization, 1);
        }
    }

    fn give_back(&mut self, holder: &Holder, standing: Standing) {
        holder.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.all.give_back(holder.organization, 1);
        if standing == Standing::Doubtful {
            self.doubtful.give_back(holder.organization, 1);
        }
    }

    fn line(&mut self, standing: Standing) -> &mut Line {
        match standing {
            Standing::Quick => &mut self.quick_line,
            Standing::Doubtful => &mut self.doubtful_line,
        }
    }

    /// The next waiting lane that may take a permit, if one is found within [`LOOKS`].
    fn next_in_line(&mut self, standing: Standing) -> Option<Waiter> {
        for _ in 0..LOOKS {
            let waiter = self.line(standing).pop()?;
            if waiter.hand_over.is_closed() {
                continue;
            }
            if self.may_take(&waiter.holder, standing) {
                return Some(waiter);
            }
            self.line(standing).push(waiter);
        }
        None
    }
}

/// A lane that waits for a permit.
#[derive(Debug)]
struct Waiter {
    holder: Arc<Holder>,
    hand_over: oneshot::Sender<Permit>,
}

/// Waiting lanes, by organization; organizations take turns, and the lanes of each.
#[derive(Debug, Default)]
struct Line {
    turns: VecDeque<OrganizationId>,
    waiters: HashMap<OrganizationId, VecDeque<Waiter>>,
    length: usize,
}

impl Line {
    fn push(&mut self, waiter: Waiter) {
        let organization = waiter.holder.organization;
        let waiters = self.waiters.entry(organization).or_default();
        if waiters.is_empty() {
            self.turns.push_back(organization);
        }
        waiters.push_back(waiter);
        self.length += 1;
    }

    fn remove(&mut self, holder: &Arc<Holder>) -> Option<Waiter> {
        let organization = holder.organization;
        let waiters = self.waiters.get_mut(&organization)?;
        let place = waiters
            .iter()
            .position(|waiter| Arc::ptr_eq(&waiter.holder, holder))?;
        let waiter = waiters.remove(place);
        if waiters.is_empty() {
            self.waiters.remove(&organization);
            self.turns.retain(|turn| *turn != organization);
        }
        self.length -= usize::from(waiter.is_some());
        waiter
    }

    fn pop(&mut self) -> Option<Waiter> {
        let organization = self.turns.pop_front()?;
        let waiters = self.waiters.get_mut(&organization)?;
        let waiter = waiters.pop_front();
        if waiters.is_empty() {
            self.waiters.remove(&organization);
        } else {
            self.turns.push_back(organization);
        }
        self.length -= usize::from(waiter.is_some());
        waiter
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn organization(number: u128) -> OrganizationId {
        OrganizationId(Uuid::from_u128(number))
    }

    /// As many permits as a lane can get, and the place in line behind them.
    fn fill(
        permits: &Arc<Permits>,
        holder: &Arc<Holder>,
        standing: Standing,
    ) -> (Vec<Permit>, oneshot::Receiver<Permit>) {
        let mut held = Vec::new();
        loop {
            match permits.take(holder, standing, false) {
                Answer::Permit(permit) => held.push(permit),
                Answer::Wait(wait) => return (held, wait),
                Answer::Refused => unreachable!(),
            }
        }
    }

    #[test]
    fn slow_lanes_of_one_organization_leave_room_for_the_others_and_for_its_own_quick_ones() {
        let permits = Permits::new(1_024);
        let mut held = Vec::new();
        for _ in 0..500 {
            held.push(fill(&permits, &Holder::new(organization(1)), Standing::Doubtful));
        }
        assert!(permits.usage().doubtful <= 384, "half of three quarters");
        let mut quick = fill(&permits, &Holder::new(organization(1)), Standing::Quick).0;
        assert!(quick.len() >= 48, "its own quick lane: {}", quick.len());
        quick.extend(fill(&permits, &Holder::new(organization(2)), Standing::Quick).0);
        assert!(quick.len() >= 96);
        let newcomer = fill(&permits, &Holder::new(organization(3)), Standing::Doubtful).0;
        assert!(newcomer.len() >= 48, "a new lane: {}", newcomer.len());
    }

    #[test]
    fn slow_lanes_of_more_organizations_than_permits_leave_the_quick_ones_theirs() {
        let permits = Permits::new(64);
        let mut held = Vec::new();
        for number in 0..200 {
            held.push(fill(
                &permits,
                &Holder::new(organization(number)),
                Standing::Doubtful,
            ));
        }
        assert_eq!(permits.usage().doubtful, 48);
        assert_eq!(permits.usage().waiting, 200);
        assert!(
            !fill(&permits, &Holder::new(organization(999)), Standing::Quick)
                .0
                .is_empty()
        );
    }

    #[test]
    fn a_permit_that_comes_back_goes_to_the_organization_that_has_none() {
        let permits = Permits::new(8);
        let mut held = Vec::new();
        let mut waiting = Vec::new();
        for number in [1, 1, 1, 1, 1, 2, 2, 2, 3] {
            let (got, wait) = fill(&permits, &Holder::new(organization(number)), Standing::Doubtful);
            held.extend(got);
            waiting.push(wait);
        }
        assert_eq!(permits.usage().doubtful, 6, "all that there are");
        let (none, mut late) = fill(&permits, &Holder::new(organization(4)), Standing::Doubtful);
        assert!(none.is_empty() && late.try_recv().is_err());
        assert_eq!(held[0].holder.organization, organization(1));
        drop(held.remove(0));
        assert!(late.try_recv().is_ok());
    }

    #[test]
    fn a_lane_that_leaves_the_line_costs_nobody_a_permit() {
        let permits = Permits::new(1);
        let (held, wait) = fill(&permits, &Holder::new(organization(1)), Standing::Doubtful);
        let (none, left) = fill(&permits, &Holder::new(organization(2)), Standing::Doubtful);
        let (_, mut last) = fill(&permits, &Holder::new(organization(3)), Standing::Doubtful);
        assert!(none.is_empty());
        drop((wait, left));
        drop(held);
        let permit = last.try_recv().unwrap();
        drop((permit, last));
        assert_eq!(
            permits.usage(),
            Usage {
                doubtful: 0,
                waiting: 0
            }
        );
    }

    #[test]
    fn a_lane_that_proves_quick_while_it_waits_goes_on_at_once() {
        let permits = Permits::new(64);
        let mut held = Vec::new();
        for number in 0..48 {
            held.push(fill(
                &permits,
                &Holder::new(organization(number)),
                Standing::Doubtful,
            ));
        }
        let lane = Holder::new(organization(99));
        let (none, mut wait) = fill(&permits, &lane, Standing::Doubtful);
        assert!(none.is_empty());
        assert!(matches!(
            permits.take(&lane, Standing::Doubtful, true),
            Answer::Refused
        ));
        permits.promote(&lane);
        assert_eq!(wait.try_recv().unwrap().standing, Standing::Quick);
        permits.promote(&lane);
    }

    /// However many wait, the end of the last attempt in flight never leaves all of them waiting.
    #[test]
    fn the_line_always_moves_on() {
        let permits = Permits::new(2);
        let mut held = Vec::new();
        let mut waiting = Vec::new();
        for number in 0..100 {
            let (got, wait) = fill(
                &permits,
                &Holder::new(organization(number % 7)),
                Standing::Doubtful,
            );
            held.extend(got);
            waiting.push(wait);
        }
        let mut served = 0;
        while let Some(permit) = held.pop() {
            drop(permit);
            waiting.retain_mut(|wait| match wait.try_recv() {
                Ok(permit) => {
                    held.push(permit);
                    served += 1;
                    false
                }
                Err(_) => true,
            });
        }
        assert_eq!((served, waiting.len()), (100, 0));
    }
}
