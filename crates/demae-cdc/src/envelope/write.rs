//! From an event to the wire.

use std::borrow::Cow;

use bytes::Bytes;
use demae_event::{Event, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use time::{OffsetDateTime, macros::format_description};

/// Debezium's type of a change event; readers look at it only to tell heartbeats.
const TYPE: &str = "io.debezium.connector.postgresql.DataChangeEvent";
/// Together with the id, CloudEvents' identity of the occurrence.
const SOURCE: &str = "/demae/outbox_events";
/// Debezium's sign of an insert.
const INSERTED: &str = "c";
/// Bytes around payload and headers.
const OVERHEAD: usize = 768;

#[derive(Serialize)]
struct Document<'a> {
    specversion: &'static str,
    id: String,
    source: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    time: Moment,
    datacontenttype: &'static str,
    iodebeziumop: &'static str,
    iodebeziumtable: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    payload: Change<'a>,
}

#[derive(Serialize)]
struct Change<'a> {
    before: (),
    after: Row<'a>,
    op: &'static str,
}

#[derive(Serialize)]
struct Row<'a> {
    id: String,
    organization_id: String,
    /// Left out for the default one, as readers of Debezium's form do not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    application_id: Option<String>,
    event_name: &'a str,
    event_type: &'a str,
    /// JSON in a string, as Debezium gives a jsonb column.
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    occurred_at: Moment,
}

/// The bytes of an event. Payload and headers keep their text.
#[expect(
    clippy::expect_used,
    reason = "texts, numbers and JSON can be written to memory"
)]
pub fn encode(event: &Event) -> Bytes {
    let document = Document {
        specversion: "1.0",
        id: event.id.to_string(),
        source: SOURCE,
        kind: TYPE,
        time: Moment(event.created_at),
        datacontenttype: "application/json",
        iodebeziumop: INSERTED,
        iodebeziumtable: "outbox_events",
        data: Data {
            payload: Change {
                before: (),
                after: row(event),
                op: INSERTED,
            },
        },
    };
    let headers = event.headers.as_ref().map_or(0, |headers| headers.get().len());
    let mut bytes = Vec::with_capacity(OVERHEAD + event.data.get().len() * 9 / 8 + headers);
    serde_json::to_writer(&mut bytes, &document).expect("an event can be written");
    bytes.into()
}

fn row(event: &Event) -> Row<'_> {
    let headers = event.headers.as_deref();
    Row {
        id: event.id.to_string(),
        organization_id: event.scope.organization.to_string(),
        application_id: event
            .scope
            .named_application()
            .map(|application| application.0.to_string()),
        event_name: &event.name,
        event_type: &event.event_type,
        data: event.data.get(),
        headers: match &event.traceparent {
            Some(traceparent) => with_trace(headers, traceparent).map(Cow::Owned),
            None => headers.map(Cow::Borrowed),
        },
        traceparent: event.traceparent.as_deref(),
        occurred_at: Moment(event.created_at),
    }
}

/// Kaiten's readers look for the trace among the headers (kaiten.md, section 6.6); it goes in front of the others, whose
/// text stays as it is, so that [`without_trace`] can take it out again.
fn with_trace(headers: Option<&RawValue>, traceparent: &str) -> Option<Box<RawValue>> {
    let front = front(traceparent);
    let others = headers
        .and_then(|headers| headers.get().strip_prefix('{'))
        .unwrap_or("}");
    let comma = if others.trim_start().starts_with('}') {
        ""
    } else {
        ","
    };
    // Headers that are no object cannot be joined; the trace is in a column of its own, too.
    RawValue::from_string(format!("{front}{comma}{others}")).ok()
}

/// The headers' text without the trace that [`with_trace`] put in front of it; `None` if it is not there.
pub(super) fn without_trace(headers: &str, traceparent: &str) -> Option<String> {
    let others = headers.strip_prefix(&front(traceparent))?;
    Some(format!("{{{}", others.strip_prefix(',').unwrap_or(others)))
}

fn front(traceparent: &str) -> String {
    format!("{{\"traceparent\":{}", serde_json::Value::from(traceparent))
}

/// A time as Debezium gives a `timestamptz`: RFC 3339 in UTC, to the microsecond. Beyond the years that RFC 3339 knows it is
/// microseconds since the Unix epoch.
struct Moment(Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let format =
            format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
        let micros = self.0.as_micros();
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
            .ok()
            .filter(|moment| moment.year() >= 0)
            .and_then(|moment| moment.format(&format).ok());
        match text {
            Some(text) => serializer.serialize_str(&text),
            None => serializer.serialize_i64(micros),
        }
    }
}
