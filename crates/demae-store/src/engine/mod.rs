//! The hot path of delivery, as a seam.
//!
//! ```text
//!            append                route                     claim / hand-over            record
//! request ──────────▶ outbox ──────────────▶ waiting ─────────────────────────▶ leased ────────────▶ succeeded
//!                                               ▲                                 │ │                 failed
//!                                               └──────── retry, lapsed lease ────┘ └──────────────▶ canceled
//! ```
//!
//! # A delivery's states
//!
//! | from | to | when |
//! |---|---|---|
//! | (none) | waiting or leased | [`Engine::route`] writes it with its message; leased if the router takes it at once |
//! | waiting | leased | [`Engine::claim`], due and asked for by a lane |
//! | leased | succeeded, failed, canceled | [`Engine::record`] by the holder of the lease |
//! | leased | waiting | [`Engine::record`] with a retry or a release; [`Engine::recover_leases`] when the lease lapsed or its worker is gone; [`Engine::give_back`] when its worker knows nothing of it |
//! | waiting | failed | [`Engine::claim`] cannot read it, or its message |
//! | waiting | canceled | [`Engine::claim`] finds its payload expunged; [`crate::repository::expunge`] expunges it |
//! | any but leased | waiting | a manual retry or a recovery (`repository::history`) |
//!
//! # Leases
//!
//! A lease is the id of the attempt made under it. Whoever holds it is the only one who may complete the delivery: every
//! completion says which lease it holds, and changes nothing if that is no longer the one in the row. A worker that lost
//! its lease (it slept, it was cut off) may therefore have sent a duplicate, but cannot overwrite what its successor
//! recorded. Its attempt is kept in the history all the same: it happened.
//!
//! # Durability
//!
//! A call that returns `Ok` has committed. After `Err` the outcome is unknown; every method may be called again with the
//! same arguments without harm.

pub mod postgres;
mod readable;
mod rows;
mod set_aside;
pub mod sqlite;

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use demae_event::{AttemptId, EndpointId, Event, EventId, OrganizationId, Scope, Timestamp};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::StoreError;

/// Where a delivery is. The numbers are those in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum DeliveryState {
    /// An attempt is planned for `due_at`.
    Waiting = 0,
    /// An attempt is under way until `due_at` at the latest.
    Leased = 1,
    /// An endpoint answered 2xx.
    Succeeded = 2,
    /// Given up.
    Failed = 3,
    /// Its endpoint was disabled or deleted before it could be made.
    Canceled = 4,
}

impl DeliveryState {
    /// Whether no attempt is planned or under way.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }

    /// From the number in the database.
    pub fn from_number(number: i16) -> Result<Self, StoreError> {
        match number {
            0 => Ok(Self::Waiting),
            1 => Ok(Self::Leased),
            2 => Ok(Self::Succeeded),
            3 => Ok(Self::Failed),
            4 => Ok(Self::Canceled),
            _ => Err(StoreError::Unreadable("unknown delivery state")),
        }
    }
}

/// How an attempt ended. The numbers are those in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum AttemptStatus {
    /// 2xx.
    Success = 0,
    /// Failed, and another attempt is planned.
    Failing = 1,
    /// Failed for good.
    Failed = 2,
    /// Not made: the endpoint was disabled or deleted.
    Canceled = 3,
}

impl AttemptStatus {
    /// From the number in the database.
    pub fn from_number(number: i16) -> Result<Self, StoreError> {
        match number {
            0 => Ok(Self::Success),
            1 => Ok(Self::Failing),
            2 => Ok(Self::Failed),
            3 => Ok(Self::Canceled),
            _ => Err(StoreError::Unreadable("unknown attempt status")),
        }
    }
}

/// What became of an event offered to [`Engine::append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It was written.
    New,
    /// An event with this id exists already, waiting or routed; nothing was written.
    Duplicate,
}

/// A message: a routed event, as it is delivered. Shared by all its deliveries.
#[derive(Debug)]
pub struct Message {
    /// The event it carries.
    pub event_id: EventId,
    /// The application it belongs to, within its organization.
    pub scope: Scope,
    /// The event's own (seed) name.
    pub event_name: String,
    /// The event's type.
    pub event_type: String,
    /// The payload's text.
    pub data: Box<RawValue>,
    /// The producer's headers.
    pub headers: Option<Box<RawValue>>,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
    /// When the event was written.
    pub created_at: Timestamp,
    /// When its payload and headers were expunged; then `data` is `null`. Such a message is never sent.
    pub expunged_at: Option<Timestamp>,
}

