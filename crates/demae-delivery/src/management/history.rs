//! The history of attempts, and asking for another one.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use demae_event::{AttemptId, EndpointId, EventId, Scope, Timestamp, catalogue};
use demae_store::{
    StoreError, Transaction,
    engine::{AttemptStatus, Message},
    repository::{
        Listing, Page,
        deliveries::{self, Retry},
        endpoints, event_types,
        history::{self, HistoryEntry, HistoryStatus},
        messages,
    },
};

use super::{Management, ManagementError, error::Operation};
use crate::dialect::Dialect;

const RESOURCE: &str = "attempt";

/// How an attempt went, in the words of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptState {
    /// Under way.
    Sending,
    /// Answered 2xx.
    Success,
    /// Failed; another attempt is planned.
    Failing,
    /// Failed for good.
    Failed,
    /// Not made: the endpoint was disabled or deleted.
    Canceled,
}

impl AttemptState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Sending,
        Self::Success,
        Self::Failing,
        Self::Failed,
        Self::Canceled,
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Success => "success",
            Self::Failing => "failing",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

impl fmt::Display for AttemptState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is none of the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of: sending, success, failing, failed, canceled")]
pub struct ParseAttemptStateError;

impl FromStr for AttemptState {
    type Err = ParseAttemptStateError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(ParseAttemptStateError)
    }
}

impl From<HistoryStatus> for AttemptState {
    fn from(status: HistoryStatus) -> Self {
        match status {
            HistoryStatus::Sending => Self::Sending,
            HistoryStatus::Finished(AttemptStatus::Success) => Self::Success,
            HistoryStatus::Finished(AttemptStatus::Failing) => Self::Failing,
            HistoryStatus::Finished(AttemptStatus::Failed) => Self::Failed,
            HistoryStatus::Finished(AttemptStatus::Canceled) => Self::Canceled,
        }
    }
}

impl From<AttemptState> for HistoryStatus {
    fn from(state: AttemptState) -> Self {
        match state {
            AttemptState::Sending => Self::Sending,
            AttemptState::Success => Self::Finished(AttemptStatus::Success),
            AttemptState::Failing => Self::Finished(AttemptStatus::Failing),
            AttemptState::Failed => Self::Finished(AttemptStatus::Failed),
            AttemptState::Canceled => Self::Finished(AttemptStatus::Canceled),
        }
    }
}

/// Which attempts are wanted; an empty list means any.
#[derive(Debug, Clone, Default)]
pub struct HistoryFilter {
    /// Those in one of these states.
    pub states: Vec<AttemptState>,
    /// Those of events with one of these names (either form) or types.
    pub events: Vec<String>,
    /// Those of this event.
    pub event_id: Option<EventId>,
    /// Those to this endpoint.
    pub endpoint_id: Option<EndpointId>,
    /// Begun then or later.
    pub since: Option<Timestamp>,
    /// Begun before.
    pub until: Option<Timestamp>,
}

/// One attempt with what was sent.
#[derive(Debug)]
pub struct AttemptDetail {
    /// The attempt.
    pub entry: HistoryEntry,
    /// What it carried; `None` once the message is gone, or if it cannot be read.
    pub message: Option<Message>,
    /// The body that was sent, byte for byte; `None` once the message is gone or its payload was expunged, or if it cannot be
    /// read.
    pub request_body: Option<Bytes>,
}

/// A planned attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRetry {
    /// What is sent.
    pub event_id: EventId,
    /// Where to.
    pub endpoint_id: EndpointId,
    /// When it is due.
    pub due_at: Timestamp,
}

impl Management {
    /// A page of the history, newest first, beginning with what is under way.
    pub async fn history(
        &self,
        scope: Scope,
        filter: &HistoryFilter,
        page: Page<AttemptId>,
    ) -> Result<Listing<HistoryEntry, AttemptId>, ManagementError> {
        let stored = history::HistoryFilter {
            statuses: (!filter.states.is_empty())
                .then(|| filter.states.iter().copied().map(HistoryStatus::from).collect()),
            event_names: self.stored_names(scope, &filter.events).await?,
            event_id: filter.event_id,
            endpoint_id: filter.endpoint_id,
            since: filter.since,
            until: filter.until,
        };
        Ok(history::list(self.store.reader(), scope, &stored, page).await?)
    }

