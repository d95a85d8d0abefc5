//! Programs that cause events, through every disaster: over HTTP, and in transactions of their own in SQL.
//!
//! What a writer tells the books is what it can know. After an acknowledged commit the events exist; after a rollback, or a
//! connection that broke before `COMMIT` was sent, they cannot; a broken connection after that, or an HTTP request whose
//! answer never came and that is not repeated, leaves the question open.

use std::{ops::Range, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use http::{Method, StatusCode};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    books::{Books, Fate},
    schedule,
    stage::Stage,
    way::Way,
};
use crate::api::{Answer, Api};

const HTTP_WRITERS: usize = 4;
const SQL_WRITERS: usize = 3;
/// Milliseconds between two writes of one writer.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 5..=60;
/// More than so many undelivered events are a backlog long enough; writers wait.
const OUTSTANDING_AT_MOST: u64 = 3_000;
/// One HTTP write in so many is a customer, whose event is written in the same transaction.
const CUSTOMER_EVERY: usize = 4;
/// So many unanswered HTTP writes in a hundred are given up; the others are repeated under the same key.
const GIVES_UP_PERCENT: u32 = 40;
/// A transaction of so many events at most, except for one in fifty.
const USUAL_EVENTS: usize = 8;
const MANY_EVENTS: usize = 600;
/// Bytes of a payload's filling, except for one in fifty, which Postgres stores out of line.
const USUAL_BYTES: usize = 200;
const MANY_BYTES: usize = 60_000;
/// A server that is frozen or gone must not hold a writer for ever.
const SQL_LIMIT: Duration = Duration::from_mins(1);
/// The stream of draws, apart from those of the faults.
const STREAM: u64 = 1_000;

/// Running writers.
pub(super) struct Writers {
    stopping: CancellationToken,
    tasks: JoinSet<Result<()>>,
}

impl Writers {
    pub(super) fn start(seed: u64, books: &Books, stage: &Stage) -> Self {
        let stopping = CancellationToken::new();
        let mut random = schedule::random(seed, STREAM);
        let mut tasks = JoinSet::new();
        for _ in 0..HTTP_WRITERS {
            let writer = HttpWriter {
                api: stage.api(),
                pen: Pen::new(books, &mut random, &stopping),
            };
            tasks.spawn(writer.run());
        }
        for _ in 0..SQL_WRITERS {
            let writer = SqlWriter {
                url: stage.database().to_owned(),
                organization: stage.organization().to_owned(),
                pen: Pen::new(books, &mut random, &stopping),
            };
            tasks.spawn(writer.run());
        }
        Self { stopping, tasks }
    }

    /// Lets every writer finish what it has begun, which needs servers that answer.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.stopping.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// What both kinds of writer have.
struct Pen {
    books: Books,
    random: SmallRng,
    stopping: CancellationToken,
}

impl Pen {
    fn new(books: &Books, random: &mut SmallRng, stopping: &CancellationToken) -> Self {
        Self {
            books: books.clone(),
            random: SmallRng::from_rng(random),
            stopping: stopping.clone(),
        }
    }

    /// Between two writes; false at the end.
    async fn goes_on(&mut self) -> bool {
        loop {
            self.pause().await;
            if self.stopping.is_cancelled() {
                return false;
            }
            if self.books.outstanding() < OUTSTANDING_AT_MOST {
                return true;
            }
        }
    }

    async fn pause(&mut self) {
        sleep(Duration::from_millis(self.random.random_range(PAUSE_MS))).await;
    }

    fn data(&mut self, number: usize) -> Value {
        let most = if self.random.random_ratio(1, 50) {
            MANY_BYTES
        } else {
            USUAL_BYTES
        };
        // Nothing that compresses away: large payloads are to be stored out of line.
        let note: String = (0..self.random.random_range(0..most))
            .map(|_| self.random.random_range('!'..='ÿ'))
            .collect();
        json!({ "number": number, "note": note })
    }
}

struct HttpWriter {
    api: Api,
    pen: Pen,
}

impl HttpWriter {
    async fn run(mut self) -> Result<()> {
        let mut count = 0;
        while self.pen.goes_on().await {
            count += 1;
            let events = self.pen.books.begin(Way::Http, 1);
            let number = events.start;
            let write = if count % CUSTOMER_EVERY == 0 {
                let slug = format!("customer-{number}");
                ("/api/customers", json!({ "name": "Campaign", "slug": slug }))
            } else {
                let data = self.pen.data(number);
                let event = json!({
                    "id": format!("event-{number}"), "name": "PARCEL_SENT", "type": "com.example.parcel.v1.sent",
                    "data": data,
                });
                ("/api/events", event)
            };
            self.write(events, write).await;
        }
        Ok(())
    }

    /// Writes until there is an answer, or no more patience.
    async fn write(&mut self, events: Range<usize>, (path, body): (&str, Value)) {
        let key = format!("key-{}", events.start);
        // Without the key, a repetition of a customer would find its own slug taken.
        let key = (path == "/api/customers").then_some(key.as_str());
        loop {
            let answer = self.api.send(Method::POST, path, Some(&body), key).await;
            match self.judge(&answer) {
                Some(true) => return self.pen.books.decide(events, Fate::Committed),
                Some(false) => {
                    return self
                        .pen
                        .books
                        .note_fault(format!("{path} was answered {answer:?}"));
                }
                None => {}
            }
            if self.pen.random.random_ratio(GIVES_UP_PERCENT, 100) {
                return;
            }
            self.pen.pause().await;
        }
    }