impl From<Event> for Message {
    fn from(event: Event) -> Self {
        Self {
            event_id: event.id,
            scope: event.scope,
            event_name: event.name,
            event_type: event.event_type,
            data: event.data,
            headers: event.headers,
            traceparent: event.traceparent,
            created_at: event.created_at,
            expunged_at: None,
        }
    }
}

impl Message {
    /// Bytes of its texts; as many as those of its event.
    pub fn size(&self) -> usize {
        let raw = |text: &Option<Box<RawValue>>| text.as_ref().map_or(0, |text| text.get().len());
        let traceparent = self.traceparent.as_ref().map_or(0, String::len);
        self.data.get().len()
            + raw(&self.headers)
            + self.event_name.len()
            + self.event_type.len()
            + traceparent
    }
}

/// A message and the endpoints it goes to, as the router decided.
#[derive(Debug)]
pub struct RoutedMessage {
    /// The message.
    pub message: Arc<Message>,
    /// One per matching endpoint; may be empty.
    pub deliveries: Vec<NewDelivery>,
}

/// One delivery of a [`RoutedMessage`].
#[derive(Debug)]
pub struct NewDelivery {
    /// Where to.
    pub endpoint_id: EndpointId,
    /// The name form this endpoint receives.
    pub delivered_name: String,
    /// Leased to this worker at once if its lane has room; otherwise it waits in the table, due now.
    pub lease: Option<AttemptId>,
}

/// In whose name and until when deliveries are leased.
#[derive(Debug, Clone, Copy)]
pub struct LeaseGrant {
    /// The worker.
    pub worker: Uuid,
    /// Now.
    pub now: Timestamp,
    /// When the leases end.
    pub until: Timestamp,
}

/// How many due deliveries a lane can take.
#[derive(Debug, Clone, Copy)]
pub struct LaneRequest {
    /// The lane's endpoint.
    pub endpoint_id: EndpointId,
    /// At most so many.
    pub limit: u32,
}

/// A delivery that this worker may attempt now.
#[derive(Debug, Clone)]
pub struct LeasedDelivery {
    /// Where to.
    pub endpoint_id: EndpointId,
    /// The attempt to make, which is the lease.
    pub lease: AttemptId,
    /// When the lease ends.
    pub lease_until: Timestamp,
    /// When the attempt was due: the difference to now is queueing.
    pub due_at: Timestamp,
    /// Attempts recorded before.
    pub attempts: u32,
    /// Scheduled attempts made before.
    pub step: u32,
    /// Asked for by a person.
    pub manual: bool,
    /// Where a failed manual attempt returns to: the state and, if that is waiting, its due time.
    pub resume: Option<(DeliveryState, Timestamp)>,
    /// The name form this endpoint receives.
    pub delivered_name: String,
    /// What to send.
    pub message: Arc<Message>,
}

/// What becomes of a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It is finished (succeeded, failed or canceled).
    Finish(DeliveryState),
    /// It waits until then for its next attempt.
    Retry(Timestamp),
}

impl Disposition {
    /// Where the delivery is then.
    pub fn state(self) -> DeliveryState {
        match self {
            Self::Finish(state) => state,
            Self::Retry(_) => DeliveryState::Waiting,
        }
    }
}

/// A finished attempt, ready to be recorded.
#[derive(Debug, Clone)]
pub struct AttemptRecord {
    /// The attempt, which is the lease that allows it to be recorded.
    pub id: AttemptId,
    /// The application of the message, within its organization.
    pub scope: Scope,
    /// Where to.
    pub endpoint_id: EndpointId,
    /// What.
    pub event_id: EventId,
    /// The event's own (seed) name.
    pub event_name: String,
    /// 1 for the first attempt of a delivery.
    pub number: u32,
    /// Asked for by a person.
    pub manual: bool,
    /// How it ended.
    pub status: AttemptStatus,
    /// What becomes of the delivery.
    pub disposition: Disposition,
    /// Scheduled attempts made, this one included if it was one.
    pub step: u32,
    /// The URL it went to.
    pub url: String,
    /// The HTTP status, if there was an answer.
    pub http_status: Option<u16>,
    /// The kind of error (snake case), if there was one.
    pub error_kind: Option<&'static str>,
    /// What a person should read about the error.
    pub error_detail: Option<String>,
    /// JSON object of the headers that were sent; secrets already masked.
    pub request_headers: String,
    /// JSON object of the headers that came back, bounded.
    pub response_headers: String,
    /// The beginning of the body that came back; NUL characters are kept as U+FFFD.
    pub response_body: String,
    /// Milliseconds from the start of the exchange to its end.
    pub duration_ms: u32,
    /// When the exchange began.
    pub started_at: Timestamp,
}

