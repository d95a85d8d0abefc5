//! From a row, or a message in the log, to an event. Pure.
//!
//! A [`Mapping`] names for each field of an event the columns that may hold it; the first that the table has is taken,
//! so one mapping survives a renaming, and one preset fits both published forms of a table. A [`Layout`] is a mapping
//! applied to a table as it looks at one point of the log.
//!
//! A row that cannot become an event gives a reason, never an error: the stream must not stop for it.
//!
//! A source speaks only for those that its settings name. Where [`Mapping::fixed_organization`] is set, a row or message
//! of another organization is refused. A row may name an application; whether it is one of the row's organization is checked
//! before its event is routed. Events that only the engine emits are refused. The identity of an event is derived from
//! organization, application, source and the row's ID ([`EventId::of_source`]): messages keep one primary key, and a row
//! cannot take the place of another organization's event. [`Ids::Verbatim`] lifts the last two rules for Demae's own outbox.

use demae_event::{
    ApplicationId, Event, EventId, OrganizationId, Scope, Timestamp, catalogue, subscription::MAX_NAME_LENGTH,
};
use serde_json::{Map, Value as Json, value::RawValue};
use uuid::Uuid;

use crate::pgoutput::{Column, Relation, Value};

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
    /// The column holds any text. A number is unique only until its sequence starts again (`TRUNCATE … RESTART
    /// IDENTITY`), so the place of the row in the log goes into the identity, too.
    Derived,
    /// The column holds the event's UUID itself, and the rows may hold the engine's own events: Demae's own outbox.
    Verbatim,
}

/// When a row or message was committed, and where among those of its transaction it stands. Both are the same whenever
/// the log is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The time of the commit, by the server's clock.
    pub committed_at: Timestamp,
    /// The number of the change within its transaction.
    pub number: u64,
}

/// Which column is what. Each list holds the names a column may have, best first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    /// The event's identity.
    pub id: Vec<String>,
    /// The tenant. Need not exist when [`Mapping::fixed_organization`] is set; a row that names another one is refused.
    pub organization: Vec<String>,
    /// The application of the tenant. Need not exist; NULL is the tenant's default application.
    pub application: Vec<String>,
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

impl Mapping {
    /// The names of each field that a row may have.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &[String]> {
        let lists = [
            &self.id,
            &self.organization,
            &self.application,
            &self.name,
            &self.event_type,
            &self.payload,
            &self.raw,
            &self.raw_headers,
            &self.headers,
            &self.traceparent,
            &self.created_at,
        ];
        let headers = self.header_columns.iter().map(std::slice::from_ref);
        lists.into_iter().map(Vec::as_slice).chain(headers)
    }
}

