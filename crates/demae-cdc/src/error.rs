//! What can be wrong with a source, and what to do about it.
//!
//! Every kind names its remedy, as the exact statement where there is one. [`CdcError::is_transient`] says whether the
//! reader tries again by itself without telling anybody.

use crate::{
    SourceConfig,
    quoting::{literal, quote},
};

/// Why a source has nothing to offer. Shows the fault and the remedy; never a password.
#[derive(Debug, thiserror::Error)]
#[error("source {source_name}: {fault}. {remedy}", remedy = .fault.remedy())]
pub struct CdcError {
    /// The source's name.
    pub source_name: String,
    /// What is wrong.
    #[source]
    pub fault: Fault,
}

impl CdcError {
    /// Whether it may pass without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        self.fault.is_transient()
    }
}

/// What is wrong with a source.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The connection could not be made, or ended.
    #[error("the connection to {target} failed: {reason}")]
    Connection {
        /// The database, without password.
        target: String,
        /// The client's or the server's words.
        reason: String,
    },
    /// The server said nothing for too long.
    #[error("the server said nothing for {seconds} s")]
    Silent {
        /// How long.
        seconds: u64,
    },
    /// User or password are wrong, or the server does not let this user in from here.
    #[error("the server does not let {user} in: {reason}")]
    Refused {
        /// Who wanted in.
        user: String,
        /// The server's words.
        reason: String,
    },
    /// The user may not replicate.
    #[error("{user} may not use replication")]
    NoReplicationRight {
        /// Who needs it.
        user: String,
    },
    /// The server writes too little into its log.
    #[error("wal_level is {found}, logical replication needs logical")]
    WalLevel {
        /// What it is.
        found: String,
    },
    /// The server is older than Postgres 14.
    #[error("the server is Postgres {found}, the write-ahead log can be followed from 14 on")]
    TooOld {
        /// Its version.
        found: String,
    },
    /// The outbox table is not there.
    #[error("there is no table {table}")]
    TableMissing {
        /// `schema.name`.
        table: String,
    },
    /// The table lacks a column that the mapping needs.
    #[error("the table {table} has no column {wanted}")]
    ColumnMissing {
        /// `schema.name`.
        table: String,
        /// The field and the names it may have.
        wanted: String,
    },
    /// The publication is not there, or holds another table.
    #[error("the publication {publication} does not hold the table {table}")]
    PublicationMissing {
        /// Its name.
        publication: String,
        /// The statement that makes it.
        statement: String,
        /// `schema.name`.
        table: String,
    },
    /// The publication was made after the slot: Postgres reads the log with the catalogue of that time.
    #[error("the publication {publication} is younger than a change that the slot {slot} still has to read")]
    PublicationTooYoung {
        /// Its name.
        publication: String,
        /// The slot.
        slot: String,
    },
    /// There is no such slot: never made, dropped, or left behind by a failover.
    #[error("there is no replication slot {slot}")]
    SlotMissing {
        /// Its name.
        slot: String,
    },
    /// The server has removed the log that the slot needs.
    #[error(
        "the replication slot {slot} is lost: the server removed log that it needs (max_slot_wal_keep_size)"
    )]
    SlotLost {
        /// Its name.
        slot: String,
    },
    /// The slot's name is taken.
    #[error("the replication slot {slot} belongs to {owner}")]
    SlotTaken {
        /// Its name.
        slot: String,
        /// Another database, plugin or kind.
        owner: String,
    },
    /// The server has as many slots as it may have.
    #[error("the server has no replication slot left")]
    NoFreeSlot,
    /// A statement that prepares the database was refused.
    #[error("the server refused `{statement}`: {reason}")]
    Denied {
        /// What was to be done.
        statement: String,
        /// The server's words.
        reason: String,
    },
    /// A statement waited for others for too long; nothing of it is left.
    #[error("`{statement}` waited {seconds} s for {blockers}, and nothing of it is left")]
    Blocked {
        /// What was to be done.
        statement: String,
        /// How long.
        seconds: u64,
        /// For whom.
        blockers: String,
    },
    /// Another session is making the slot.
    #[error("the replication slot {slot} is still being made by pid {pid}{waiting}")]
    SlotUnfinished {
        /// Its name.
        slot: String,
        /// The session.
        pid: i32,
        /// Whom that waits for.
        waiting: String,
    },
    /// Table or publication are such that rows would not arrive.
    #[error("{what}")]
    Unfit {
        /// What is in the way.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// One change is larger than what is taken into memory.
    #[error("a change of {bytes} bytes is larger than the {limit} that are taken into memory")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The server sent something that is not understood.
    #[error("the server's stream is not understood: {reason}")]
    Protocol {
        /// What was expected.
        reason: String,
    },
}

