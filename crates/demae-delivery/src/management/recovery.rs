//! Sending again what failed or never arrived.
//!
//! A recovery is a job that a timer runs ([`crate::engine::timers`]). It walks the application's messages of a window,
//! oldest first, a chunk per step; each step's effects, its progress and its place share a transaction that holds the
//! timer, so that a worker that dies loses nothing and repeats nothing. A delivery that is planned anyway keeps its plan:
//! the attempt made now comes in addition.

use std::{collections::HashSet, fmt, str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use demae_event::{EndpointId, EventId, Faults, JobId, Scope, Subscription, SubscriptionSet, Timestamp};
use demae_store::{
    Store, StoreError, Transaction,
    engine::DeliveryState,
    repository::{
        Listing, Page,
        deliveries::{self, DeliveryProgress, Planned},
        endpoints::{self, Endpoint},
        jobs::{self, Job, JobStatus, NewJob, NextStep, Step},
        messages::{self, MessageCursor, MessageHead},
        timers::{self, NewTimer, Timer},
    },
};
use serde::{Deserialize, Serialize};

use super::{Management, ManagementError, error::Operation};
use crate::engine::timers::{Outcome, TimerError, TimerHandler, TimerKind};

/// The kind of these jobs and of their timers; a timer's subject is the ID of its job.
const KIND: &str = "endpoint.recover";
/// Messages looked at per step.
const CHUNK: u64 = 200;
/// Steps of a job per run of its timer; then the recoveries of other organizations have their turn.
const STEPS_PER_RUN: usize = 10;
/// Recoveries in flight in a process.
const CONCURRENCY: u32 = 2;
/// The longest run.
const DEADLINE: Duration = Duration::from_mins(2);

/// What a recovery sends again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoverState {
    /// Given up after its last attempt.
    Failed,
    /// Failed so far, with another attempt planned.
    Failing,
    /// Not sent because the endpoint was disabled.
    Canceled,
    /// Never meant for the endpoint, because it did not exist or was disabled then, or subscribed later.
    Missing,
}

impl RecoverState {
    /// All of them, which is what is sent unless the caller chooses.
    pub const ALL: [Self; 4] = [Self::Failed, Self::Failing, Self::Canceled, Self::Missing];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Failing => "failing",
            Self::Canceled => "canceled",
            Self::Missing => "missing",
        }
    }
}

impl fmt::Display for RecoverState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is none of the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of: failed, failing, canceled, missing")]
pub struct ParseRecoverStateError;

impl FromStr for RecoverState {
    type Err = ParseRecoverStateError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(ParseRecoverStateError)
    }
}

