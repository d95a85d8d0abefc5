//! From a row, or a message in the log, to an event. Pure.
//!
//! A [`Mapping`] names for each field of an event the columns that may hold it; the first that the table has is taken,
//! so one mapping survives a renaming, and one preset fits both published forms of a table. A [`Layout`] is a mapping
//! applied to a table as it looks at one point of the log.
//!
//! A row that cannot become an event gives a reason, never an error: the stream must not stop for it.

use demae_event::{Event, EventId, OrganizationId, Timestamp, subscription::MAX_NAME_LENGTH};
use serde_json::{Map, Value as Json, value::RawValue};
use uuid::Uuid;

use crate::pgoutput::{Relation, Value};

/// The largest payload of an event, in bytes. Larger ones are rejected, not delivered.
pub const MAX_PAYLOAD: usize = 16 * 1024 * 1024;
/// Bytes of a rejected row that are kept.
pub const MAX_REJECTED_BODY: usize = 64 * 1024;
/// Keys of a headers object that are trace context, not the producer's own (kaiten.md, section 6.6).
const TRACE_KEYS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// Known tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Demae's own outbox, and what `demae attach` makes.
    Demae,
    /// The seed's table, in both published forms (kaiten.md, section 6.1).
    Seed,
    /// The columns of Debezium's outbox event router.
    Debezium,
    /// Columns named like the attributes of CloudEvents.
    CloudEvents,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Demae, Self::Seed, Self::Debezium, Self::CloudEvents];

    /// As it is written in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demae => "demae",
            Self::Seed => "seed",
            Self::Debezium => "debezium",
            Self::CloudEvents => "cloudevents",
        }
    }

    /// Whether its rows say which organization they belong to.
    pub fn has_organization(self) -> bool {
        matches!(self, Self::Demae | Self::Seed)
    }
}

impl std::str::FromStr for Preset {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.name() == text)
            .ok_or(())
    }
}

/// Where an event's identity comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ids {
    /// The column holds a UUID; anything else is rejected.
    #[default]
    Uuid,
    /// A UUID is taken as it is; from other text one is derived, the same for the same organization, source and text.
    Derived,
}

/// Which column is what. Each list holds the names a column may have, best first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    /// The event's identity.
    pub id: Vec<String>,
    /// The tenant. Not looked at when [`Mapping::fixed_organization`] is set.
    pub organization: Vec<String>,
    /// The event's name.
    pub name: Vec<String>,
    /// The event's type.
    pub event_type: Vec<String>,
    /// The payload: a JSON object.
    pub payload: Vec<String>,
    /// The payload as text, which wins where it is not NULL. Need not exist.
    pub raw: Vec<String>,
    /// The headers as text, the same. Need not exist.
    pub raw_headers: Vec<String>,
    /// The producer's headers: a JSON object or NULL. Need not exist.
    pub headers: Vec<String>,
    /// The W3C trace context. Need not exist.
    pub traceparent: Vec<String>,
    /// When it happened. Need not exist: then it is the time of the commit.
    pub created_at: Vec<String>,
    /// Columns that become headers under their own names. Need not exist.
    pub header_columns: Vec<String>,
    /// The tenant of all rows.
    pub fixed_organization: Option<OrganizationId>,
    /// Where identities come from.
    pub ids: Ids,
}

impl From<Preset> for Mapping {
    fn from(preset: Preset) -> Self {
        let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        match preset {
            Preset::Demae | Preset::Seed => Self {
                id: columns(&["id"]),
                organization: columns(&["organization_id"]),
                name: columns(&["event_name"]),
                event_type: columns(&["event_type"]),
                payload: columns(&["payload", "data"]),
                raw: columns(if preset == Preset::Demae { &["raw"] } else { &[] }),
                raw_headers: columns(if preset == Preset::Demae {
                    &["raw_headers"]
                } else {
                    &[]
                }),
                headers: columns(&["headers"]),
                traceparent: columns(&["traceparent"]),
                created_at: columns(&["created_at", "occurred_at"]),
                ..Self::default()
            },
            Preset::Debezium => Self {
                id: columns(&["id"]),
                organization: columns(&["organization_id"]),
                name: columns(&["type"]),
                event_type: columns(&["type"]),
                payload: columns(&["payload"]),
                traceparent: columns(&["traceparent"]),
                created_at: columns(&["created_at", "timestamp"]),
                header_columns: columns(&["aggregatetype", "aggregateid"]),
                ..Self::default()
            },
            Preset::CloudEvents => Self {
                id: columns(&["id"]),
                organization: columns(&["organization_id"]),
                name: columns(&["type"]),
                event_type: columns(&["type"]),
                payload: columns(&["data"]),
                traceparent: columns(&["traceparent"]),
                created_at: columns(&["time"]),
                header_columns: columns(&["source", "subject"]),
                ids: Ids::Derived,
                ..Self::default()
            },
        }
    }
}

