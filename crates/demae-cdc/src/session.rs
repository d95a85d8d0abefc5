//! One connection to the slot: from checking the database to the changes of its log.
//!
//! The slot is the lock. While another process holds it, [`Session::open`] waits; the session that could start the stream
//! is the active one. The position from which the server sends is the slot's own, never one that was remembered here: a
//! database that was restored or failed over may have gone back behind it.

use std::{collections::HashMap, fmt, sync::Arc};

use bytes::Bytes;
use futures::FutureExt as _;
use pgwire_replication::Lsn;
use tokio::time::timeout;

use crate::{
    Fault, MissingSlot, SourceConfig, catalog,
    connection::{Connection, Purpose},
    ledger::{Ledger, Stretch},
    mapping::{Layout, Place},
    pgoutput::{self, Column, Emitted, Insert, Message, Xid},
    remains::Remains,
    row::{Change, Content},
    slot,
    stream::{Piece, Stream},
    table,
    visibility::Visibility,
};

/// The prefix of messages that are events.
const MESSAGE_PREFIX: &str = "demae";
/// Bytes that are offered at once; at least one change always is.
const MAX_BATCH: usize = 8 * 1024 * 1024;

/// A stream that has started.
pub(crate) struct Session {
    config: Arc<SourceConfig>,
    /// Its name, for each message.
    source: Arc<str>,
    stream: Stream,
    /// Of the table, as the catalogue has them.
    columns: Vec<Column>,
    layouts: HashMap<u32, Option<Arc<Layout>>>,
    /// The transaction that is being read.
    transaction: Option<Transaction>,
    remains: Option<(Remains, Option<Stretch>)>,
    /// Rows of the table that were offered and must be acknowledged before the mark is removed.
    unmark: Option<Stretch>,
    /// What ended the stream behind the changes that were taken.
    ended: Option<Fault>,
    visibility: Visibility,
}

/// What its changes are marked with.
#[derive(Debug, Clone, Copy)]
struct Transaction {
    stretch: Stretch,
    /// Of the next change.
    place: Place,
    /// None of a message that belongs to no transaction: there is nothing to wait for.
    xid: Option<Xid>,
}

