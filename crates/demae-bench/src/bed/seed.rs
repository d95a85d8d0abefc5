//! A backlog, written straight into the database.
//!
//! A million waiting deliveries through the product would take minutes and measure something else. The rows are those
//! the router writes: a message, and a delivery in state 0 (waiting) with no attempt made. Unrouted events are rows of
//! the outbox, as any application may write them. Ids are `UUIDv7`s in the order of their numbers, because random ones
//! would spread over the indexes as real ones do not.

use anyhow::{Context as _, Result};
use demae_event::{Clock as _, SystemClock, catalogue};
use sea_orm::{ConnectionTrait as _, DatabaseConnection};

use super::dialect::Dialect;
use crate::{bed::Endpoint, mark};

/// Rows in one transaction.
const CHUNK: u64 = 50_000;
/// Padding beside the mark in what is to be delivered, in bytes: 1 KB with the rest.
const PADDING: usize = 940;
/// Microseconds until deliveries are due that are to lie there only: thirty days.
const LATER: i64 = 30 * 24 * 3_600 * 1_000_000;

/// How far the seeded events are on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In the outbox.
    Unrouted,
    /// Routed, and due.
    Due,
    /// Routed, and due in a month. Their payloads are small.
    Idle,
}

/// What to write.
#[derive(Debug)]
pub(crate) struct Seed<'a> {
    /// For whom. Its first event name is the events' name.
    pub(crate) endpoint: &'a Endpoint,
    /// The number in the first mark. Numbers of one bed must differ.
    pub(crate) first: u64,
    /// How many.
    pub(crate) count: u64,
    /// How far they are.
    pub(crate) stage: Stage,
}

impl Seed<'_> {
    pub(super) async fn write(&self, connection: &DatabaseConnection) -> Result<()> {
        let dialect = Dialect::of(connection)?;
        let event = catalogue::find(&self.endpoint.name).context("not an event of the catalogue")?;
        let statements = Statements {
            seed: self,
            dialect,
            event,
            now: SystemClock.now().as_micros(),
        };
        let end = self.first + self.count;
        for from in (self.first..end).step_by(CHUNK as usize) {
            let chunk = statements.text(from, (from + CHUNK).min(end) - 1);
            connection
                .execute_unprepared(&format!("BEGIN; {chunk}; COMMIT"))
                .await?;
        }
        Ok(())
    }
}

struct Statements<'a> {
    seed: &'a Seed<'a>,
    dialect: Dialect,
    event: &'static catalogue::EventDefinition,
    now: i64,
}

impl Statements<'_> {
    fn text(&self, from: u64, to: u64) -> String {
        let numbers = (self.dialect.numbers)(from, to);
        let rows = format!(
            "FROM endpoints e, {numbers} WHERE e.url = '{}' ORDER BY s.n",
            self.seed.endpoint.url
        );
        match self.seed.stage {
            Stage::Unrouted => self.outbox(&rows),
            Stage::Due | Stage::Idle => [self.messages(&rows), self.deliveries(&rows)].join("; "),
        }
    }

    fn outbox(&self, rows: &str) -> String {
        format!(
            "INSERT INTO outbox_events (id, organization_id, event_name, event_type, payload) \
             SELECT {id}, e.organization_id, '{name}', '{kind}', {payload} {rows}",
            id = self.dialect.id(self.now),
            name = self.event.name,
            kind = self.event.event_type,
            payload = (self.dialect.json)(&self.payload()),
        )
    }

    fn messages(&self, rows: &str) -> String {
        format!(
            "INSERT INTO messages (event_id, organization_id, application_id, event_name, event_type, payload, created_at) \
             SELECT {id}, e.organization_id, e.application_id, '{name}', '{kind}', {payload}, {now} {rows}",
            id = self.dialect.id(self.now),
            name = self.event.name,
            kind = self.event.event_type,
            payload = self.payload(),
            now = self.now,
        )
    }

    fn deliveries(&self, rows: &str) -> String {
        let due = if self.seed.stage == Stage::Idle {
            self.now + LATER
        } else {
            self.now
        };
        format!(
            "INSERT INTO deliveries (endpoint_id, event_id, organization_id, state, attempts, step, due_at, manual, \
             delivered_name, created_at) \
             SELECT e.id, {id}, e.organization_id, 0, 0, 0, {due}, false, '{name}', {now} {rows}",
            id = self.dialect.id(self.now),
            name = self.event.name,
            now = self.now,
        )
    }

    /// An SQL expression for the payload's text.
    fn payload(&self) -> String {
        let (prefix, zeros) = mark::sql_parts();
        // A million payloads of 1 KB that only lie there would measure the disk.
        let padding = if self.seed.stage == Stage::Idle {
            0
        } else {
            PADDING
        };
        format!(
            r#"'{{"mark":"{prefix}' || {number} || '{zeros}","padding":"{padding}"}}'"#,
            number = (self.dialect.hex16)("s.n"),
            padding = "x".repeat(padding),
        )
    }
}
