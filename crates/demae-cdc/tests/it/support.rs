//! A database with an outbox, a reader of it, and ways to look at both.

use std::{sync::Arc, time::Duration};

use demae_cdc::{Item, Mapping, MissingSlot, Preset, Reader, SourceConfig, mapping::Ids};
use demae_event::{Event, SystemClock};
use demae_testkit::postgres::{Durability, PrivatePostgres, TestDatabase};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

/// The longest that anything here may take on a busy machine; a test that waits so long has failed.
const LIMIT: Duration = Duration::from_mins(2);

pub(crate) const ORGANIZATION: &str = "018f0000-0000-7000-8000-00000000000a";

pub(crate) const OUTBOX: &str = "CREATE TABLE outbox_events (position bigserial PRIMARY KEY, \
    id uuid NOT NULL DEFAULT gen_random_uuid(), organization_id uuid NOT NULL, event_name text NOT NULL, \
    event_type text NOT NULL, payload jsonb NOT NULL, headers jsonb, traceparent text, \
    created_at timestamptz NOT NULL DEFAULT now())";

/// A connection for the test's own statements.
pub(crate) struct Database {
    pub(crate) url: String,
    sql: PgConnection,
    /// Dropped with the value.
    _database: Option<TestDatabase>,
}

impl Database {
    /// A fresh database of the shared server, with an outbox.
    pub(crate) async fn create() -> Self {
        let database = TestDatabase::create().await.unwrap();
        let opened = Self::open(&database.url()).await;
        let mut created = Self {
            _database: Some(database),
            ..opened
        };
        created.run(OUTBOX).await;
        created
    }

    /// A fresh database with an outbox on a server of the test's own.
    pub(crate) async fn on_own_server(durability: Durability) -> (PrivatePostgres, Self) {
        let postgres = PrivatePostgres::start(durability).await.unwrap();
        let mut database = Self::open(&postgres.create_database().await.unwrap()).await;
        database.run(OUTBOX).await;
        (postgres, database)
    }

    /// A user of the server who may do this (`REPLICATION`, or nothing); returns the name and the URL to this database.
    /// Named as the slot is.
    pub(crate) async fn create_role(&mut self, rights: &str) -> (String, String) {
        let role = self.slot();
        self.run(format!("CREATE ROLE {role} LOGIN {rights} PASSWORD 'x'"))
            .await;
        let (_, address) = self.url.rsplit_once('@').unwrap();
        let url = format!("postgres://{role}:x@{address}");
        (role, url)
    }

    /// Roles belong to the whole server, and so outlive the database.
    pub(crate) async fn drop_role(&mut self, role: &str) {
        self.run(format!(
            "REASSIGN OWNED BY {role} TO demae; DROP OWNED BY {role}; DROP ROLE {role}"
        ))
        .await;
    }

