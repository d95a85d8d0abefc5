//! The queue itself. Every step is one short lock; waiting happens outside of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, Semaphore};

use crate::{DeadLetter, Delivery, Judge, Message, Rejection, Tag, Verdict};

/// What dead letters name as their queue.
const QUEUE: &str = "in process";

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Room for messages. A message gives its place back when it leaves the queue for good.
    room: Semaphore,
    arrived: Notify,
    delivery_limit: u32,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Waiting>,
    /// By the delivery's number, so in the order of delivery.
    delivered: BTreeMap<u64, Delivered>,
    /// By the order in which they died.
    dead: BTreeMap<u64, DeadLetter>,
    deaths: u64,
    deliveries: u64,
    consumers: u64,
}

#[derive(Debug)]
struct Waiting {
    message: Message,
    /// How often it was given back.
    returns: u32,
}

#[derive(Debug)]
struct Delivered {
    consumer: u64,
    waiting: Waiting,
}

impl Shared {
    pub(super) fn new(capacity: usize, delivery_limit: u32) -> Self {
        Self {
            state: Mutex::default(),
            room: Semaphore::new(capacity),
            arrived: Notify::new(),
            delivery_limit,
        }
    }

    pub(super) fn new_consumer(&self) -> u64 {
        let mut state = self.lock();
        state.consumers += 1;
        state.consumers
    }

    /// Puts the message at the queue's end; waits while there is no room.
    pub(super) async fn push(&self, message: Message) {
        self.take_place().await;
        self.lock().ready.push_back(Waiting { message, returns: 0 });
        self.arrived.notify_waiters();
    }

    /// The next messages for `consumer`; waits until there is one and the prefetch number allows it.
    pub(super) async fn take(&self, consumer: u64, prefetch: usize, limit: usize) -> Vec<Delivery> {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            // Before looking, so that what arrives after the look is heard.
            arrived.as_mut().enable();
            let taken = self.lock().take(consumer, prefetch, limit);
            if !taken.is_empty() {
                return taken;
            }
            arrived.await;
        }
    }

    pub(super) fn acknowledge(&self, consumer: u64, tags: &[Tag]) {
        let mut state = self.lock();
        let done = tags
            .iter()
            .filter(|tag| state.remove(consumer, **tag).is_some())
            .count();
        drop(state);
        self.room.add_permits(done);
        // The consumer's own prefetch number may allow more now.
        self.arrived.notify_waiters();
    }

    pub(super) fn reject(&self, consumer: u64, tags: &[Tag], rejection: Rejection) {
        let mut state = self.lock();
        let rejected = tags
            .iter()
            .filter_map(|tag| state.remove(consumer, *tag))
            .collect();
        let died = match rejection {
            Rejection::Requeue => state.requeue(rejected, self.delivery_limit),
            Rejection::DeadLetter => state.bury(rejected, "rejected"),
        };
        drop(state);
        self.room.add_permits(died);
        self.arrived.notify_waiters();
    }

    /// The consumer is gone: what it had comes again.
    pub(super) fn give_back(&self, consumer: u64) {
        let mut state = self.lock();
        let numbers: Vec<u64> = state
            .delivered
            .iter()
            .filter_map(|(number, delivered)| (delivered.consumer == consumer).then_some(*number))
            .collect();
        let had = numbers
            .iter()
            .filter_map(|number| state.delivered.remove(number))
            .map(|delivered| delivered.waiting)
            .collect();
        let died = state.requeue(had, self.delivery_limit);
        drop(state);
        self.room.add_permits(died);
        self.arrived.notify_waiters();
    }

    pub(super) fn dead_letters(&self) -> u64 {
        self.lock().dead.len() as u64
    }

    /// Lets `judge` look at the letters; returns the numbers of those to be redriven.
    pub(super) fn judge(&self, limit: u64, judge: &mut Judge<'_>) -> Vec<u64> {
        let mut state = self.lock();
        let mut redriven = Vec::new();
        let mut looked_at = 0;
        state.dead.retain(|number, letter| {
            looked_at += 1;
            if looked_at > limit {
                return true;
            }
            let verdict = judge(letter);
            if verdict == Verdict::Redrive {
                redriven.push(*number);
            }
            verdict != Verdict::Discard
        });
        redriven
    }

    /// Puts a dead letter back into the queue once there is room.
    pub(super) async fn redrive(&self, number: u64) {
        self.take_place().await;
        let mut state = self.lock();
        let letter = state.dead.remove(&number);
        match letter {
            Some(letter) => state.ready.push_back(Waiting {
                message: letter.message,
                returns: 0,
            }),
            // Somebody else took it out meanwhile.
            None => self.room.add_permits(1),
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    async fn take_place(&self) {
        // An error would mean that the semaphore is closed, which nobody does.
        if let Ok(place) = self.room.acquire().await {
            place.forget();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every step leaves the state whole, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, consumer: u64, prefetch: usize, limit: usize) -> Vec<Delivery> {
        let held = self
            .delivered
            .values()
            .filter(|held| held.consumer == consumer)
            .count();
        let count = limit.min(prefetch.saturating_sub(held)).min(self.ready.len());
        let taken: Vec<Waiting> = self.ready.drain(..count).collect();
        taken
            .into_iter()
            .map(|waiting| self.deliver(consumer, waiting))
            .collect()
    }

    fn deliver(&mut self, consumer: u64, waiting: Waiting) -> Delivery {
        self.deliveries += 1;
        let delivery = Delivery {
            tag: Tag {
                connection: consumer,
                number: self.deliveries,
            },
            message: waiting.message.clone(),
            redelivered: waiting.returns > 0,
        };
        self.delivered
            .insert(self.deliveries, Delivered { consumer, waiting });
        delivery
    }

    fn remove(&mut self, consumer: u64, tag: Tag) -> Option<Waiting> {
        if tag.connection != consumer {
            return None;
        }
        self.delivered
            .remove(&tag.number)
            .map(|delivered| delivered.waiting)
    }

    /// Back to the front, in the order in which they were delivered; too often, and they die. Returns how many did.
    fn requeue(&mut self, messages: Vec<Waiting>, delivery_limit: u32) -> usize {
        let (dying, living): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .map(|waiting| Waiting {
                returns: waiting.returns + 1,
                ..waiting
            })
            .partition(|waiting| waiting.returns > delivery_limit);
        for waiting in living.into_iter().rev() {
            self.ready.push_front(waiting);
        }
        self.bury(dying, "delivery_limit")
    }

    fn bury(&mut self, messages: Vec<Waiting>, reason: &str) -> usize {
        let count = messages.len();
        for waiting in messages {
            self.deaths += 1;
            let letter = DeadLetter {
                message: waiting.message,
                reason: reason.to_owned(),
                queue: QUEUE.to_owned(),
                count: 1,
                died_at: None,
            };
            self.dead.insert(self.deaths, letter);
        }
        count
    }
}
