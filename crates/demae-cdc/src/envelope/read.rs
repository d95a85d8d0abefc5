//! From the wire to an event.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use demae_event::{ApplicationId, Event, Scope, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Envelope, EnvelopeError, write::without_trace};
use crate::mapping;

/// The type of Kaiten's heartbeats (kaiten.md, section 6.2).
const HEARTBEAT: &str = "cloud.kaiten.cdc.heartbeat";

/// Debezium gives times as milliseconds or microseconds, depending on the column's type. From this number on they are
/// microseconds: as milliseconds it is in the year 5138, as microseconds in 1973.
const FIRST_MICROSECONDS: u64 = 100_000_000_000_000;

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<Cow<'a, str>>,
    iodebeziumop: Option<Cow<'a, str>>,
    /// All there is in Debezium's own heartbeat.
    #[serde(borrow)]
    ts_ms: Option<&'a RawValue>,
}

/// Debezium's change event, with or without the level `payload`.
#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    op: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ts_ms: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Row<'a> {
    id: Option<Cow<'a, str>>,
    organization_id: Option<Cow<'a, str>>,
    application_id: Option<Cow<'a, str>>,
    event_name: Option<Cow<'a, str>>,
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    headers: Option<&'a RawValue>,
    #[serde(borrow)]
    traceparent: Option<&'a RawValue>,
    #[serde(borrow)]
    occurred_at: Option<&'a RawValue>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
}

/// Reads what a broker or sidecar brought.
pub fn decode(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
    if bytes.is_empty() {
        // A tombstone, where a sink was told to write them.
        return Ok(Envelope::Ignored);
    }
    let document: Document<'_> =
        serde_json::from_slice(bytes).map_err(|error| shape("the document", &error))?;
    if document.kind.as_deref() == Some(HEARTBEAT) {
        return Ok(Envelope::Heartbeat);
    }
    let data = match (document.data, &document.data_base64) {
        (Some(data), _) => text_or_json("data", data)?,
        (None, Some(encoded)) => Cow::Owned(decoded(encoded)?),
        (None, None) if document.ts_ms.is_some() && document.kind.is_none() => {
            return Ok(Envelope::Heartbeat);
        }
        (None, None) => return Err(EnvelopeError::Missing("data")),
    };
    let operation = document.iodebeziumop.as_deref();
    change(&data, operation, document.time)
}

fn change(
    text: &str,
    operation: Option<&str>,
    sent_at: Option<&RawValue>,
) -> Result<Envelope, EnvelopeError> {
    let outer: Change<'_> = serde_json::from_str(text).map_err(|error| shape("data", &error))?;
    let change = match outer.payload {
        Some(payload) => {
            serde_json::from_str(payload.get()).map_err(|error| shape("data.payload", &error))?
        }
        None => outer,
    };
    // c: created, r: read in a snapshot. Rows are only ever inserted; retention deletes them, and means nothing by it.
    if matches!(change.op.as_deref().or(operation), Some("u" | "d" | "t")) {
        return Ok(Envelope::Ignored);
    }
    match change.after {
        Some(row) => event(row, sent_at).map(Envelope::Event),
        None if change.before.is_some() => Ok(Envelope::Ignored),
        None if change.ts_ms.is_some() && change.op.is_none() => Ok(Envelope::Heartbeat),
        None => Err(EnvelopeError::Missing("data.payload.after")),
    }
}

