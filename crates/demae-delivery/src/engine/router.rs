//! From an event to a message with one delivery per matching endpoint.
//!
//! The order of steps is the guarantee: read committed events, write messages and deliveries (durable, idempotent by
//! event id), only then acknowledge. A crash between any two repeats the step before, and the second time nothing is
//! written.
//!
//! What was read is written in parts of bounded size, to which the organizations contribute in turns ([`super::intake`]).
//! While something is left, the router asks the source before each part for events of organizations that have nothing
//! here: so an event waits for the part that is being written, not for the backlog of another organization.

use std::{sync::Arc, time::Duration};

use demae_event::{AttemptId, Clock, Event, EventId, catalogue};
use demae_store::{
    Engine, StoreError,
    engine::{LeaseGrant, LeasedDelivery, Message, NewDelivery, RoutedMessage},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    grants::Grants,
    intake::Intake,
    lanes::Lanes,
    metric,
    places::{cost, cost_of},
    scheduler::DueNotes,
    source::{BATCH_BYTES, EventSource, SourceError},
    supervise::caught,
};
use crate::directory::{Directory, Snapshot};

/// Events read at once.
const BATCH: u32 = 512;
/// So many parts of other organizations are written before the source is asked for the oldest events again.
const PARTS_WITH_OTHERS: usize = 16;
/// Wait before a failed step is repeated.
const FAILURE_PAUSE: Duration = Duration::from_millis(250);

pub(super) struct Router {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) directory: Arc<Directory>,
    pub(super) clock: Arc<dyn Clock>,
    /// Where fresh deliveries go at once; without it all of them wait in the table, for the workers of other processes.
    pub(super) hand_over: Option<HandOver>,
}

/// The lanes of this process, and in whose name they lease.
pub(super) struct HandOver {
    pub(super) lanes: Arc<Lanes>,
    pub(super) notes: Arc<DueNotes>,
    pub(super) grants: Arc<Grants>,
}

impl Router {
    /// Runs until `stopping`; a part that was begun is finished, or left to be read again if the database is away.
    pub(super) async fn run(self: Arc<Self>, mut source: Box<dyn EventSource>, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            let read = tokio::select! {
                read = caught("source", source.next(BATCH)) => read,
                () = stopping.cancelled() => return,
            };
            let result = match read {
                Some(Ok(events)) => caught("router", self.turn(source.as_mut(), events, &stopping)).await,
                Some(Err(error)) => Some(Err(error)),
                None => None,
            };
            if let Some(Err(error)) = &result {
                note_failure(error);
            }
            if !matches!(result, Some(Ok(()))) {
                tokio::select! {
                    () = tokio::time::sleep(FAILURE_PAUSE) => {}
                    () = stopping.cancelled() => {}
                }
            }
        }
    }

    /// Routes a batch, and beside it what comes for other organizations meanwhile. What is left at the end comes again: it was
    /// not acknowledged.
    async fn turn(
        &self,
        source: &mut dyn EventSource,
        events: Vec<Event>,
        stopping: &CancellationToken,
    ) -> Result<(), SourceError> {
        let is_full = events.len() >= BATCH as usize || size_of(&events) >= BATCH_BYTES;
        let mut intake = Intake::default();
        intake.add(events);
        if is_full {
            intake.add(source.next_of_others(&intake.organizations()).await?);
        }
        let mut parts_with_others = 0;
        loop {
            let routed = self.route(&mut intake).await?;
            source.acknowledge(&routed).await?;
            if intake.is_empty() || stopping.is_cancelled() || parts_with_others == PARTS_WITH_OTHERS {
                return Ok(());
            }
            if intake.has_room() {
                let others = source.next_of_others(&intake.organizations()).await?;
                parts_with_others += usize::from(!others.is_empty());
                intake.add(others);
            }
        }
    }

    /// Writes the next part; returns whose events are routed.
    async fn route(&self, intake: &mut Intake) -> Result<Vec<EventId>, StoreError> {
        let directory = self.directory.refresh().await?;
        let part = intake.take(|event| self.fan_out(event, &directory));
        let ids = part.iter().map(|routed| routed.message.event_id).collect();
        self.write(part).await?;
        Ok(ids)
    }

    /// Decides who gets the event, and whether each lane takes it at once.
    fn fan_out(&self, mut event: Event, directory: &Snapshot) -> RoutedMessage {
        // Other programs may write the later name; from here on it is the seed's.
        if let Some(definition) = catalogue::find(&event.name) {
            event.name.replace_range(.., definition.name);
        }
        let now = self.clock.now();
        let size = cost(event.size() as u64);
        let deliveries = directory
            .of(event.scope)
            .iter()
            .filter(|endpoint| endpoint.enabled)
            .filter_map(|endpoint| {
                let name = endpoint
                    .subscriptions
                    .delivered_name(&event.name, &event.event_type)?;
                let leased = self.hand_over.as_ref().is_some_and(|to| {
                    to.lanes
                        .reserve(endpoint.id, event.scope.organization, endpoint.rate_limit, size)
                });
                Some(NewDelivery {
                    endpoint_id: endpoint.id,
                    delivered_name: name.to_owned(),
                    lease: leased.then(|| AttemptId::new(now)),
                })
            })
            .collect();
        RoutedMessage {
            message: Arc::new(Message::from(event)),
            deliveries,
        }
    }

    /// Writes a batch. If the database refuses a value of it, the batch is halved until the guilty event is alone, which
    /// becomes a rejected one; its neighbours are routed.
    async fn write(&self, batch: Vec<RoutedMessage>) -> Result<(), StoreError> {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            // One for each part: what is not known of one must not be believed of another.
            let grant = self.grant();
            // Caught here, because the places that were set aside must be given back.
            let routed = caught("router", self.engine.route(&part, grant)).await;
            let written = match routed.unwrap_or(Err(StoreError::Unreadable("routing panicked"))) {
                Ok(new) => {
                    self.hand_on(part, new, grant);
                    Ok(())
                }
                Err(error) if error.is_data_error() && part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([rest, part]);
                    Ok(())
                }
                Err(error) => {
                    // After any other failure nobody knows whether the rows were written.
                    self.take_back(&part, (!error.is_data_error()).then_some(grant));
                    self.reject(&part, error).await
                }
            };
            if written.is_err() {
                for part in &parts {
                    self.take_back(part, None);
                }
                return written;
            }
        }
        Ok(())
    }

    fn grant(&self) -> LeaseGrant {
        let now = self.clock.now();
        match &self.hand_over {
            Some(to) => to.grants.grant(now),
            // Nothing is leased.
            None => LeaseGrant {
                worker: Uuid::nil(),
                now,
                until: now,
            },
        }
    }

    /// Sets the only event of `part` aside, if it is what the database refused.
    async fn reject(&self, part: &[RoutedMessage], error: StoreError) -> Result<(), StoreError> {
        let [routed] = part else { return Err(error) };
        if !error.is_data_error() {
            return Err(error);
        }
        let reason = error.reason();
        tracing::error!(
            event = %routed.message.event_id.0,
            reason,
            "an event cannot be written; it is among the rejected events: see `demae dead-letters`"
        );
        self.engine
            .reject(&routed.message, &reason, self.clock.now())
            .await
    }

    fn take_back(&self, batch: &[RoutedMessage], doubtful: Option<LeaseGrant>) {
        if let Some(to) = &self.hand_over {
            to.take_back(batch, doubtful);
        }
    }

    /// Gives written deliveries to the lanes.
    fn hand_on(&self, batch: Vec<RoutedMessage>, new: Vec<bool>, grant: LeaseGrant) {
        for (routed, new) in batch.into_iter().zip(new) {
            metrics::counter!(metric::EVENTS_ROUTED).increment(u64::from(new));
            metrics::histogram!(metric::STAGE_SECONDS, "stage" => "route")
                .record(grant.now.since(routed.message.created_at).as_secs_f64());
            for delivery in routed.deliveries {
                metrics::counter!(metric::DELIVERIES_CREATED).increment(u64::from(new));
                if let Some(to) = &self.hand_over {
                    to.push(&routed.message, delivery, new, grant);
                }
            }
        }
    }
}