/// What is to be sent again.
#[derive(Debug, Clone)]
pub struct RecoverInput {
    /// Events written then or later.
    pub since: Timestamp,
    /// Events written before; up to now if left out.
    pub until: Option<Timestamp>,
    /// In these states; all if empty.
    pub states: Vec<RecoverState>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Parameters {
    /// Microseconds.
    since: i64,
    /// Microseconds.
    until: i64,
    states: Vec<RecoverState>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Place {
    /// Microseconds.
    created_at: i64,
    event_id: EventId,
}

impl Management {
    /// Begins a recovery, which the workers run. Ask for its progress with [`Management::job`].
    pub async fn recover_endpoint(
        &self,
        transaction: &mut Transaction,
        scope: Scope,
        id: EndpointId,
        input: RecoverInput,
        now: Timestamp,
    ) -> Result<Job, ManagementError> {
        let operation = Operation("RecoverEndpoint");
        let until = input.until.unwrap_or(now).min(now);
        let mut faults = Faults::new();
        if input.since >= now {
            faults.push_value("since", "must be in the past", input.since.to_string());
        } else if input.since >= until {
            faults.push_value("until", "must be after since", until.to_string());
        }
        operation.check(faults)?;
        // Locked, so that two requests at once do not both find no running job.
        let endpoint = self.find_for_update(transaction, operation, scope, id).await?;
        if !endpoint.enabled {
            return Err(operation.conflict("EndpointDisabled", "the endpoint is disabled; enable it first"));
        }
        if jobs::count_running(transaction.connection(), id, KIND, 1).await? > 0 {
            return Err(operation.conflict("AlreadyRunning", "a recovery of this endpoint is running"));
        }
        let states = if input.states.is_empty() {
            RecoverState::ALL.to_vec()
        } else {
            input.states
        };
        let parameters = Parameters {
            since: input.since.as_micros(),
            until: until.as_micros(),
            states,
        };
        let job = NewJob {
            id: JobId::new(now),
            scope,
            kind: KIND,
            endpoint_id: id,
            parameters: json(&parameters),
        };
        let timer = NewTimer {
            kind: KIND,
            subject: job.id.to_string(),
            organization_id: scope.organization,
            due_at: now,
            data: None,
        };
        timers::set(transaction, timer, now).await?;
        Ok(jobs::create(transaction, job, now).await?)
    }

    /// One job.
    pub async fn job(&self, scope: Scope, id: JobId) -> Result<Job, ManagementError> {
        jobs::find(self.store.reader(), scope, id)
            .await?
            .ok_or(Operation("GetJob").not_found("job"))
    }

    /// The jobs of an application, newest first.
    pub async fn jobs(
        &self,
        scope: Scope,
        page: Page<JobId>,
    ) -> Result<Listing<Job, JobId>, ManagementError> {
        Ok(jobs::list(self.store.reader(), scope, page).await?)
    }
}

/// Runs the recoveries of a process.
pub fn timer_kind(store: Store) -> TimerKind {
    TimerKind {
        name: KIND,
        handler: Arc::new(Recoveries { store }),
        concurrency: CONCURRENCY,
        deadline: DEADLINE,
    }
}

struct Recoveries {
    store: Store,
}

#[async_trait]
impl TimerHandler for Recoveries {
    async fn run(&self, timer: &Timer, now: Timestamp) -> Result<Outcome, TimerError> {
        let Ok(id) = timer.subject.parse() else {
            return Ok(Outcome::Done);
        };
        let job = jobs::find_of_any_application(self.store.reader(), timer.organization_id, id).await?;
        // A deleted job has nothing left to do.
        let Some(mut job) = job else {
            return Ok(Outcome::Done);
        };
        for _ in 0..STEPS_PER_RUN {
            if !self.step(timer, &mut job, now).await? {
                return Ok(Outcome::Settled);
            }
        }
        Ok(Outcome::Again { at: now, data: None })
    }
}

impl Recoveries {
    /// Does one step of a job, in one transaction with its progress. Returns whether another step follows; otherwise the
    /// transaction has completed the timer too.
    async fn step(&self, timer: &Timer, job: &mut Job, now: Timestamp) -> Result<bool, TimerError> {
        let mut transaction = self.store.begin().await?;
        if !timers::hold(&mut transaction, timer).await? {
            return Err(TimerError::LeaseLost);
        }
        // Another run may have moved the job on since it was read, and lost the lease before it could say so.
        let current = jobs::find(transaction.connection(), job.scope, job.id).await?;
        if let Some(current) = current {
            *job = current;
        }
        let mut goes_on = false;
        if job.status == JobStatus::Running {
            let step = recover_chunk(&self.store, &mut transaction, job, now).await?;
            goes_on = step.next == NextStep::Continue;
            jobs::advance(&mut transaction, job, step, now).await?;
        }
        if !goes_on {
            timers::complete(&mut transaction, timer).await?;
        }
        transaction.commit().await?;
        Ok(goes_on)
    }
}

async fn recover_chunk(
    store: &Store,
    transaction: &mut Transaction,
    job: &Job,
    now: Timestamp,
) -> Result<Step, StoreError> {
    let (scope, id) = (job.scope, job.endpoint_id);
    let endpoint = endpoints::find(transaction.connection(), store.vault(), scope, id).await?;
    let endpoint = match endpoint {
        Some(endpoint) if endpoint.enabled => endpoint,
        Some(_) => return Ok(stop(job, "the endpoint was disabled")),
        None => return Ok(stop(job, "the endpoint was deleted")),
    };
    let parameters: Parameters = parse(&job.parameters)?;
    let after = match &job.cursor {
        None => None,
        Some(text) => {
            let place: Place = parse(text)?;
            Some(MessageCursor {
                created_at: Timestamp::from_micros(place.created_at),
                event_id: place.event_id,
            })
        }
    };
    let window = (
        Timestamp::from_micros(parameters.since),
        Timestamp::from_micros(parameters.until),
    );
    let chunk = messages::walk(transaction, scope, window, after, CHUNK).await?;
    let resent = resend(transaction, &endpoint, &parameters.states, &chunk, now).await?;
    let place = chunk.last().map(|message| {
        json(&Place {
            created_at: message.created_at.as_micros(),
            event_id: message.event_id,
        })
    });
    let complete = (chunk.len() as u64) < CHUNK;
    Ok(Step {
        cursor: place.or_else(|| job.cursor.clone()),
        examined: chunk.len() as u64,
        resent,
        next: if complete {
            NextStep::Finish
        } else {
            NextStep::Continue
        },
    })
}

/// Plans attempts for those of `chunk` that are in one of `states`; answers how many.
async fn resend(
    transaction: &mut Transaction,
    endpoint: &Endpoint,
    states: &[RecoverState],
    chunk: &[MessageHead],
    now: Timestamp,
) -> Result<u64, StoreError> {
    let ids: Vec<EventId> = chunk.iter().map(|message| message.event_id).collect();
    let (scope, id) = (endpoint.scope, endpoint.id);
    let known = deliveries::states(transaction.connection(), scope, id, &ids).await?;
    let wanted =
        |delivery: &&DeliveryProgress| recoverable(delivery).is_some_and(|state| states.contains(&state));
    let again: Vec<EventId> = known
        .iter()
        .filter(wanted)
        .map(|delivery| delivery.event_id)
        .collect();
    let mut resent = deliveries::retry_many(transaction, scope, id, &again, now).await?;
    if states.contains(&RecoverState::Missing) {
        let subscriptions = subscriptions(endpoint)?;
        let present: HashSet<EventId> = known.iter().map(|delivery| delivery.event_id).collect();
        let missing = chunk
            .iter()
            .filter(|message| !present.contains(&message.event_id));
        let missing = missing.filter_map(|message| {
            let name = subscriptions.delivered_name(&message.event_name, &message.event_type)?;
            Some(Planned {
                event_id: message.event_id,
                delivered_name: name.to_owned(),
            })
        });
        resent += deliveries::insert(transaction, scope, id, missing.collect(), now).await?;
    }
    Ok(resent)
}

/// Whether, and as what, a delivery can be recovered. One that was never tried yet, or that is under way, needs nothing.
fn recoverable(delivery: &DeliveryProgress) -> Option<RecoverState> {
    match delivery.state {
        DeliveryState::Failed => Some(RecoverState::Failed),
        DeliveryState::Canceled => Some(RecoverState::Canceled),
        DeliveryState::Waiting if delivery.attempts > 0 && !delivery.manual => Some(RecoverState::Failing),
        DeliveryState::Waiting | DeliveryState::Leased | DeliveryState::Succeeded => None,
    }
}

fn stop(job: &Job, reason: &str) -> Step {
    Step {
        cursor: job.cursor.clone(),
        examined: 0,
        resent: 0,
        next: NextStep::Fail(reason.to_owned()),
    }
}

/// What an endpoint subscribes to.
pub(super) fn subscriptions(endpoint: &Endpoint) -> Result<SubscriptionSet, StoreError> {
    let unreadable = StoreError::Unreadable("an endpoint's event names");
    let entries: Result<Vec<Subscription>, _> =
        endpoint.event_names.iter().map(|name| name.parse()).collect();
    match entries.map(SubscriptionSet::new) {
        Ok(Ok(set)) => Ok(set),
        _ => Err(unreadable),
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable("a job"))
}

#[expect(
    clippy::expect_used,
    reason = "only maps with keys that are not text cannot be written as JSON"
)]
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain values are JSON")
}
