//! Databases that are followed through their write-ahead log, as sources of events.
//!
//! A row that cannot become an event is written to `rejected_events` before it is acknowledged, so it neither stops what
//! comes behind it nor vanishes.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use anyhow::Context as _;
use async_trait::async_trait;
use demae_cdc::{
    CdcError, Fault, Item, Mapping, MissingSlot, Position, Preset, Reader, Rejected, SourceConfig, Target,
    mapping::Ids,
};
use demae_delivery::engine::{EventSource, SourceError};
use demae_event::{Clock, Event, EventId, OrganizationId};
use demae_store::{Engine, Store};

use super::{organizations::not_held, rejections::Rejections};
use crate::config::Settings;

/// The name of Demae's own outbox among sources, in logs and metrics.
const OWN: &str = "outbox";
const OWN_TABLE: &str = "outbox_events";

/// Demae's own outbox, read from the log. Fails at once when somebody must repair something first: the polling source
/// can be chosen meanwhile.
pub(crate) async fn own_outbox(
    settings: &Settings,
    store: &Store,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Box<dyn EventSource>> {
    let config = own_config(settings)?;
    match Reader::check(&config).await {
        Err(error) if !error.is_transient() => {
            return Err(error).context(
                "outbox_source is \"wal\", but the database cannot be followed\nset outbox_source to \"poll\" to go on \
                 without it",
            );
        }
        // A database that is away is nothing to stop for.
        Ok(()) | Err(_) => {}
    }
    Ok(Box::new(WalSource {
        whose: Whose::Own(store.engine().clone()),
        ..WalSource::new(config, store, clock)
    }))
}

/// How Demae's own outbox is followed.
pub(crate) fn own_config(settings: &Settings) -> anyhow::Result<SourceConfig> {
    let mut target: Target = settings
        .database
        .url
        .expose()
        .parse()
        .context("database_url cannot be used for replication")?;
    if let Some(trusted) = &settings.authorities {
        target = target.trusting(trusted.file());
    }
    let capture = &settings.capture;
    let mapping = Mapping {
        ids: Ids::Verbatim,
        ..Preset::Demae.into()
    };
    Ok(SourceConfig {
        messages: capture.outbox_messages,
        slot: capture.outbox_slot.clone(),
        publication: capture.outbox_slot.clone(),
        // Rows stay in the table until they are routed, so a slot that is gone loses nothing.
        missing_slot: MissingSlot::CreateAndReadTable,
        retained_warning: capture.retained_warning,
        ..SourceConfig::new(OWN, target, OWN_TABLE, mapping)
    })
}

/// The databases of `[[source]]` entries. What is wrong with one of them is told in the log when it is read: it must not
/// keep the others, or Demae itself, from starting.
pub(crate) fn attached(
    settings: &Settings,
    store: &Store,
    clock: &Arc<dyn Clock>,
) -> Vec<Box<dyn EventSource>> {
    settings
        .capture
        .sources
        .iter()
        .map(|config| Box::new(WalSource::new(config.clone(), store, clock)) as Box<dyn EventSource>)
        .collect()
}

/// Whose table a source reads, and so what becomes of a row that is rejected.
enum Whose {
    /// Another database's: its rows are left alone, and the source waits when nobody looks at what is rejected.
    External,
    /// Demae's own outbox, which must not stop for a row. What is rejected is taken out, or it would lie there until the
    /// slot is made anew, and be rejected again.
    Own(Arc<dyn Engine>),
}

struct WalSource {
    reader: Reader,
    rejections: Rejections,
    /// `source:NAME`, as it stands in `rejected_events`.
    label: String,
    whose: Whose,
    /// What was offered and not acknowledged. A table without a unique key may hold an id twice: then both rows are done
    /// when the event is.
    offered: HashMap<EventId, Vec<Position>>,
}

impl WalSource {
    fn new(config: SourceConfig, store: &Store, clock: &Arc<dyn Clock>) -> Self {
        Self {
            label: format!("source:{}", config.name),
            whose: Whose::External,
            reader: Reader::start(config, clock.clone()),
            rejections: Rejections::new(store.clone(), clock.clone()),
            offered: HashMap::new(),
        }
    }

    /// Writes it down, and only then lets go of it.
    async fn reject(&mut self, row: &Rejected) -> Result<(), SourceError> {
        let body = row.body.as_bytes();
        match &self.whose {
            Whose::External => {
                let held = self.rejections.hold(&self.label, &row.reason, body).await;
                held.map_err(not_held)?;
            }
            Whose::Own(outbox) => {
                self.rejections.add(&self.label, &row.reason, body).await?;
                if let Some(id) = row.row_id {
                    outbox.take_out(&[EventId(id)]).await?;
                }
            }
        }
        self.reader.acknowledge([row.position]);
        Ok(())
    }
}

#[async_trait]
impl EventSource for WalSource {
    async fn next(&mut self, limit: u32) -> Result<Vec<Event>, SourceError> {
        loop {
            let items = self.reader.next(limit as usize).await.map_err(other)?;
            self.offered.clear();
            let mut events = Vec::with_capacity(items.len());
            for item in items {
                match item {
                    Item::Event { position, event } => match self.offered.entry(event.id) {
                        Entry::Vacant(entry) => {
                            entry.insert(vec![position]);
                            events.push(event);
                        }
                        Entry::Occupied(mut entry) => entry.get_mut().push(position),
                    },
                    Item::Rejected(row) => self.reject(&row).await?,
                }
            }
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// Of Demae's own outbox: its rows are in the table until they are routed, also those that the log has not come to. It
    /// offers them once more when it does; their ids tell.
    async fn next_of_others(&mut self, except: &HashSet<OrganizationId>) -> Result<Vec<Event>, SourceError> {
        match &self.whose {
            Whose::Own(outbox) => Ok(outbox.read_outbox_of_others(except).await?),
            Whose::External => Ok(Vec::new()),
        }
    }

    async fn acknowledge(&mut self, events: &[EventId]) -> Result<(), SourceError> {
        let positions = events.iter().filter_map(|id| self.offered.remove(id)).flatten();
        self.reader.acknowledge(positions.collect::<Vec<_>>());
        Ok(())
    }
}

fn other(error: CdcError) -> SourceError {
    if matches!(error.fault, Fault::SlotMissing { .. } | Fault::SlotLost { .. }) {
        tracing::error!(
            source = error.source_name,
            "events may be missing: see docs/reliability.md, \"Slot failures\""
        );
    }
    SourceError::other(error)
}