    /// A database that exists.
    pub(crate) async fn open(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            sql: PgConnection::connect(url).await.unwrap(),
            _database: None,
        }
    }

    /// Another connection to the same database.
    pub(crate) async fn again(&self) -> Self {
        Self::open(&self.url).await
    }

    /// Runs statements.
    pub(crate) async fn run(&mut self, statements: impl Into<String>) {
        self.try_run(statements).await.unwrap();
    }

    pub(crate) async fn try_run(&mut self, statements: impl Into<String>) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(statements.into()))
            .execute(&mut self.sql)
            .await?;
        Ok(())
    }

    /// One text from the first row.
    pub(crate) async fn text(&mut self, query: impl Into<String>) -> Option<String> {
        let row = sqlx::query(AssertSqlSafe(query.into()))
            .fetch_optional(&mut self.sql)
            .await
            .unwrap()?;
        row.get(0)
    }

    /// Asks until the answer is wanted: each question is a round trip to the server, which is doing the work meanwhile.
    pub(crate) async fn until(&mut self, query: &str, wanted: &str) {
        let asked = async {
            while self.text(query).await.as_deref() != Some(wanted) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, asked)
            .await
            .unwrap_or_else(|_| panic!("{query} never was {wanted}"));
    }

    /// Writes an event with this number in its payload.
    pub(crate) async fn emit(&mut self, number: u32) {
        self.run(insert(number)).await;
    }

    /// Writes a file into the server's folder, as the server's user.
    pub(crate) async fn write_file(&mut self, name: &str, text: &str) {
        self.run(format!(
            "COPY (SELECT unnest(string_to_array('{text}', E'\\n'))) TO PROGRAM 'umask 077; cat > {name}'"
        ))
        .await;
    }

    /// A name for a slot that no other test uses: slots belong to the whole server.
    pub(crate) fn slot(&self) -> String {
        format!("demae_{}", self.url.rsplit('/').next().unwrap())
    }

    /// The settings of Demae's own outbox, made for tests: short pauses, own names.
    pub(crate) fn config(&self, missing_slot: MissingSlot) -> SourceConfig {
        self.config_at(&self.url, missing_slot)
    }

    /// The same through another address.
    pub(crate) fn config_at(&self, url: &str, missing_slot: MissingSlot) -> SourceConfig {
        let mapping = Mapping {
            ids: Ids::Verbatim,
            ..Preset::Demae.into()
        };
        SourceConfig {
            slot: self.slot(),
            missing_slot,
            reconnect: Duration::from_millis(100),
            standby: Duration::from_millis(20),
            measure: Duration::from_millis(100),
            ..SourceConfig::new("test", url.parse().unwrap(), "outbox_events", mapping)
        }
    }
}

pub(crate) fn insert(number: u32) -> String {
    format!(
        "INSERT INTO outbox_events (organization_id, event_name, event_type, payload) \
         VALUES ('{ORGANIZATION}', 'A', 'a', '{{\"n\": {number}}}');"
    )
}

pub(crate) fn reader(config: SourceConfig) -> Reader {
    Reader::start(config, Arc::new(SystemClock))
}

/// What the reader offers next.
pub(crate) async fn next(reader: &mut Reader) -> Vec<Item> {
    next_of(reader, 512).await
}

async fn next_of(reader: &mut Reader, limit: usize) -> Vec<Item> {
    tokio::time::timeout(LIMIT, reader.next(limit))
        .await
        .expect("nothing came")
        .unwrap()
}

/// The fault that the reader reports next.
pub(crate) async fn fault(reader: &mut Reader) -> demae_cdc::CdcError {
    tokio::time::timeout(LIMIT, reader.next(512))
        .await
        .expect("no fault came")
        .expect_err("there is no fault")
}

/// Takes and acknowledges this many events.
pub(crate) async fn take(reader: &mut Reader, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let items = next_of(reader, (count - events.len()).min(512)).await;
        reader.acknowledge(items.iter().map(Item::position));
        events.extend(items.into_iter().map(|item| match item {
            Item::Event { event, .. } => event,
            Item::Rejected(rejected) => panic!("{rejected:?}"),
        }));
    }
    events
}

/// The numbers of [`Database::emit`].
pub(crate) fn numbers(events: &[Event]) -> Vec<u64> {
    events
        .iter()
        .map(|event| {
            let payload: serde_json::Value = serde_json::from_str(event.data.get()).unwrap();
            payload["n"].as_u64().unwrap()
        })
        .collect()
}

/// Polls the reader until it is told otherwise, so that it connects, stands by and confirms.
pub(crate) async fn while_reading<T>(reader: &mut Reader, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        items = reader.next(512) => panic!("nobody expected {items:?}"),
    }
}

/// Whether a stream reads the slot. While it is being made a slot is active, too.
pub(crate) fn active(slot: &str) -> String {
    format!(
        "SELECT (active AND active_pid IN (SELECT pid FROM pg_stat_replication))::text FROM pg_replication_slots \
         WHERE slot_name = '{slot}'"
    )
}
