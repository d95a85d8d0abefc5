//! Carries events from a source to something that keeps them: a broker, or somebody else's delivery service.
//!
//! The order of steps is the guarantee: read committed events, hand them over until their new keeper has said that it
//! has them, only then acknowledge. A crash between any two repeats the step before, and the keeper (or whoever reads
//! from it) knows an event by its id. A batch is handed over completely before the next is read, so order is kept as far
//! as the destination keeps it.

use std::time::Duration;

use async_trait::async_trait;
use demae_delivery::engine::{BATCH_BYTES, EventSource, SourceError};
use demae_event::{Event, EventId};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Events read at once.
const BATCH: u32 = 512;
/// Before the first repetition of a failed step; each wait is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest wait of our own choice.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest wait that a destination may ask for.
const LONGEST_ASKED: Duration = Duration::from_mins(5);

/// Counter, label `destination`: events that their new keeper has.
const FORWARDED: &str = "demae_events_forwarded_total";
/// Counter, label `destination`: failed attempts to hand events over, which are being repeated.
const FAILURES: &str = "demae_forward_failures_total";
/// Gauge, label `destination`: 1 while events are taken, 0 while they are not.
const CONNECTED: &str = "demae_forward_connected";

/// Something that keeps events.
#[async_trait]
pub(crate) trait Destination: Send + 'static {
    /// What people call it, in logs and metrics.
    fn name(&self) -> &'static str;

    /// Hands events over; after `Ok` all of them are kept there, durably. After an error any of them may be; the same
    /// events are offered again. Takes a bounded time for those that it reaches, or waits while it is told to.
    async fn send(&mut self, events: &[Event]) -> Result<(), NotTaken>;
}

/// Why events were not taken.
#[derive(Debug)]
pub(crate) struct NotTaken {
    pub(crate) cause: anyhow::Error,
    /// When the destination wants to be asked again, if it said so.
    pub(crate) retry_after: Option<Duration>,
}

impl<E: Into<anyhow::Error>> From<E> for NotTaken {
    fn from(error: E) -> Self {
        Self {
            cause: error.into(),
            retry_after: None,
        }
    }
}

/// The running forwarders of a process.
#[derive(Debug, Default)]
pub(crate) struct Forwarders {
    tasks: TaskTracker,
    /// No more batches.
    stopping: CancellationToken,
    /// Nothing any more.
    cutting: CancellationToken,
}

impl Forwarders {
    /// Starts to carry what `source` offers to `destination`.
    pub(crate) fn start(&self, source: Box<dyn EventSource>, destination: impl Destination) {
        let forwarder = Forwarder {
            source,
            destination,
            pause: FIRST_PAUSE,
        };
        let (stopping, cutting) = (self.stopping.clone(), self.cutting.clone());
        self.tasks.spawn(async move {
            // What is cut off was not acknowledged, and comes again.
            cutting.run_until_cancelled(forwarder.run(stopping)).await;
        });
    }

    /// Finishes the batches that were begun, at most until `deadline`.
    pub(crate) async fn drain(&self, deadline: Instant) {
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout_at(deadline, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("events that were being handed on were not taken before the deadline; they stay");
            self.cutting.cancel();
            self.tasks.wait().await;
        }
    }
}

struct Forwarder<D> {
    source: Box<dyn EventSource>,
    destination: D,
    pause: Duration,
}