    /// One attempt, with what was sent.
    pub async fn attempt(&self, scope: Scope, id: AttemptId) -> Result<AttemptDetail, ManagementError> {
        let connection = self.store.reader();
        let entry = history::find(connection, scope, id)
            .await?
            .ok_or(Operation("GetAttempt").not_found(RESOURCE))?;
        let message = messages::find(connection, scope, entry.event_id).await?;
        // Of one that cannot be read nobody knows what was sent.
        let message = message
            .filter(|stored| stored.unreadable.is_none())
            .map(|stored| stored.message);
        let delivered = deliveries::states(connection, scope, entry.endpoint_id, &[entry.event_id]).await?;
        let request_body = message
            .as_ref()
            .filter(|message| message.expunged_at.is_none())
            .zip(delivered.first())
            .map(|(message, delivery)| {
                // The only dialect; with more of them it will be in the delivery's row.
                Dialect::Standard.body(message, &delivery.delivered_name)
            });
        Ok(AttemptDetail {
            entry,
            message,
            request_body,
        })
    }

    /// Plans another attempt of what `attempt` tried, for now. Attempts that were planned stay planned, should this one
    /// fail.
    pub async fn retry_attempt(
        &self,
        transaction: &mut Transaction,
        scope: Scope,
        attempt: AttemptId,
        now: Timestamp,
    ) -> Result<PlannedRetry, ManagementError> {
        let operation = Operation("RetryAttempt");
        let entry = history::find(transaction.connection(), scope, attempt)
            .await?
            .ok_or(operation.not_found(RESOURCE))?;
        let endpoint = endpoints::find(
            transaction.connection(),
            self.store.vault(),
            scope,
            entry.endpoint_id,
        )
        .await?;
        match endpoint {
            Some(endpoint) if endpoint.enabled => {}
            Some(_) => {
                return Err(
                    operation.conflict("EndpointDisabled", "the endpoint is disabled; enable it first")
                );
            }
            None => return Err(operation.conflict("EndpointDeleted", "the endpoint was deleted")),
        }
        let message = messages::find(transaction.connection(), scope, entry.event_id).await?;
        if message.is_some_and(|stored| stored.message.expunged_at.is_some()) {
            return Err(operation.conflict("PayloadExpunged", "the payload was expunged"));
        }
        match deliveries::retry(transaction, scope, (entry.endpoint_id, entry.event_id), now).await? {
            Retry::Planned => Ok(PlannedRetry {
                event_id: entry.event_id,
                endpoint_id: entry.endpoint_id,
                due_at: now,
            }),
            Retry::UnderWay => Err(operation.conflict("UnderWay", "an attempt is under way at this moment")),
            Retry::Missing => Err(operation.conflict("MessageExpired", "the message is no longer kept")),
        }
    }

    /// The names under which these names (either form) and types are stored; `None` for an empty list.
    pub(super) async fn stored_names(
        &self,
        scope: Scope,
        events: &[String],
    ) -> Result<Option<Vec<String>>, StoreError> {
        if events.is_empty() {
            return Ok(None);
        }
        let mut names = Vec::with_capacity(events.len());
        let mut own = None;
        for event in events {
            if let Some(definition) = catalogue::find(event) {
                names.push(definition.name.to_owned());
                continue;
            }
            if own.is_none() {
                own = Some(
                    event_types::names(self.store.reader(), scope.organization, self.own_types()).await?,
                );
            }
            let of_type = own.iter().flatten().filter(|(_, event_type)| event_type == event);
            names.extend(of_type.map(|(name, _)| name.clone()));
            names.push(event.clone());
        }
        Ok(Some(names))
    }
}
