//! What a reader is told.

use std::time::Duration;

use crate::{Mapping, Target};

/// The name that the publication and the slot have unless somebody says otherwise.
pub const DEFAULT_NAME: &str = "demae_outbox";

/// What to do when the slot is missing, or lost because the server could not keep its log any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingSlot {
    /// Fail with [`CdcError::SlotMissing`](crate::CdcError) or [`CdcError::SlotLost`](crate::CdcError) until somebody
    /// has made it. What was committed meanwhile may be missing, and only people can judge that.
    #[default]
    Refuse,
    /// Make it and read what is committed from now on.
    Create,
    /// Make it, and read what is in the table first. Loses nothing where rows stay in the table until they are routed:
    /// for Demae's own outbox. Needs to own the publication.
    CreateAndReadTable,
}

/// One source: a table in a Postgres database, and how to follow it.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Names the source in logs and metrics, and goes into the ids of events whose rows have no UUID.
    pub name: String,
    /// The database.
    pub target: Target,
    /// The outbox table: `name` or `schema.name`; without a schema it is `public`.
    pub table: String,
    /// Which column is what.
    pub mapping: Mapping,
    /// Whether messages with the prefix `demae` (`pg_logical_emit_message`) are events. Every role that may connect to the
    /// database can write them, so they are not asked for unless somebody says so.
    pub messages: bool,
    /// The publication that holds the table's inserts.
    pub publication: String,
    /// The replication slot. Slots of all databases of a server share one name space.
    pub slot: String,
    /// What to do without a slot.
    pub missing_slot: MissingSlot,
    /// How long the server may be silent before the connection is given up. The server is asked to give signs of life
    /// in half of it, and gives up a reader that is silent for so long: a standby takes over then.
    pub silence: Duration,
    /// The pause before the next attempt where somebody must do something first, and the longest one otherwise.
    pub reconnect: Duration,
    /// How often a standby looks whether the slot is free.
    pub standby: Duration,
    /// How often the slot is measured.
    pub measure: Duration,
    /// Bytes of log that the slot may retain before every measurement warns.
    pub retained_warning: u64,
}

impl SourceConfig {
    /// The same source, whose database's certificate may also come from the authorities in this PEM file.
    #[must_use]
    pub fn trusting(self, authorities: &std::path::Path) -> Self {
        Self {
            target: self.target.trusting(authorities),
            ..self
        }
    }

    /// The usual settings for `table` at `target`.
    pub fn new(name: impl Into<String>, target: Target, table: impl Into<String>, mapping: Mapping) -> Self {
        Self {
            name: name.into(),
            target,
            table: table.into(),
            mapping,
            messages: false,
            publication: DEFAULT_NAME.to_owned(),
            slot: DEFAULT_NAME.to_owned(),
            missing_slot: MissingSlot::default(),
            silence: Duration::from_secs(30),
            reconnect: Duration::from_secs(30),
            standby: Duration::from_secs(1),
            measure: Duration::from_secs(15),
            retained_warning: 1 << 30,
        }
    }

    /// Schema and name of the table.
    pub fn table_parts(&self) -> (&str, &str) {
        self.table.split_once('.').unwrap_or(("public", &self.table))
    }
}