impl AttemptRecord {
    /// Bytes of its texts.
    pub fn size(&self) -> usize {
        self.event_name.len()
            + self.url.len()
            + self.error_detail.as_ref().map_or(0, String::len)
            + self.request_headers.len()
            + self.response_headers.len()
            + self.response_body.len()
    }
}

/// A lease given back without an attempt: the lane was full, or the process stops.
#[derive(Debug, Clone, Copy)]
pub struct Release {
    /// The lease.
    pub lease: AttemptId,
    /// Its delivery.
    pub endpoint_id: EndpointId,
    /// Its delivery.
    pub event_id: EventId,
    /// When it is due again.
    pub due_at: Timestamp,
}

/// The open work in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Events in the outbox, not yet routed.
    pub unrouted: u64,
    /// Deliveries that wait, counted up to [`BACKLOG_COUNT_LIMIT`].
    pub waiting: u64,
    /// Deliveries under way.
    pub leased: u64,
    /// When the oldest unrouted event was written.
    pub oldest_unrouted: Option<Timestamp>,
    /// When the longest overdue delivery was due.
    pub oldest_due: Option<Timestamp>,
}

/// The most text in a row of the outbox, in bytes. A larger row is set aside, not read.
pub const PAYLOAD_LIMIT: usize = 16 * 1024 * 1024;
/// Bytes of text after which a read of the outbox ends, with the row that reached it.
pub const READ_LIMIT: usize = 4 * 1024 * 1024;

/// Organizations that [`Engine::read_outbox_of_others`] reads at a time.
pub const OTHERS: u32 = 64;
/// Events of each of them.
pub const EVENTS_OF_OTHER: u32 = 128;
/// Events of all of them together.
pub const EVENTS_OF_OTHERS: u32 = 512;
/// Bytes of text after which such a read ends, with the row that reached it.
pub const READ_LIMIT_OF_OTHERS: usize = 1024 * 1024;

/// Counting stops here: an exact million is not worth reading a million rows.
pub const BACKLOG_COUNT_LIMIT: u64 = 1_000_000;

/// Bytes of payloads that one claim takes of a lane; the last delivery may exceed them.
pub const CLAIM_BYTES: u64 = 1 << 20;

/// Bytes of texts after which [`Engine::route`] or [`Engine::record`] should be given no more at a time: on Postgres the
/// library copies a statement twice before it is sent.
pub const STATEMENT_BYTES: usize = 2 * 1024 * 1024;