impl Transaction {
    /// What its next change is marked with.
    fn next(&mut self) -> Self {
        let marked = *self;
        self.place.number += 1;
        marked
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("slot", &self.config.slot)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Checks the database, makes what is missing if that was asked for, waits until the slot is free, and starts.
    /// `renew`: the slot is there and of no use, see [`Fault::PublicationTooYoung`].
    pub(crate) async fn open(config: Arc<SourceConfig>, renew: bool) -> Result<Self, Fault> {
        let mut sql = catalog::connect(&config).await?;
        let table = table::inspect(&mut sql, &config).await?;
        let columns = table.plain_columns();
        slot::ensure_publication(&mut sql, &config, &table).await?;
        slot::wait_until_free(&mut sql, &config, renew).await?;
        let stream = Stream::start(config.clone()).await?;
        let remains = match config.missing_slot {
            MissingSlot::CreateAndReadTable if catalog::is_marked(&mut sql, &config).await? => {
                tracing::info!(
                    source = config.name,
                    "reading the rows that are in the outbox table"
                );
                Some((Remains::read(config.clone(), &columns)?, None))
            }
            _ => None,
        };
        Ok(Self {
            source: config.name.as_str().into(),
            stream,
            remains,
            columns,
            layouts: HashMap::new(),
            transaction: None,
            unmark: None,
            ended: None,
            visibility: Visibility::new(sql, config.clone()),
            config,
        })
    }

    /// Waits for changes and takes those that are there, at most `limit`. Cancel-safe: what was taken is in `taken`.
    pub(crate) async fn receive(
        &mut self,
        limit: usize,
        ledger: &mut Ledger,
        taken: &mut Vec<Change>,
    ) -> Result<(), Fault> {
        if let Some(fault) = self.ended.take() {
            return Err(fault);
        }
        let mut size = 0;
        while taken.len() < limit && size < MAX_BATCH {
            let wait = taken.is_empty();
            let step = match self.remains {
                Some(_) => self.step_remains(wait, ledger).await,
                None => self.step_log(wait, ledger).await,
            };
            match step {
                Ok(Step::Taken(change)) => {
                    size += change.size();
                    taken.push(change);
                }
                Ok(Step::Passed) => {}
                Ok(Step::Drained) => break,
                Err(fault) if wait => return Err(fault),
                Err(fault) => {
                    self.ended = Some(fault);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Returns when everybody can see these changes. Cancel-safe.
    pub(crate) async fn visible(&mut self, changes: impl Iterator<Item = &Change>) -> Result<(), Fault> {
        let mut transactions: Vec<Xid> = changes.filter_map(|change| change.xid).collect();
        transactions.dedup();
        self.visibility.reached(&transactions).await
    }

    /// Tells the server how far it need not keep its log.
    pub(crate) fn confirm(&mut self, ledger: &Ledger) {
        self.stream.confirm(ledger.confirmed());
        if self.unmark.is_some_and(|stretch| ledger.is_done(stretch)) {
            self.unmark = None;
            tokio::spawn(unmark(self.config.clone()));
        }
    }

    /// The next row of the table. All of them are one stretch, which holds back every position behind it.
    async fn step_remains(&mut self, wait: bool, ledger: &mut Ledger) -> Result<Step, Fault> {
        let Some((remains, stretch)) = &mut self.remains else {
            return Ok(Step::Passed);
        };
        let stretch = *stretch.get_or_insert_with(|| ledger.begin());
        let row = if wait {
            remains.next().await
        } else {
            match remains.next().now_or_never() {
                Some(row) => row,
                None => return Ok(Step::Drained),
            }
        };
        let Some(row) = row else {
            self.remains = None;
            self.unmark = Some(stretch);
            ledger.end(stretch, 0);
            self.confirm(ledger);
            return Ok(Step::Passed);
        };
        let tuple = row?;
        ledger.take(stretch);
        Ok(Step::Taken(Change {
            content: Content::Row {
                tuple,
                layout: remains.layout.clone(),
            },
            place: Place::default(),
            xid: None,
            stretch,
        }))
    }

    /// The next message of the log.
    async fn step_log(&mut self, wait: bool, ledger: &mut Ledger) -> Result<Step, Fault> {
        let received = if wait {
            timeout(self.config.silence, self.stream.next())
                .await
                .map_err(|_| Fault::Silent {
                    seconds: self.config.silence.as_secs(),
                })?
        } else {
            match self.stream.try_next() {
                Some(received) => received,
                None => return Ok(Step::Drained),
            }
        };
        match received? {
            Piece::Written(message) => self.read(&message, ledger),
            Piece::Sent(position) => {
                // Everything before it was sent, and read here, before it.
                if self.transaction.is_none() {
                    ledger.idle(position);
                    self.confirm(ledger);
                }
                Ok(Step::Passed)
            }
        }
    }

    fn read(&mut self, message: &Bytes, ledger: &mut Ledger) -> Result<Step, Fault> {
        match pgoutput::decode(message).map_err(|error| protocol(error.to_string()))? {
            Message::Begin { xid, committed_at } => {
                self.transaction = Some(Transaction {
                    stretch: ledger.begin(),
                    place: Place {
                        committed_at,
                        number: 0,
                    },
                    xid: Some(xid),
                });
            }
            Message::Commit { end } => {
                if let Some(Transaction { stretch, .. }) = self.transaction.take() {
                    ledger.end(stretch, end);
                    self.confirm(ledger);
                }
            }
            Message::Relation(relation) => {
                let id = relation.id;
                let layout = self.layout(relation)?;
                self.layouts.insert(id, layout);
            }
            Message::Insert(insert) => return self.row(insert, ledger),
            Message::Emitted(emitted) if self.config.messages && emitted.prefix == MESSAGE_PREFIX => {
                return Ok(Step::Taken(self.message(emitted, ledger)));
            }
            Message::Emitted(_) | Message::Other => {}
        }
        Ok(Step::Passed)
    }

    fn row(&mut self, insert: Insert, ledger: &mut Ledger) -> Result<Step, Fault> {
        let layout = self
            .layouts
            .get(&insert.relation)
            .ok_or_else(|| protocol("a row of a table that was not announced".to_owned()))?;
        let Some(layout) = layout else {
            return Ok(Step::Passed);
        };
        let transaction = self
            .transaction
            .as_mut()
            .ok_or_else(|| protocol("a row outside a transaction".to_owned()))?;
        let Transaction { stretch, place, xid } = transaction.next();
        ledger.take(stretch);
        Ok(Step::Taken(Change {
            content: Content::Row {
                layout: layout.clone(),
                tuple: insert.tuple,
            },
            place,
            xid,
            stretch,
        }))
    }

    /// The table as it looks from here on; `None` for another table in the same publication.
    fn layout(&self, mut relation: pgoutput::Relation) -> Result<Option<Arc<Layout>>, Fault> {
        if self.config.table_parts() != (&relation.schema, &relation.name) {
            return Ok(None);
        }
        // The log names a domain, the catalogue knew what is below it.
        for column in &mut relation.columns {
            let known = self.columns.iter().find(|known| known.name == column.name);
            if let Some(known) = known.filter(|_| column.type_id >= catalog::FIRST_OWN_TYPE) {
                column.type_id = known.type_id;
            }
        }
        let columns = relation.columns.clone();
        Layout::of_relation(&self.config.mapping, &self.config.name, relation)
            .map(|layout| Some(Arc::new(layout)))
            .map_err(|missing| table::column_missing(&self.config, &missing, &columns))
    }

    fn message(&mut self, emitted: Emitted, ledger: &mut Ledger) -> Change {
        let position = Lsn(emitted.position);
        let alone = self.transaction.is_none();
        let Transaction { stretch, place, xid } = match &mut self.transaction {
            Some(transaction) => transaction.next(),
            None => Transaction {
                stretch: ledger.begin(),
                place: Place::default(),
                xid: None,
            },
        };
        ledger.take(stretch);
        if alone {
            ledger.end(stretch, emitted.position);
        }
        Change {
            content: Content::Message {
                content: emitted.content,
                // After a failover another message may stand at the same place of the log.
                position: format!("{position}@{}", place.committed_at.as_micros()),
                transactional: emitted.transactional,
                source: self.source.clone(),
                organization: self.config.mapping.fixed_organization,
            },
            place,
            xid,
            stretch,
        }
    }
}

fn protocol(reason: String) -> Fault {
    Fault::Protocol { reason }
}

/// What a message came to.
enum Step {
    Taken(Change),
    Passed,
    /// Nothing is there at the moment.
    Drained,
}

/// Whether a reader could start: everything that [`Session::open`] checks before it waits for the slot.
pub(crate) async fn check(config: &SourceConfig) -> Result<(), Fault> {
    let mut sql = catalog::connect(config).await?;
    table::inspect(&mut sql, config).await?;
    let connection = Connection::open(&Arc::new(config.clone()), Purpose::Replication)
        .await
        .map_err(|trouble| trouble.fault(config))?;
    connection.close().await;
    Ok(())
}

async fn unmark(config: Arc<SourceConfig>) {
    let removed = async {
        let mut sql = catalog::connect(&config).await?;
        catalog::mark(&mut sql, &config, false).await
    };
    if let Err(fault) = removed.await {
        // The rows are read once more after the next start; their ids tell.
        tracing::warn!(source = config.name, %fault, "cannot note that the table's rows are read");
    }
}
