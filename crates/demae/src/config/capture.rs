//! `[[source]]` entries and how Demae's own outbox is read.
//!
//! An entry becomes the reader's own settings, so that what is accepted here is what is used. A URL may be the name of a
//! variable (`"$SHOP_DATABASE_URL"`): files are copied and committed, passwords must not be.

use std::collections::BTreeSet;

use demae_cdc::{DEFAULT_NAME, Mapping, MissingSlot, Preset, SourceConfig, Target, mapping::Ids};
use figment::value::{Dict, Value};

use super::{
    Authorities,
    reader::{Problem, Reader, items, scalar},
};

/// What an entry may hold.
const KEYS: [&str; 12] = [
    "name",
    "url",
    "preset",
    "table",
    "organization",
    "columns",
    "header_columns",
    "derive_ids",
    "messages",
    "publication",
    "slot",
    "missing_slot",
];
/// What `columns` may hold.
const FIELDS: [&str; 9] = [
    "id",
    "organization",
    "application",
    "name",
    "type",
    "payload",
    "headers",
    "traceparent",
    "created_at",
];
/// The longest name of a slot or publication (Postgres, NAMEDATALEN).
const MAX_NAME: usize = 63;
const DEFAULT_TABLE: &str = "outbox_events";

/// How Demae's own outbox is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OutboxReading {
    /// By asking the table.
    #[default]
    Poll,
    /// From the write-ahead log (Postgres only).
    Wal,
}

/// Where events come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct CaptureSettings {
    /// How the own outbox is read.
    pub(crate) outbox: OutboxReading,
    /// The slot of the own outbox.
    pub(crate) outbox_slot: String,
    /// Whether messages in the log of the own database are events.
    pub(crate) outbox_messages: bool,
    /// Bytes of log that a slot may retain before the log warns.
    pub(crate) retained_warning: u64,
    /// Other people's databases.
    pub(crate) sources: Vec<SourceConfig>,
}

/// Reads all settings of this kind. `variable` looks up the environment.
pub(super) fn read(
    reader: &mut Reader,
    variable: &dyn Fn(&str) -> Option<String>,
    trusted: Option<&Authorities>,
) -> CaptureSettings {
    let retained_warning = reader.one("slot_retained_warning", super::parse::number(1, i64::MAX as u64));
    let entries = reader.tables("source");
    let mut sources: Vec<SourceConfig> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match Entry(entry).source(variable, retained_warning) {
            Ok(source) => sources.push(match trusted {
                Some(trusted) => source.trusting(trusted.file()),
                None => source,
            }),
            Err((problem, remedy)) => {
                let name = entry.get("name").and_then(scalar).unwrap_or_default();
                reader.fault(
                    "source",
                    format!("entry {} {name:?}: {problem}", index + 1),
                    remedy,
                );
            }
        }
    }
    for (kind, values) in [
        (
            "name",
            sources
                .iter()
                .map(|source| source.name.clone())
                .collect::<Vec<_>>(),
        ),
        (
            "slot in one database",
            sources
                .iter()
                .map(|source| format!("{} {}", source.target, source.slot))
                .collect(),
        ),
    ] {
        let different: BTreeSet<&String> = values.iter().collect();
        reader.require(
            "source",
            &[],
            different.len() == values.len(),
            format!("two entries have the same {kind}"),
            "give each its own",
        );
    }
    CaptureSettings {
        outbox: reader.one("outbox_source", outbox_reading),
        outbox_slot: reader.one("outbox_slot", slot_name),
        outbox_messages: reader.one("outbox_messages", super::parse::boolean),
        retained_warning,
        sources,
    }
}

/// A table of the settings file.
struct Entry<'a>(&'a Dict);