fn event(row: &RawValue, sent_at: Option<&RawValue>) -> Result<Event, EnvelopeError> {
    let row: Row<'_> =
        serde_json::from_str(row.get()).map_err(|error| shape("data.payload.after", &error))?;
    let (headers, traceparent) = headers(&row)?;
    let data = row
        .data
        .or(row.payload)
        .ok_or(EnvelopeError::Missing("after.data"))?;
    let data = text_or_json("after.data", data)?;
    Ok(Event {
        id: identity("after.id", row.id)?,
        scope: Scope::new(
            identity("after.organization_id", row.organization_id)?,
            match row.application_id {
                None => None,
                given => Some(ApplicationId(identity("after.application_id", given)?)),
            },
        ),
        name: label("after.event_name", row.event_name)?,
        event_type: label("after.event_type", row.event_type)?,
        data: mapping::payload("the payload", &data).map_err(|problem| EnvelopeError::Field {
            field: "after.data",
            problem,
        })?,
        headers,
        traceparent,
        created_at: moment(row.occurred_at.or(row.created_at).or(sent_at))?,
    })
}

/// The producer's own headers, and the trace, which has a column of its own or is among them.
fn headers(row: &Row<'_>) -> Result<(Option<Box<RawValue>>, Option<String>), EnvelopeError> {
    let column = row
        .traceparent
        .and_then(|text| serde_json::from_str::<String>(text.get()).ok())
        .and_then(|text| mapping::traceparent(&text));
    let text = row
        .headers
        .map(|headers| text_or_json("after.headers", headers))
        .transpose()?;
    let ours = text.as_deref().zip(column.as_deref());
    let own = ours.and_then(|(headers, traceparent)| without_trace(headers, traceparent));
    let (headers, trace) =
        mapping::split_trace(own.as_deref().or(text.as_deref())).map_err(|problem| EnvelopeError::Field {
            field: "after.headers",
            problem,
        })?;
    // Headers of which only the trace is left are none.
    let headers = headers.filter(|headers| own.is_none() || headers.get() != "{}");
    Ok((headers, column.or(trace)))
}

/// JSON as it is, or the JSON inside a string: a jsonb column arrives as text.
fn text_or_json<'a>(part: &'static str, value: &'a RawValue) -> Result<Cow<'a, str>, EnvelopeError> {
    if value.get().starts_with('"') {
        serde_json::from_str(value.get()).map_err(|error| shape(part, &error))
    } else {
        Ok(Cow::Borrowed(value.get()))
    }
}

fn decoded(base64: &str) -> Result<String, EnvelopeError> {
    STANDARD
        .decode(base64)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| EnvelopeError::Field {
            field: "data_base64",
            problem: "it is not text in base64".to_owned(),
        })
}

fn identity<T: std::str::FromStr>(
    field: &'static str,
    text: Option<Cow<'_, str>>,
) -> Result<T, EnvelopeError> {
    let text = text.ok_or(EnvelopeError::Missing(field))?;
    text.parse().map_err(|_| EnvelopeError::Field {
        field,
        problem: "it is no UUID".to_owned(),
    })
}

fn label(field: &'static str, text: Option<Cow<'_, str>>) -> Result<String, EnvelopeError> {
    let text = text.ok_or(EnvelopeError::Missing(field))?;
    mapping::label("the name", &text).map_err(|problem| EnvelopeError::Field { field, problem })
}

fn moment(value: Option<&RawValue>) -> Result<Timestamp, EnvelopeError> {
    let value = value.ok_or(EnvelopeError::Missing("after.occurred_at"))?;
    let read = if value.get().starts_with('"') {
        let text: Option<String> = serde_json::from_str(value.get()).ok();
        text.and_then(|text| mapping::moment(&text))
    } else {
        value.get().parse().ok().map(epoch)
    };
    read.ok_or_else(|| EnvelopeError::Field {
        field: "after.occurred_at",
        problem: "it is no time".to_owned(),
    })
}

fn epoch(number: i64) -> Timestamp {
    if number.unsigned_abs() >= FIRST_MICROSECONDS {
        Timestamp::from_micros(number)
    } else {
        Timestamp::from_micros(number * 1_000)
    }
}

fn shape(part: &'static str, error: &serde_json::Error) -> EnvelopeError {
    EnvelopeError::Shape {
        part,
        line: error.line(),
        column: error.column(),
    }
}