/// The hot path. See the module's documentation for states, leases and durability.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Writes events that an application hands over with no change of its own, many callers' in one commit.
    ///
    /// Answers in the order of `events`. An id that occurs twice in `events` is new once and a duplicate after that.
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>, StoreError>;

    /// Waits until this process committed an event or another one said so; may return without a reason.
    /// A reader must also look from time to time, for writers that tell nobody.
    async fn outbox_changed(&self);

    /// Waits until deliveries wait, due at once, of which the scheduler of this process does not know: those that a
    /// person asked for, and those that another process wrote. Answers their endpoints. May miss some and name others
    /// without a reason: a reader must also look from time to time. One reader at a time; cancel-safe.
    async fn deliveries_changed(&self) -> HashSet<EndpointId>;

    /// Waits until a timer was set, here or in another process, that wakes before the next regular look at the table.
    /// Returns the earliest such time. May miss some. One reader at a time; cancel-safe.
    async fn timers_changed(&self) -> Timestamp;

    /// The oldest committed events that are not routed, in the order in which they were inserted: at most `limit`, and
    /// no more after [`READ_LIMIT`] bytes.
    ///
    /// A row that cannot be an event (of another type, not UTF-8, not JSON, larger than [`PAYLOAD_LIMIT`]) is moved to
    /// the rejected events on the way, in one transaction: it neither stops what is behind it nor vanishes.
    ///
    /// Rows that become visible late (a transaction that inserted early and committed late) appear in a later call: an
    /// event is never passed over, because it stays until [`Engine::route`] takes it out by its id.
    async fn read_outbox(&self, limit: u32) -> Result<Vec<Event>, StoreError>;

    /// The oldest committed events that are not routed, of organizations other than `except`: for a reader that has not
    /// routed everything that it read, so that an organization with much in the outbox does not hold up the others.
    ///
    /// At most [`EVENTS_OF_OTHER`] events of each of [`OTHERS`] organizations, [`EVENTS_OF_OTHERS`] in all, and no more after
    /// [`READ_LIMIT_OF_OTHERS`] bytes; each organization's in the order in which they were inserted. Organizations that are
    /// left out because there are more come first the next time. Rows that cannot be events are treated as
    /// [`Engine::read_outbox`] treats them.
    async fn read_outbox_of_others(&self, except: &HashSet<OrganizationId>)
    -> Result<Vec<Event>, StoreError>;

    /// The rows among the oldest `limit` of the outbox that cannot be events: position and reason. Changes nothing; the
    /// next [`Engine::read_outbox`] sets them aside.
    async fn unreadable_rows(&self, limit: u32) -> Result<Vec<(i64, String)>, StoreError>;

    /// Moves an event that could be read, and cannot be written as a message, to the rejected events and out of the
    /// outbox, in one transaction.
    async fn reject(&self, message: &Message, reason: &str, now: Timestamp) -> Result<(), StoreError>;

    /// Takes events out of the outbox that are now kept elsewhere, durably: by a broker. Those that are not there (any
    /// more) are no error.
    async fn take_out(&self, events: &[EventId]) -> Result<(), StoreError>;

    /// Raised by every change of an endpoint, in the transaction of the change. A router that reads it before it fans
    /// out sees every endpoint that was there when its events were committed.
    async fn endpoints_version(&self) -> Result<i64, StoreError>;

    /// Writes messages with their deliveries and takes their events out of the outbox, if they are in it: one
    /// transaction, so an event is always in one of the two places. Idempotent by event id: answers which messages were new; of one that was
    /// there already, or came before in the same call, nothing is written, and its leases are not granted. Other
    /// processes are told of deliveries that wait; this one knows.
    async fn route(&self, messages: &[RoutedMessage], grant: LeaseGrant) -> Result<Vec<bool>, StoreError>;

    /// Leases due deliveries, the longest due of each lane first. Rows another worker is claiming are skipped.
    /// `lanes` must name an endpoint at most once. Of a lane no more is taken once [`CLAIM_BYTES`] are reached. A delivery
    /// that cannot be read, or whose message cannot, fails with the reason in its history.
    async fn claim(
        &self,
        lanes: &[LaneRequest],
        grant: LeaseGrant,
    ) -> Result<Vec<LeasedDelivery>, StoreError>;

    /// Every endpoint with a waiting delivery, and when its next one is due. Costs grow with the number of such
    /// endpoints, not of their deliveries.
    async fn waiting_lanes(&self) -> Result<Vec<(EndpointId, Timestamp)>, StoreError>;

    /// Records attempts and moves their deliveries on. Answers which deliveries were moved; one that was not had lost
    /// its lease. All attempts are kept either way; one with a value that the database refuses is kept without what came
    /// from outside, and its neighbours are not affected.
    async fn record(&self, attempts: &[AttemptRecord]) -> Result<Vec<bool>, StoreError>;

    /// Gives leases back.
    async fn release(&self, leases: &[Release]) -> Result<(), StoreError>;

    /// Makes due again, now, what `worker` holds under leases that end at one of `lease_ends`. Answers how many.
    async fn give_back(
        &self,
        worker: Uuid,
        lease_ends: &[Timestamp],
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Says that `worker` lives; the first call registers it.
    async fn heartbeat(&self, worker: Uuid, now: Timestamp) -> Result<(), StoreError>;

    /// Makes due again what is leased but will not be completed: its lease ended before `now`, or its worker gave no
    /// sign of life since `dead_before`. Answers how many, at most `limit`.
    async fn recover_leases(
        &self,
        now: Timestamp,
        dead_before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;

    /// Signs a worker off; what it still leases is recovered by the others at once.
    async fn retire(&self, worker: Uuid) -> Result<(), StoreError>;

    /// The open work.
    async fn backlog(&self, now: Timestamp) -> Result<Backlog, StoreError>;

    /// What the database wants done from time to time and off the hot path; called about every second.
    async fn upkeep(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Closes the connections of the hot path.
    async fn close(&self);
}