impl<D: Destination> Forwarder<D> {
    async fn run(mut self, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            let read = tokio::select! {
                read = self.read() => read,
                () = stopping.cancelled() => return,
            };
            match read {
                Ok(events) => self.carry(&events, &stopping).await,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        destination = self.destination.name(),
                        "no events can be read; trying again"
                    );
                    self.rest(None, &stopping).await;
                }
            }
        }
    }

    /// The next batch. Behind one that is full, which may be a backlog of one organization, what others have comes at once.
    async fn read(&mut self) -> Result<Vec<Event>, SourceError> {
        let mut events = self.source.next(BATCH).await?;
        if events.len() >= BATCH as usize || events.iter().map(Event::size).sum::<usize>() >= BATCH_BYTES {
            let here = events.iter().map(|event| event.scope.organization).collect();
            events.extend(self.source.next_of_others(&here).await?);
        }
        Ok(events)
    }

    /// Hands over one batch and acknowledges it; gives up only when the process stops.
    async fn carry(&mut self, events: &[Event], stopping: &CancellationToken) {
        let name = self.destination.name();
        while let Err(NotTaken { cause, retry_after }) = self.destination.send(events).await {
            metrics::counter!(FAILURES, "destination" => name).increment(1);
            metrics::gauge!(CONNECTED, "destination" => name).set(0.0);
            tracing::warn!(destination = name, error = %format!("{cause:#}"), "events were not taken; trying again");
            self.rest(retry_after, stopping).await;
            if stopping.is_cancelled() {
                return;
            }
        }
        self.pause = FIRST_PAUSE;
        metrics::counter!(FORWARDED, "destination" => name).increment(events.len() as u64);
        metrics::gauge!(CONNECTED, "destination" => name).set(1.0);
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        if let Err(error) = self.source.acknowledge(&ids).await {
            // They come again, and their keeper knows them by their ids.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "events that were handed on could not be acknowledged"
            );
            self.rest(None, stopping).await;
        }
    }

    async fn rest(&mut self, asked: Option<Duration>, stopping: &CancellationToken) {
        let pause = asked.map_or(self.pause, |asked| asked.clamp(self.pause, LONGEST_ASKED));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let _ = tokio::time::timeout(pause, stopping.cancelled()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::{Arc, Mutex},
    };

    use demae_event::{OrganizationId, Scope, Timestamp, id::new_uuid};
    use serde_json::value::RawValue;
    use tokio::sync::Notify;

    use super::*;

    /// Offers events until they are acknowledged.
    struct Pile {
        events: Arc<Mutex<Vec<Event>>>,
        emptied: Arc<Notify>,
    }

    #[async_trait]
    impl EventSource for Pile {
        async fn next(&mut self, limit: u32) -> Result<Vec<Event>, SourceError> {
            let events: Vec<Event> = self.events.lock().unwrap().clone();
            if events.is_empty() {
                self.emptied.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(events.into_iter().take(limit as usize).collect())
        }

        async fn next_of_others(
            &mut self,
            except: &HashSet<OrganizationId>,
        ) -> Result<Vec<Event>, SourceError> {
            let events: Vec<Event> = self.events.lock().unwrap().clone();
            Ok(events
                .into_iter()
                .filter(|event| !except.contains(&event.scope.organization))
                .collect())
        }

        async fn acknowledge(&mut self, ids: &[EventId]) -> Result<(), SourceError> {
            self.events
                .lock()
                .unwrap()
                .retain(|event| !ids.contains(&event.id));
            Ok(())
        }
    }

    /// Fails as told, then takes everything.
    struct Keeper {
        failures: Vec<Option<Duration>>,
        asked_at: Arc<Mutex<Vec<Instant>>>,
        kept: Arc<Mutex<Vec<EventId>>>,
    }

    #[async_trait]
    impl Destination for Keeper {
        fn name(&self) -> &'static str {
            "keeper"
        }

        async fn send(&mut self, events: &[Event]) -> Result<(), NotTaken> {
            self.asked_at.lock().unwrap().push(Instant::now());
            if let Some(retry_after) = self.failures.pop() {
                let cause = anyhow::anyhow!("not now");
                return Err(NotTaken { cause, retry_after });
            }
            self.kept
                .lock()
                .unwrap()
                .extend(events.iter().map(|event| event.id));
            Ok(())
        }
    }

    fn events(count: usize) -> Vec<Event> {
        let now = Timestamp::from_secs(1_790_000_000);
        (0..count)
            .map(|_| Event {
                id: EventId::new(now),
                scope: Scope::default_of(OrganizationId(new_uuid(now))),
                name: "A".to_owned(),
                event_type: "a".to_owned(),
                data: RawValue::from_string("{}".to_owned()).unwrap(),
                headers: None,
                traceparent: None,
                created_at: now,
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_carried_in_order_and_failures_are_waited_out() {
        let all = events(BATCH as usize + 10);
        let ids: Vec<EventId> = all.iter().map(|event| event.id).collect();
        let (pile, emptied) = (Arc::new(Mutex::new(all)), Arc::new(Notify::new()));
        let (kept, asked_at) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let forwarders = Forwarders::default();
        let source = Pile {
            events: pile.clone(),
            emptied: emptied.clone(),
        };
        let keeper = Keeper {
            // From the last to the first.
            failures: vec![Some(Duration::from_hours(1)), Some(Duration::from_mins(1)), None],
            asked_at: asked_at.clone(),
            kept: kept.clone(),
        };
        forwarders.start(Box::new(source), keeper);
        emptied.notified().await;
        assert_eq!(*kept.lock().unwrap(), ids);
        assert!(pile.lock().unwrap().is_empty());
        let waits: Vec<Duration> = asked_at
            .lock()
            .unwrap()
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect();
        let asked = [FIRST_PAUSE, Duration::from_mins(1), LONGEST_ASKED, Duration::ZERO];
        for (waited, asked) in waits.iter().zip(asked) {
            // Timers count whole milliseconds.
            assert!(
                *waited >= asked && *waited <= asked + Duration::from_millis(2),
                "{waits:?}"
            );
        }
        forwarders.drain(Instant::now() + LONGEST_PAUSE).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_behind_another_organizations_backlog_is_carried_with_the_first_batch() {
        let mut all = events(4 * BATCH as usize);
        let busy = all[0].scope;
        for event in &mut all {
            event.scope = busy;
        }
        all.extend(events(1));
        let ids: HashSet<EventId> = all.iter().map(|event| event.id).collect();
        let last = all[4 * BATCH as usize].id;
        let (pile, emptied) = (Arc::new(Mutex::new(all)), Arc::new(Notify::new()));
        let kept = Arc::<Mutex<Vec<_>>>::default();
        let forwarders = Forwarders::default();
        let source = Pile {
            events: pile,
            emptied: emptied.clone(),
        };
        let keeper = Keeper {
            failures: Vec::new(),
            asked_at: Arc::default(),
            kept: kept.clone(),
        };
        forwarders.start(Box::new(source), keeper);
        emptied.notified().await;
        let kept = kept.lock().unwrap().clone();
        assert_eq!(kept[BATCH as usize], last);
        assert_eq!(kept.len(), ids.len(), "each once");
        assert_eq!(kept.into_iter().collect::<HashSet<_>>(), ids);
        forwarders.drain(Instant::now() + LONGEST_PAUSE).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_taken_before_the_end_stays() {
        let pile = Arc::new(Mutex::new(events(3)));
        let asked_at = Arc::<Mutex<Vec<_>>>::default();
        let forwarders = Forwarders::default();
        let source = Pile {
            events: pile.clone(),
            emptied: Arc::new(Notify::new()),
        };
        let keeper = Keeper {
            failures: vec![None; 100],
            asked_at: asked_at.clone(),
            kept: Arc::default(),
        };
        forwarders.start(Box::new(source), keeper);
        tokio::time::sleep(Duration::from_secs(1)).await;
        forwarders.drain(Instant::now() + LONGEST_PAUSE).await;
        assert_eq!(pile.lock().unwrap().len(), 3);
        assert!(!asked_at.lock().unwrap().is_empty());
    }
}
