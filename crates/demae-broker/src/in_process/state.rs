//! The queue itself. Every step is one short lock; waiting happens outside of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, Semaphore};

use crate::{BATCH_BYTES, DeadLetter, Delivery, HELD_BYTES, Judge, Message, Rejection, Tag, Verdict};

/// Bytes of messages in the queue, dead letters apart. A message that is larger waits until the queue is empty.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// Dead letters, and bytes of them, that are kept; the oldest go first.
const DEAD_LETTERS: usize = 1_000;
const DEAD_LETTER_BYTES: usize = 16 * 1024 * 1024;

/// What dead letters name as their queue.
const QUEUE: &str = "in process";

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Room for messages. A message gives its place back when it leaves the queue for good.
    room: Semaphore,
    /// Room for their bytes.
    room_bytes: Semaphore,
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
    dead_bytes: usize,
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
            room_bytes: Semaphore::new(QUEUE_BYTES),
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
        self.take_place(&message).await;
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
        let done: Vec<Waiting> = tags
            .iter()
            .filter_map(|tag| state.remove(consumer, *tag))
            .collect();
        drop(state);
        self.make_room(done.iter().map(|waiting| weight(&waiting.message)));
        // The consumer's own prefetch number may allow more now.
        self.arrived.notify_waiters();
    }

    pub(super) fn reject(&self, consumer: u64, tags: &[Tag], rejection: Rejection) {
        let mut state = self.lock();
        let rejected = tags
            .iter()
            .filter_map(|tag| state.remove(consumer, *tag))
            .collect();
        let died: Vec<u32> = match rejection {
            Rejection::Requeue => state.requeue(rejected, self.delivery_limit),
            Rejection::DeadLetter => state.bury(rejected, "rejected"),
        };
        drop(state);
        self.make_room(died.into_iter());
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
        self.make_room(died.into_iter());
        self.arrived.notify_waiters();
    }

    pub(super) fn dead_letters(&self) -> u64 {
        self.lock().dead.len() as u64
    }

    /// Lets `judge` look at the letters; returns the numbers of those to be redriven.
    pub(super) fn judge(&self, limit: u64, judge: &mut Judge<'_>) -> Vec<u64> {
        let mut state = self.lock();
        let State { dead, dead_bytes, .. } = &mut *state;
        let mut redriven = Vec::new();
        let mut looked_at = 0;
        dead.retain(|number, letter| {
            looked_at += 1;
            if looked_at > limit {
                return true;
            }
            let verdict = judge(letter);
            if verdict == Verdict::Redrive {
                redriven.push(*number);
            }
            if verdict == Verdict::Discard {
                *dead_bytes -= letter.message.body().len();
            }
            verdict != Verdict::Discard
        });
        redriven
    }

    /// Puts a dead letter back into the queue once there is room.
    pub(super) async fn redrive(&self, number: u64) {
        let Some(message) = self.lock().dead.get(&number).map(|letter| letter.message.clone()) else {
            return;
        };
        self.take_place(&message).await;
        let mut state = self.lock();
        let letter = state.dead.remove(&number);
        match letter {
            Some(letter) => {
                state.dead_bytes -= letter.message.body().len();
                state.ready.push_back(Waiting {
                    message: letter.message,
                    returns: 0,
                });
            }
            // Somebody else took it out meanwhile.
            None => self.make_room(std::iter::once(weight(&message))),
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    async fn take_place(&self, message: &Message) {
        // An error would mean that a semaphore is closed, which nobody does.
        if let (Ok(place), Ok(bytes)) = (
            self.room.acquire().await,
            self.room_bytes.acquire_many(weight(message)).await,
        ) {
            place.forget();
            bytes.forget();
        }
    }

    /// Messages of these weights left the queue for good.
    fn make_room(&self, weights: impl ExactSizeIterator<Item = u32>) {
        self.room.add_permits(weights.len());
        self.room_bytes
            .add_permits(weights.map(|weight| weight as usize).sum());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every step leaves the state whole, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, consumer: u64, prefetch: usize, limit: usize) -> Vec<Delivery> {
        let held = self.delivered.values().filter(|held| held.consumer == consumer);
        let (held, held_bytes) = held.fold((0, 0), |(count, bytes), held| {
            (count + 1, bytes + held.waiting.message.body().len())
        });
        let limit = limit.min(prefetch.saturating_sub(held));
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < limit && bytes < BATCH_BYTES && held_bytes + bytes < HELD_BYTES {
            let Some(waiting) = self.ready.pop_front() else {
                break;
            };
            bytes += waiting.message.body().len();
            taken.push(waiting);
        }
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

    /// Back to the front, in the order in which they were delivered; too often, and they die. Returns the weights of those
    /// that did.
    fn requeue(&mut self, messages: Vec<Waiting>, delivery_limit: u32) -> Vec<u32> {
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

    fn bury(&mut self, messages: Vec<Waiting>, reason: &str) -> Vec<u32> {
        let weights = messages.iter().map(|waiting| weight(&waiting.message)).collect();
        for waiting in messages {
            self.deaths += 1;
            let letter = DeadLetter {
                message: waiting.message,
                reason: reason.to_owned(),
                queue: QUEUE.to_owned(),
                count: 1,
                died_at: None,
            };
            self.dead_bytes += letter.message.body().len();
            self.dead.insert(self.deaths, letter);
        }
        while self.dead.len() > DEAD_LETTERS || (self.dead_bytes > DEAD_LETTER_BYTES && self.dead.len() > 1) {
            let Some((_, oldest)) = self.dead.pop_first() else {
                break;
            };
            self.dead_bytes -= oldest.message.body().len();
            tracing::warn!(
                message = oldest.message.id(),
                "a dead letter was dropped: too many are kept"
            );
        }
        weights
    }
}

/// What a message takes of the queue's bytes.
fn weight(message: &Message) -> u32 {
    message.body().len().clamp(1, QUEUE_BYTES) as u32
}