/// A required field for which the table has no column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no column for {field}: none of {}", .names.join(", "))]
pub struct MissingColumn {
    /// The field of an event.
    pub field: &'static str,
    /// The names that were looked for.
    pub names: Vec<String>,
}

/// A mapping applied to a table.
#[derive(Debug, Clone)]
pub struct Layout {
    columns: Vec<String>,
    source: String,
    id: usize,
    organization: Tenant,
    name: usize,
    event_type: usize,
    payload: usize,
    raw: Option<usize>,
    raw_headers: Option<usize>,
    headers: Option<usize>,
    traceparent: Option<usize>,
    created_at: Option<usize>,
    header_columns: Vec<usize>,
    ids: Ids,
}

#[derive(Debug, Clone, Copy)]
enum Tenant {
    Column(usize),
    Fixed(OrganizationId),
}

impl Layout {
    /// Finds the columns. `source` is the source's name, see [`Ids::Derived`].
    pub fn new(mapping: &Mapping, source: &str, columns: Vec<String>) -> Result<Self, MissingColumn> {
        let find = |names: &[String]| {
            names
                .iter()
                .find_map(|name| columns.iter().position(|column| column == name))
        };
        let need = |field, names: &[String]| {
            find(names).ok_or_else(|| MissingColumn {
                field,
                names: names.to_vec(),
            })
        };
        Ok(Self {
            source: source.to_owned(),
            id: need("id", &mapping.id)?,
            organization: match mapping.fixed_organization {
                Some(organization) => Tenant::Fixed(organization),
                None => Tenant::Column(need("organization", &mapping.organization)?),
            },
            name: need("name", &mapping.name)?,
            event_type: need("type", &mapping.event_type)?,
            payload: need("payload", &mapping.payload)?,
            raw: find(&mapping.raw),
            raw_headers: find(&mapping.raw_headers),
            headers: find(&mapping.headers),
            traceparent: find(&mapping.traceparent),
            created_at: find(&mapping.created_at),
            header_columns: mapping
                .header_columns
                .iter()
                .filter_map(|name| find(std::slice::from_ref(name)))
                .collect(),
            ids: mapping.ids,
            columns,
        })
    }

    /// For a table in the log.
    pub fn of_relation(mapping: &Mapping, source: &str, relation: Relation) -> Result<Self, MissingColumn> {
        Self::new(mapping, source, relation.columns)
    }