impl Fault {
    /// What to do about it: a sentence, with the exact statement where there is one.
    pub fn remedy(&self) -> String {
        match self {
            Self::Connection { .. } | Self::Silent { .. } => "Demae tries again by itself".to_owned(),
            Self::Refused { .. } => "Check the URL's user and password, and the server's pg_hba.conf".to_owned(),
            Self::NoReplicationRight { user } => format!(
                "Run as a superuser: ALTER ROLE {} WITH REPLICATION; (Amazon RDS: GRANT rds_replication TO {};)",
                quote(user),
                quote(user)
            ),
            Self::WalLevel { .. } => {
                "Run as a superuser: ALTER SYSTEM SET wal_level = 'logical'; and restart the server (Amazon RDS: \
                 rds.logical_replication = 1). Demae's own outbox can be read without it: outbox_source = \"poll\""
                    .to_owned()
            }
            Self::TooOld { .. } => {
                "Upgrade the server. Demae's own outbox can be read without it: outbox_source = \"poll\"".to_owned()
            }
            Self::TableMissing { .. } => {
                "Correct `table` in the [[source]] entry, or let `demae attach` make one".to_owned()
            }
            Self::ColumnMissing { .. } => {
                "Name the column in the [[source]] entry's `columns`, or choose another preset".to_owned()
            }
            Self::PublicationMissing { statement, .. } => {
                format!("Run as the table's owner: {statement};")
            }
            Self::PublicationTooYoung { slot, .. } => format!(
                "Drop the slot and make it anew: SELECT pg_drop_replication_slot({slot}); {}; what was committed between \
                 the slot's confirmed_flush_lsn and now is not read",
                create_slot(slot),
                slot = literal(slot)
            ),
            Self::SlotMissing { slot } => format!(
                "Make it: {}; what was committed since the old slot's last position and before the new slot is not \
                 read: compare the table with the history",
                create_slot(slot)
            ),
            Self::SlotLost { slot } => format!(
                "Make it anew: SELECT pg_drop_replication_slot({}); {}; what was committed since its last position and \
                 before the new slot is not read: compare the table with the history. Raise max_slot_wal_keep_size or \
                 watch demae_source_retained_bytes",
                literal(slot),
                create_slot(slot)
            ),
            Self::SlotTaken { .. } => "Choose another name: `slot` in the [[source]] entry, outbox_slot for Demae's own \
                                       outbox"
                .to_owned(),
            Self::NoFreeSlot => "Raise max_replication_slots and restart the server, or drop slots that nobody uses: \
                                 SELECT slot_name, active FROM pg_replication_slots"
                .to_owned(),
            Self::Denied { statement, .. } => format!("Mend what the server says, or let somebody with the right run it: {statement};"),
            Self::Blocked { .. } => {
                "End those transactions (SELECT pg_terminate_backend(PID); ROLLBACK PREPARED 'NAME';) or wait for them, \
                 and try again"
                    .to_owned()
            }
            Self::SlotUnfinished { pid, .. } => format!(
                "Wait until it is there, or end it, and the slot goes with it: SELECT pg_terminate_backend({pid}); then \
                 try again"
            ),
            Self::Unfit { remedy, .. } => remedy.clone(),
            Self::TooLarge { .. } => {
                "Make the row smaller; to go past it, stop Demae and run pg_replication_slot_advance with a position \
                 behind it: everything before that position is skipped"
                    .to_owned()
            }
            Self::Protocol { .. } => "This is a fault of Demae or of a proxy in between: please report it".to_owned(),
        }
    }

    /// Whether it may pass without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Connection { .. } | Self::Silent { .. } | Self::Blocked { .. }
        )
    }

    /// The error of `config`'s source.
    pub(crate) fn of(self, config: &SourceConfig) -> CdcError {
        CdcError {
            source_name: config.name.clone(),
            fault: self,
        }
    }
}

/// The statement that makes a slot.
pub(crate) fn create_slot(slot: &str) -> String {
    format!(
        "SELECT pg_create_logical_replication_slot({}, 'pgoutput')",
        literal(slot)
    )
}

/// A failed connection.
pub(crate) fn connection(config: &SourceConfig, reason: impl Into<String>) -> Fault {
    Fault::Connection {
        target: config.target.label(),
        reason: reason.into(),
    }
}

/// What an SQLSTATE means for a source. `statement` is what was to be done, if it was to change something.
pub(crate) fn refusal(
    config: &SourceConfig,
    code: &str,
    reason: &str,
    statement: Option<&str>,
) -> Option<Fault> {
    let user = || config.target.user().to_owned();
    let reason = || reason.to_owned();
    Some(match (code, statement) {
        ("28000" | "28P01" | "3D000", _) => Fault::Refused {
            user: user(),
            reason: reason(),
        },
        ("42501", Some(statement)) if !statement.contains("replication_slot") => Fault::Denied {
            statement: statement.to_owned(),
            reason: reason(),
        },
        ("42501", _) => Fault::NoReplicationRight { user: user() },
        // What is there already, or is no longer, another process made or dropped: the next look finds it.
        (code, Some(statement))
            if (code.starts_with("42") || code.starts_with("0A"))
                && !["42710", "42P07", "42704"].contains(&code) =>
        {
            Fault::Denied {
                statement: statement.to_owned(),
                reason: reason(),
            }
        }
        ("53400", _) => Fault::NoFreeSlot,
        _ => return None,
    })
}

/// A failed statement. `statement` is what was to be done, if it was to change something.
pub(crate) fn fault(config: &SourceConfig, error: &sqlx::Error, statement: Option<&str>) -> Fault {
    error
        .as_database_error()
        .and_then(|error| refusal(config, &error.code()?, error.message(), statement))
        .unwrap_or_else(|| connection(config, error.to_string()))
}