    /// Whether it was done; `None`: try again. Trouble with the database is expected, a fault of ours (500) is not.
    fn judge(&self, answer: &Result<Answer>) -> Option<bool> {
        let refusal = match answer {
            Ok(answer) if answer.status.is_success() => return Some(true),
            Ok(answer) => match answer.status {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => answer.status.to_string(),
                _ => return Some(false),
            },
            Err(_) => "no answer".to_owned(),
        };
        self.pen.books.note_refusal(&refusal);
        None
    }
}

struct SqlWriter {
    url: String,
    organization: String,
    pen: Pen,
}

/// How a transaction of an [`SqlWriter`] ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Commit,
    /// A part is taken back to a savepoint, the rest committed.
    CommitPart,
    Rollback,
    /// The connection is closed in the middle.
    Vanish,
}

impl SqlWriter {
    async fn run(mut self) -> Result<()> {
        let mut connection = None;
        while self.pen.goes_on().await {
            let mut open = match connection.take() {
                Some(open) => open,
                None => {
                    if let Ok(Ok(open)) = timeout(SQL_LIMIT, PgConnection::connect(&self.url)).await {
                        open
                    } else {
                        self.pen.books.note_refusal("no connection");
                        continue;
                    }
                }
            };
            match timeout(SQL_LIMIT, self.transaction(&mut open)).await {
                Ok(Ok(true)) => connection = Some(open),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    ensure_outage(&error)?;
                    self.pen.books.note_refusal("broken connection");
                }
                Err(_) => self.pen.books.note_refusal("no answer from Postgres"),
            }
        }
        Ok(())
    }

    /// One transaction; false if its connection is to be thrown away.
    async fn transaction(&mut self, connection: &mut PgConnection) -> Result<bool> {
        let random = &mut self.pen.random;
        let most = if random.random_ratio(1, 50) {
            MANY_EVENTS
        } else {
            USUAL_EVENTS
        };
        let count = random.random_range(1..=most);
        let end = match random.random_range(0..20) {
            0..12 => End::Commit,
            12..15 => End::CommitPart,
            15..19 => End::Rollback,
            _ => End::Vanish,
        };
        let kept = self.pen.books.begin(Way::Sql, count);
        // The part that is taken back is a group of its own: it has a fate of its own.
        let dropped = match end {
            End::CommitPart => self.pen.books.begin(Way::Sql, count),
            _ => kept.end..kept.end,
        };
        // Until COMMIT is sent, nothing of it can have happened. What is given up in the middle stays undecided.
        let written = self.write(connection, kept.clone(), dropped.clone(), end).await;
        self.pen.books.decide(dropped, Fate::RolledBack);
        if written.is_err() || matches!(end, End::Rollback | End::Vanish) {
            self.pen.books.decide(kept, Fate::RolledBack);
            written?;
            return Ok(!matches!(end, End::Vanish));
        }
        sqlx::query("COMMIT").execute(connection).await?;
        self.pen.books.decide(kept, Fate::Committed);
        Ok(true)
    }

    async fn write(
        &mut self,
        connection: &mut PgConnection,
        kept: Range<usize>,
        dropped: Range<usize>,
        end: End,
    ) -> Result<()> {
        let middle = kept.start + kept.len() / 2;
        execute(connection, "BEGIN").await?;
        self.insert(connection, kept.start..middle).await?;
        if !dropped.is_empty() {
            execute(connection, "SAVEPOINT part").await?;
            self.insert(connection, dropped).await?;
            execute(connection, "ROLLBACK TO SAVEPOINT part").await?;
        }
        self.insert(connection, middle..kept.end).await?;
        if matches!(end, End::Rollback) {
            execute(connection, "ROLLBACK").await?;
        }
        Ok(())
    }

    async fn insert(&mut self, connection: &mut PgConnection, events: Range<usize>) -> Result<()> {
        for number in events {
            let data = self.pen.data(number).to_string();
            sqlx::query(
                "INSERT INTO outbox_events (organization_id, event_name, event_type, payload) \
                 VALUES ($1::uuid, 'PARCEL_SENT', 'com.example.parcel.v1.sent', $2::jsonb)",
            )
            .bind(&self.organization)
            .bind(data)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}

async fn execute(connection: &mut PgConnection, sql: &'static str) -> Result<()> {
    sqlx::query(sql).execute(connection).await.context(sql)?;
    Ok(())
}

/// Postgres was stopped, killed or starting: anything else it complains of is a fault of the campaign's.
fn ensure_outage(error: &anyhow::Error) -> Result<()> {
    // Operator intervention (57P01 to 57P05), connection exceptions (08…): Postgres, appendix A.
    match error.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Database(told)) => {
            let code = told.code().unwrap_or_default();
            if code.starts_with("57P") || code.starts_with("08") {
                Ok(())
            } else {
                Err(anyhow!("Postgres refused a writer: {error:#}"))
            }
        }
        _ => Ok(()),
    }
}