    /// The event of a row, or why it is none. `committed_at` is the time of a row that has none.
    pub fn event(&self, row: &[Value<'_>], committed_at: Timestamp) -> Result<Event, String> {
        let text = |at: usize| row.get(at).copied().and_then(Value::text);
        let need = |at: usize| text(at).ok_or_else(|| format!("{} is NULL", self.columns[at]));
        let organization_id = match self.organization {
            Tenant::Fixed(organization) => organization,
            Tenant::Column(at) => need(at)?
                .parse()
                .map_err(|_| format!("{} is no UUID", self.columns[at]))?,
        };
        let raw_headers = self.raw_headers.and_then(text);
        let (headers, trace) = split_trace(raw_headers.or_else(|| self.headers.and_then(text)))?;
        let (payload_column, payload_text) = match self.raw.and_then(|at| Some((at, text(at)?))) {
            Some(raw) => raw,
            None => (self.payload, need(self.payload)?),
        };
        let headers = self.with_columns(headers, row)?;
        Ok(Event {
            id: self.event_id(organization_id, need(self.id)?)?,
            organization_id,
            name: label(&self.columns[self.name], need(self.name)?)?,
            event_type: label(&self.columns[self.event_type], need(self.event_type)?)?,
            data: payload(&self.columns[payload_column], payload_text)?,
            headers,
            traceparent: self.traceparent.and_then(text).and_then(traceparent).or(trace),
            created_at: self
                .created_at
                .and_then(text)
                .and_then(moment)
                .unwrap_or(committed_at),
        })
    }

    /// The row as a JSON object of texts, cut at [`MAX_REJECTED_BODY`], for people.
    pub fn describe(&self, row: &[Value<'_>]) -> String {
        let mut left = MAX_REJECTED_BODY;
        let object: Map<String, Json> = self
            .columns
            .iter()
            .zip(row)
            .map(|(name, value)| {
                let json = value.text().map_or(Json::Null, |text| {
                    let kept = cut(text, left);
                    left -= kept.len();
                    kept.into()
                });
                (name.clone(), json)
            })
            .collect();
        cut(&Json::Object(object).to_string(), MAX_REJECTED_BODY).to_owned()
    }

    fn event_id(&self, organization: OrganizationId, text: &str) -> Result<EventId, String> {
        match (Uuid::try_parse(text), self.ids) {
            (Ok(id), _) => Ok(EventId(id)),
            (Err(_), Ids::Uuid) => Err(format!("{} is no UUID", self.columns[self.id])),
            (Err(_), Ids::Derived) if text.is_empty() => Err(format!("{} is empty", self.columns[self.id])),
            (Err(_), Ids::Derived) => Ok(EventId::from_client_key(
                organization,
                &format!("{}\n{text}", self.source),
            )),
        }
    }

    fn with_columns(
        &self,
        headers: Option<Box<RawValue>>,
        row: &[Value<'_>],
    ) -> Result<Option<Box<RawValue>>, String> {
        if self.header_columns.is_empty() {
            return Ok(headers);
        }
        let mut object: Map<String, Json> = match &headers {
            Some(headers) => serde_json::from_str(headers.get()).map_err(|error| error.to_string())?,
            None => Map::new(),
        };
        for at in &self.header_columns {
            if let Some(text) = row.get(*at).copied().and_then(Value::text) {
                object.insert(self.columns[*at].clone(), text.into());
            }
        }
        raw(&object)
    }
}

/// The event of a message written with `pg_logical_emit_message(true, 'demae', …)`: a JSON object with
/// `organization_id`, `event_name`, `event_type`, `payload` and, if wanted, `id`, `headers`, `traceparent`. Without an
/// `id` it is derived from `position`, which is the same whenever the log is read again.
pub fn message_event(content: &[u8], position: &str, committed_at: Timestamp) -> Result<Event, String> {
    #[derive(serde::Deserialize)]
    struct Written {
        id: Option<EventId>,
        organization_id: OrganizationId,
        event_name: String,
        event_type: String,
        payload: Box<RawValue>,
        headers: Option<Box<RawValue>>,
        traceparent: Option<String>,
    }
    let written: Written = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    let (headers, trace) = split_trace(written.headers.as_deref().map(RawValue::get))?;
    Ok(Event {
        id: written
            .id
            .unwrap_or_else(|| EventId::from_client_key(written.organization_id, position)),
        organization_id: written.organization_id,
        name: label("event_name", &written.event_name)?,
        event_type: label("event_type", &written.event_type)?,
        data: payload("payload", written.payload.get())?,
        headers,
        traceparent: written.traceparent.as_deref().and_then(traceparent).or(trace),
        created_at: committed_at,
    })
}

/// Takes the trace context out of a headers object (kaiten.md, section 6.6): what is left, and the traceparent.
pub fn split_trace(headers: Option<&str>) -> Result<(Option<Box<RawValue>>, Option<String>), String> {
    let Some(text) = headers.map(str::trim).filter(|text| *text != "null") else {
        return Ok((None, None));
    };
    if !text.starts_with('{') {
        return Err("the headers are no JSON object".to_owned());
    }
    if !TRACE_KEYS.iter().any(|key| text.contains(key)) {
        let headers =
            RawValue::from_string(text.to_owned()).map_err(|error| format!("the headers: {error}"))?;
        return Ok((Some(headers), None));
    }
    let mut object: Map<String, Json> =
        serde_json::from_str(text).map_err(|error| format!("the headers: {error}"))?;
    let [trace, _, _] = TRACE_KEYS.map(|key| object.remove(key));
    let trace = trace.as_ref().and_then(Json::as_str).and_then(traceparent);
    Ok((raw(&object)?, trace))
}

/// The beginning of a text, at most `limit` bytes, ending between characters.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

fn raw(object: &Map<String, Json>) -> Result<Option<Box<RawValue>>, String> {
    if object.is_empty() {
        return Ok(None);
    }
    serde_json::value::to_raw_value(object)
        .map(Some)
        .map_err(|error| error.to_string())
}

pub(crate) fn label(field: &str, text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err(format!("{field} is empty")),
        length if length > MAX_NAME_LENGTH => Err(format!("{field} is longer than {MAX_NAME_LENGTH} bytes")),
        _ => Ok(text.to_owned()),
    }
}

pub(crate) fn payload(field: &str, text: &str) -> Result<Box<RawValue>, String> {
    if text.len() > MAX_PAYLOAD {
        return Err(format!("{field} is larger than {MAX_PAYLOAD} bytes"));
    }
    let text = text.trim();
    if !text.starts_with('{') {
        return Err(format!("{field} is no JSON object"));
    }
    RawValue::from_string(text.to_owned()).map_err(|error| format!("{field} is no JSON: {error}"))
}

/// A trace context in the form of W3C's Recommendation, or nothing: bad trace data never fails an event.
pub(crate) fn traceparent(text: &str) -> Option<String> {
    let well_formed = (55..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    well_formed.then(|| text.to_owned())
}

/// A time in RFC 3339 or in Postgres's ISO style, whose offset may be hours only; without one it is UTC.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let (date, time) = text.split_once([' ', 'T'])?;
    let (clock, offset) = match time.find(['+', '-', 'Z']) {
        Some(at) => time.split_at(at),
        None => (time, "Z"),
    };
    let minutes = if offset.len() == 3 { ":00" } else { "" };
    format!("{date}T{clock}{offset}{minutes}").parse().ok()
}

#[cfg(test)]
mod tests;
