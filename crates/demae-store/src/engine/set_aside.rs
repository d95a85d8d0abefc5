//! Rows that cannot be read, and values that cannot be written: each is set aside visibly, and the rest goes on.
//!
//! A row of the outbox becomes a rejected event (`demae dead-letters`) in the transaction that takes it out. A delivery
//! that cannot be made becomes a failed one, with an entry in its history.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use demae_event::{Timestamp, id::new_uuid};
use sea_orm::sqlx::{ColumnIndex, Row};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{AttemptRecord, AttemptStatus, DeliveryState, Message, readable::Readable};
use crate::{
    StoreError,
    repository::{
        expunge,
        rejected::{BODY_LIMIT, short_reason},
    },
};

/// As the rejected events of the outbox are labelled.
pub(super) const OUTBOX: &str = "outbox";
/// As the rejected events of the router are labelled.
pub(super) const ROUTER: &str = "router";
/// Of rows with more text than this, payload and headers are not even looked at when they are set aside.
pub(super) const DESCRIBED: i64 = 64 * 1024 * 1024;
/// The columns of a row that are kept for people.
const COLUMNS: [&str; 9] = [
    "id",
    "organization_id",
    "application_id",
    "event_name",
    "event_type",
    "payload",
    "headers",
    "traceparent",
    "created_at",
];

/// A row of the outbox that cannot become an event.
#[derive(Debug)]
pub(super) struct UnreadableRow {
    pub(super) position: i64,
    pub(super) reason: String,
}

impl UnreadableRow {
    pub(super) fn log(&self) {
        tracing::error!(
            table = "outbox_events",
            position = self.position,
            reason = self.reason,
            "a row cannot become an event; it is among the rejected events: see `demae dead-letters`"
        );
    }
}

/// A delivery that cannot be made: it, or its message, cannot be read. `place` is where to find it again.
#[derive(Debug)]
pub(super) struct Hopeless<P> {
    pub(super) place: P,
    pub(super) delivered_name: String,
    pub(super) number: i32,
    pub(super) reason: String,
    /// Its payload was expunged. That is no fault.
    pub(super) is_expunged: bool,
}

impl<P: std::fmt::Debug> Hopeless<P> {
    /// Where the delivery is then, how its attempt is recorded, and the kind of error.
    pub(super) fn end(&self) -> (DeliveryState, AttemptStatus, &'static str) {
        if self.is_expunged {
            (
                DeliveryState::Canceled,
                AttemptStatus::Canceled,
                expunge::ERROR_KIND,
            )
        } else {
            (DeliveryState::Failed, AttemptStatus::Failed, "unreadable")
        }
    }

    pub(super) fn log(&self) {
        if self.is_expunged {
            return;
        }
        tracing::error!(
            table = "deliveries",
            place = ?self.place,
            reason = self.reason,
            "a delivery cannot be made; it is given up"
        );
    }
}

/// A row of `rejected_events`.
#[derive(Debug)]
pub(super) struct RejectedRow {
    pub(super) id: Uuid,
    pub(super) reason: String,
    pub(super) body: Vec<u8>,
    pub(super) body_size: i64,
    pub(super) received_at: i64,
}

impl RejectedRow {
    fn new(reason: &str, after: &Map<String, Value>, size: i64, now: Timestamp) -> Self {
        // In the form in which `demae dead-letters redrive` reads it back, if it can be read.
        let mut body = json!({"data": {"payload": {"op": "c", "after": after}}})
            .to_string()
            .into_bytes();
        let body_size = size.max(body.len() as i64);
        body.truncate(BODY_LIMIT);
        Self {
            id: new_uuid(now),
            reason: short_reason(reason),
            body,
            body_size,
            received_at: now.as_micros(),
        }
    }

    /// From the columns of a row of the outbox, whatever they hold.
    pub(super) fn of_row<'r, R: Row>(row: &'r R, reason: &str) -> Result<Self, StoreError>
    where
        &'static str: ColumnIndex<R>,
        Vec<u8>: Readable<'r, R::Database>,
        i64: Readable<'r, R::Database>,
    {
        let mut after = Map::new();
        for name in COLUMNS {
            // Text as bytes: it may not be text.
            match row
                .try_get_unchecked::<Option<Vec<u8>>, _>(name)?
                .map(String::from_utf8)
            {
                None => {}
                Some(Ok(text)) => _ = after.insert(name.to_owned(), text.into()),
                Some(Err(bytes)) => {
                    after.insert(format!("{name}_base64"), STANDARD.encode(bytes.as_bytes()).into());
                }
            }
        }
        let now = Timestamp::from_micros(row.try_get("now")?);
        Ok(Self::new(reason, &after, row.try_get("size")?, now))
    }

    /// From an event that could be read and not be written.
    pub(super) fn of_message(message: &Message, reason: &str, now: Timestamp) -> Self {
        let columns = [
            message.event_id.to_string(),
            message.scope.organization.to_string(),
            message.scope.application.0.to_string(),
            message.event_name.clone(),
            message.event_type.clone(),
            message.data.get().to_owned(),
            message
                .headers
                .as_ref()
                .map_or("null", |text| text.get())
                .to_owned(),
            message.traceparent.clone().unwrap_or_default(),
            message.created_at.to_string(),
        ];
        let after = COLUMNS
            .iter()
            .map(|name| (*name).to_owned())
            .zip(columns.map(Value::from));
        Self::new(reason, &after.collect(), 0, now)
    }
}

/// The attempts in parts that the database takes. `record` writes one part and answers for it; it may be repeated.
///
/// A part that it refuses for a value is halved until the guilty one is alone. Of that one only what comes from Demae
/// itself is kept, and why: its outcome counts even if the answer cannot be written down.
pub(super) async fn record_apart<F>(
    attempts: &[AttemptRecord],
    record: impl Fn(Vec<AttemptRecord>) -> F,
) -> Result<Vec<bool>, StoreError>
where
    F: Future<Output = Result<Vec<bool>, StoreError>>,
{
    let mut moved = Vec::with_capacity(attempts.len());
    let mut parts = vec![attempts];
    while let Some(part) = parts.pop() {
        match record(part.to_vec()).await {
            Ok(answers) => moved.extend(answers),
            Err(error) if error.is_data_error() => {
                if let [guilty] = part {
                    let reason = error.reason();
                    tracing::error!(attempt = %guilty.id.0, reason, "an attempt is recorded without its answer");
                    moved.extend(record(vec![bare(guilty, &reason)]).await?);
                } else {
                    let (first, rest) = part.split_at(part.len() / 2);
                    parts.extend([rest, first]);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(moved)
}

/// The attempt without anything that came from outside.
fn bare(attempt: &AttemptRecord, reason: &str) -> AttemptRecord {
    let plain = |text: &str| text.chars().filter(char::is_ascii_graphic).collect::<String>();
    AttemptRecord {
        event_name: plain(&attempt.event_name),
        url: plain(&attempt.url),
        error_detail: Some(format!(
            "the answer could not be recorded: {}",
            short_reason(reason)
        )),
        request_headers: "{}".to_owned(),
        response_headers: "{}".to_owned(),
        response_body: String::new(),
        ..attempt.clone()
    }
}