impl From<Preset> for Mapping {
    fn from(preset: Preset) -> Self {
        let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        match preset {
            Preset::Demae | Preset::Seed => Self {
                id: columns(&["id"]),
                organization: columns(&["organization_id"]),
                application: columns(&["application_id"]),
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
                application: columns(&["application_id"]),
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
                application: columns(&["application_id"]),
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
    fixed_organization: Option<OrganizationId>,
    organization: Option<usize>,
    application: Option<usize>,
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
    /// The column of the id is a number.
    numbered: bool,
}

impl Layout {
    /// Finds the columns. `source` is the source's name, see [`EventId::of_source`].
    pub fn new(mapping: &Mapping, source: &str, columns: Vec<Column>) -> Result<Self, MissingColumn> {
        let numbered = |at: usize| columns.get(at).is_some_and(Column::is_number);
        let find = |names: &[String]| {
            names
                .iter()
                .find_map(|name| columns.iter().position(|column| column.name == *name))
        };
        let need = |field, names: &[String]| {
            find(names).ok_or_else(|| MissingColumn {
                field,
                names: names.to_vec(),
            })
        };
        let id = need("id", &mapping.id)?;
        Ok(Self {
            source: source.to_owned(),
            id,
            numbered: numbered(id),
            fixed_organization: mapping.fixed_organization,
            organization: match mapping.fixed_organization {
                Some(_) => find(&mapping.organization),
                None => Some(need("organization", &mapping.organization)?),
            },
            application: find(&mapping.application),
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
            columns: columns.into_iter().map(|column| column.name).collect(),
        })
    }

    /// For a table in the log.
    pub fn of_relation(mapping: &Mapping, source: &str, relation: Relation) -> Result<Self, MissingColumn> {
        Self::new(mapping, source, relation.columns)
    }

    /// The event of a row, or why it is none. A row without a time has that of its commit.
    pub fn event(&self, row: &[Value<'_>], place: Place) -> Result<Event, String> {
        let text = |at: usize| row.get(at).copied().and_then(Value::text);
        let need = |at: usize| self.need(row, at);
        let scope = self.scope_of(row)?;
        let raw_headers = self.raw_headers.and_then(text);
        let (headers, trace) = split_trace(raw_headers.or_else(|| self.headers.and_then(text)))?;
        let (payload_column, payload_text) = match self.raw.and_then(|at| Some((at, text(at)?))) {
            Some(raw) => raw,
            None => (self.payload, need(self.payload)?),
        };
        let headers = self.with_columns(headers, row)?;
        let event = Event {
            id: self.event_id(scope, need(self.id)?, place)?,
            scope,
            name: label(&self.columns[self.name], need(self.name)?)?,
            event_type: label(&self.columns[self.event_type], need(self.event_type)?)?,
            data: payload(&self.columns[payload_column], payload_text)?,
            headers,
            traceparent: self.traceparent.and_then(text).and_then(traceparent).or(trace),
            created_at: self
                .created_at
                .and_then(text)
                .and_then(moment)
                .unwrap_or(place.committed_at),
        };
        match self.ids {
            Ids::Verbatim => Ok(event),
            Ids::Uuid | Ids::Derived => unreserved(event),
        }
    }

    /// What stands in the column for the id, if it is a UUID; also of a row that cannot become an event.
    pub fn row_id(&self, row: &[Value<'_>]) -> Option<Uuid> {
        row.get(self.id).copied().and_then(Value::text)?.parse().ok()
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

    fn need<'a>(&self, row: &[Value<'a>], at: usize) -> Result<&'a str, String> {
        match row.get(at) {
            Some(Value::Text(bytes)) => {
                std::str::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", self.columns[at]))
            }
            _ => Err(format!("{} is NULL", self.columns[at])),
        }
    }

    fn organization_of(&self, row: &[Value<'_>]) -> Result<OrganizationId, String> {
        let is_null = |at: &usize| matches!(row.get(*at), None | Some(Value::Null));
        match (self.fixed_organization, self.organization) {
            (Some(fixed), Some(at)) if !is_null(&at) => {
                allowed(&self.columns[at], self.need(row, at)?, fixed)
            }
            (Some(fixed), _) => Ok(fixed),
            (None, Some(at)) => self
                .need(row, at)?
                .parse()
                .map_err(|_| format!("{} is no UUID", self.columns[at])),
            // `new` has let no such layout pass.
            (None, None) => Err("the organization has no column".to_owned()),
        }
    }

    /// The application is looked up before the event is routed, so that it only has to be well formed here.
    fn scope_of(&self, row: &[Value<'_>]) -> Result<Scope, String> {
        let organization = self.organization_of(row)?;
        let named = self
            .application
            .filter(|at| !matches!(row.get(*at), None | Some(Value::Null)));
        let application = match named {
            None => None,
            Some(at) => Some(application(&self.columns[at], self.need(row, at)?)?),
        };
        Ok(Scope::new(organization, application))
    }

    fn event_id(&self, scope: Scope, text: &str, place: Place) -> Result<EventId, String> {
        let column = &self.columns[self.id];
        let uuid = || Uuid::try_parse(text).map_err(|_| format!("{column} is no UUID"));
        Ok(match self.ids {
            Ids::Verbatim => EventId(uuid()?),
            // One spelling, whatever the column's type.
            Ids::Uuid => EventId::of_source(scope, &self.source, &uuid()?.to_string()),
            Ids::Derived if text.is_empty() => return Err(format!("{column} is empty")),
            Ids::Derived if self.numbered => {
                let at = place.committed_at.as_micros();
                EventId::of_source(scope, &self.source, &format!("{text}\n{at}\n{}", place.number))
            }
            Ids::Derived => EventId::of_source(scope, &self.source, text),
        })
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

/// Whose messages become events, see [`message_event`].
#[derive(Debug, Clone, Copy)]
pub struct Speaker<'a> {
    /// The source's name.
    pub source: &'a str,
    /// The only organization that it may speak for.
    pub organization: Option<OrganizationId>,
}

/// The event of a message written with `pg_logical_emit_message(true, 'demae', …)`: a JSON object with `event_name`,
/// `event_type`, `payload`, `organization_id` (not needed where the source has its own) and, if wanted, `application_id`,
/// `id`, `headers`, `traceparent`. Without an `id` its place in the log, `position`, takes the id's part.
pub fn message_event(
    content: &[u8],
    position: &str,
    committed_at: Timestamp,
    speaker: Speaker<'_>,
) -> Result<Event, String> {
    #[derive(serde::Deserialize)]
    struct Written {
        id: Option<Uuid>,
        organization_id: Option<String>,
        application_id: Option<String>,
        event_name: String,
        event_type: String,
        payload: Box<RawValue>,
        headers: Option<Box<RawValue>>,
        traceparent: Option<String>,
    }
    let written: Written = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    let (headers, trace) = split_trace(written.headers.as_deref().map(RawValue::get))?;
    let organization_id = match (speaker.organization, written.organization_id.as_deref()) {
        (Some(fixed), Some(named)) => allowed("organization_id", named, fixed)?,
        (Some(fixed), None) => fixed,
        (None, Some(named)) => named
            .parse()
            .map_err(|_| "organization_id is no UUID".to_owned())?,
        (None, None) => return Err("organization_id is missing".to_owned()),
    };
    let named = written.application_id.as_deref();
    let application = named
        .map(|named| application("application_id", named))
        .transpose()?;
    let scope = Scope::new(organization_id, application);
    let id = written.id.map(|id| id.to_string());
    unreserved(Event {
        id: EventId::of_source(scope, speaker.source, id.as_deref().unwrap_or(position)),
        scope,
        name: label("event_name", &written.event_name)?,
        event_type: label("event_type", &written.event_type)?,
        data: payload("payload", written.payload.get())?,
        headers,
        traceparent: written.traceparent.as_deref().and_then(traceparent).or(trace),
        created_at: committed_at,
    })
}

/// The organization that a source may speak for, unless `named` is another one.
fn allowed(field: &str, named: &str, fixed: OrganizationId) -> Result<OrganizationId, String> {
    if named.parse() == Ok(fixed) {
        return Ok(fixed);
    }
    Err(format!(
        "{field} is {:?}, but this source may only speak for the organization {fixed}",
        cut(named, MAX_NAME_LENGTH)
    ))
}

fn application(field: &str, text: &str) -> Result<ApplicationId, String> {
    // The identity as the database holds it: a prefixed one has no place in a row.
    let id = Uuid::try_parse(text).map_err(|_| format!("{field} is no UUID"))?;
    Ok(ApplicationId(id))
}

/// The event, unless only the engine may emit it.
fn unreserved(event: Event) -> Result<Event, String> {
    let reserved_text = [&event.name, &event.event_type]
        .into_iter()
        .find(|text| catalogue::is_reserved(text));
    match reserved_text {
        None => Ok(event),
        Some(text) => Err(reserved(text)),
    }
}

/// Why an event that only the engine may emit is refused.
pub fn reserved(name_or_type: &str) -> String {
    format!("{name_or_type} is reserved for what Demae itself emits")
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