impl Entry<'_> {
    fn source(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
        retained_warning: u64,
    ) -> Result<SourceConfig, Problem> {
        known("source", self.0, &KEYS)?;
        let name = source_name(&self.need("name")?)?;
        let target = target(&self.need("url")?, variable)?;
        let table = self
            .optional("table")?
            .unwrap_or_else(|| DEFAULT_TABLE.to_owned());
        let mapping = self.mapping()?;
        let or_default = |name: Option<String>| name.unwrap_or_else(|| DEFAULT_NAME.to_owned());
        Ok(SourceConfig {
            messages: self.flag("messages")?.unwrap_or(false),
            publication: publication_name(&or_default(self.optional("publication")?))?,
            slot: slot_name(&or_default(self.optional("slot")?))?,
            missing_slot: match self.optional("missing_slot")?.as_deref() {
                None | Some("refuse") => MissingSlot::Refuse,
                Some("create") => MissingSlot::Create,
                Some(other) => return Err(choice("missing_slot", other, &["refuse", "create"])),
            },
            retained_warning,
            ..SourceConfig::new(name, target, table, mapping)
        })
    }

    fn mapping(&self) -> Result<Mapping, Problem> {
        let preset = match self.optional("preset")? {
            None => Preset::Demae,
            Some(name) => name
                .parse()
                .map_err(|()| choice("preset", &name, &Preset::ALL.map(Preset::name)))?,
        };
        let mut mapping = Mapping::from(preset);
        if let Some(organization) = self.optional("organization")? {
            mapping.fixed_organization = Some(organization.parse().map_err(|_| {
                (
                    "organization is no UUID".to_owned(),
                    "copy the id from `demae org list`".to_owned(),
                )
            })?);
        }
        if let Some(columns) = self.0.get("columns") {
            let Value::Dict(_, columns) = columns else {
                return Err((
                    "columns is no table".to_owned(),
                    "write { id = \"…\", … }".to_owned(),
                ));
            };
            known("columns", columns, &FIELDS)?;
            for (field, names) in columns {
                *column(&mut mapping, field) = list(field, names)?;
            }
        }
        if let Some(names) = self.0.get("header_columns") {
            mapping.header_columns = list("header_columns", names)?;
        }
        if let Some(derive) = self.flag("derive_ids")? {
            mapping.ids = if derive { Ids::Derived } else { Ids::Uuid };
        }
        Ok(mapping)
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, Problem> {
        match self.optional(key)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(choice(key, other, &["true", "false"])),
        }
    }

    fn need(&self, key: &str) -> Result<String, Problem> {
        self.optional(key)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| (format!("it has no {key}"), format!("write {key} = \"…\"")))
    }

    fn optional(&self, key: &str) -> Result<Option<String>, Problem> {
        self.0
            .get(key)
            .map(|value| {
                scalar(value)
                    .ok_or_else(|| (format!("{key} is no single value"), "write one text".to_owned()))
            })
            .transpose()
    }
}

fn column<'a>(mapping: &'a mut Mapping, field: &str) -> &'a mut Vec<String> {
    match field {
        "id" => &mut mapping.id,
        "organization" => &mut mapping.organization,
        "application" => &mut mapping.application,
        "name" => &mut mapping.name,
        "type" => &mut mapping.event_type,
        "payload" => &mut mapping.payload,
        "headers" => &mut mapping.headers,
        "traceparent" => &mut mapping.traceparent,
        // `known` has let nothing else pass.
        _ => &mut mapping.created_at,
    }
}

fn list(field: &str, value: &Value) -> Result<Vec<String>, Problem> {
    items(value).ok_or_else(|| {
        (
            format!("{field} is neither a column's name nor a list of them"),
            "write \"name\" or [\"name\", \"other\"]".to_owned(),
        )
    })
}

fn known(what: &str, table: &Dict, keys: &[&str]) -> Result<(), Problem> {
    match table.keys().find(|key| !keys.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err((
            format!("{what} has no member {key}"),
            format!("the members are {}", keys.join(", ")),
        )),
    }
}

fn choice(key: &str, found: &str, allowed: &[&str]) -> Problem {
    (
        format!("{key} cannot be {found:?}"),
        format!("write {}", allowed.join(" or ")),
    )
}

/// The URL, or the variable that holds it. Neither is repeated in a fault.
fn target(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Target, Problem> {
    let url = match text.strip_prefix('$') {
        None => text.to_owned(),
        Some(name) => variable(name).ok_or_else(|| {
            (
                format!("the variable {name}, which is to hold its url, is not set"),
                format!("set {name} to postgres://user:password@host/database"),
            )
        })?,
    };
    url.parse().map_err(|error: demae_cdc::TargetError| {
        (
            format!("the url cannot be used: {error}"),
            "write postgres://user:password@host:5432/database, or \"$NAME\" of a variable that holds it"
                .to_owned(),
        )
    })
}

/// A name for logs and metrics.
fn source_name(text: &str) -> Result<String, Problem> {
    let fits = text.len() <= MAX_NAME
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    fits.then(|| text.to_owned()).ok_or_else(|| {
        (
            format!("{text:?} is no name for a source"),
            format!("use letters, digits, - and _, at most {MAX_NAME}"),
        )
    })
}

/// What Postgres allows for slots.
pub(crate) fn slot_name(text: &str) -> Result<String, Problem> {
    let fits = (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    fits.then(|| text.to_owned()).ok_or_else(|| {
        (
            format!("{text:?} is no name for a replication slot"),
            format!("use lower-case letters, digits and _, at most {MAX_NAME}"),
        )
    })
}

/// A publication's name as the replication command can carry it.
fn publication_name(text: &str) -> Result<String, Problem> {
    let fits = (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    fits.then(|| text.to_owned()).ok_or_else(|| {
        (
            format!("{text:?} cannot be used as a publication's name"),
            format!("use letters, digits and _, at most {MAX_NAME}"),
        )
    })
}

fn outbox_reading(text: &str) -> Result<OutboxReading, Problem> {
    match text {
        "poll" => Ok(OutboxReading::Poll),
        "wal" => Ok(OutboxReading::Wal),
        other => Err(choice("outbox_source", other, &["poll", "wal"])),
    }
}

#[cfg(test)]
mod tests;