impl HandOver {
    fn push(&self, message: &Arc<Message>, delivery: NewDelivery, new: bool, grant: LeaseGrant) {
        let NewDelivery {
            endpoint_id,
            delivered_name,
            lease,
        } = delivery;
        match lease {
            Some(lease) if new => self.lanes.push(LeasedDelivery {
                endpoint_id,
                lease,
                lease_until: grant.until,
                due_at: grant.now,
                attempts: 0,
                step: 0,
                manual: false,
                resume: None,
                delivered_name,
                message: message.clone(),
            }),
            Some(_) => self.lanes.unreserve(endpoint_id, cost_of(message)),
            None => self.notes.add(endpoint_id, grant.now),
        }
    }

    /// Frees the places that were reserved. What was leased under `doubtful` may have been written all the same.
    fn take_back(&self, batch: &[RoutedMessage], doubtful: Option<LeaseGrant>) {
        for routed in batch {
            let size = cost_of(&routed.message);
            let leased = routed
                .deliveries
                .iter()
                .filter(|delivery| delivery.lease.is_some());
            for delivery in leased {
                self.lanes.unreserve(delivery.endpoint_id, size);
            }
        }
        if let Some(grant) = doubtful {
            self.grants.doubt(grant);
        }
    }
}

fn size_of(events: &[Event]) -> usize {
    events.iter().map(Event::size).sum()
}

fn note_failure(error: &SourceError) {
    match error {
        SourceError::Store(error) => {
            metrics::counter!(metric::STORE_FAILURES, "part" => "router").increment(1);
            if error.is_transient() {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    "the router could not reach the database; trying again"
                );
            } else {
                tracing::error!(
                    reason = error.reason(),
                    "the router cannot read or write a row; trying again"
                );
            }
        }
        SourceError::Other(error) => {
            metrics::counter!(metric::SOURCE_FAILURES).increment(1);
            tracing::warn!(
                error = &**error as &dyn std::error::Error,
                "a source of events failed; trying again"
            );
        }
    }
}
