//! The bystander: a tenant with ordinary traffic, whose requests must be answered by success while others do harm.
//!
//! It writes one event at a time and waits for the answer, over HTTP (events of its own, and customers whose event is written
//! with them) and in SQL. What is refused it repeats, and counts: the campaign judges how often that may be. Beside it an
//! orchestrator asks whether the program lives and is ready, on connections of its own.

use std::{ops::RangeInclusive, time::Duration};

use anyhow::{Context as _, Result};
use http::{Method, StatusCode};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        books::{Books, Fate},
        schedule,
        sql::Connection,
        way::Way,
    },
    stage::Stage,
};
use crate::api::Api;

const HTTP_WRITERS: usize = 4;
const SQL_WRITERS: usize = 2;
/// Milliseconds between two writes of one writer.
const PAUSE_MS: RangeInclusive<u64> = 20..=100;
/// One HTTP write in so many is a customer.
const CUSTOMER_EVERY: usize = 4;
/// Letters of a payload's filling.
const FILLING: RangeInclusive<usize> = 0..=200;
/// Between two questions of the orchestrator.
const PROBE_PAUSE: Duration = Duration::from_millis(500);
/// So many failures in a row, of a probe or of a write that is repeated, are a fault at once (as for Kubernetes by default):
/// the program has seconds for its database, which a machine that others use may exceed once.
const FAILURES_IN_A_ROW: u32 = 3;
/// For a statement, on a busy machine.
const SQL_LIMIT: Duration = Duration::from_secs(45);
/// The stream of draws.
const STREAM: u64 = 2_000;

/// The bystander's running programs.
pub(super) struct Bystander {
    stopping: CancellationToken,
    tasks: JoinSet<Result<()>>,
}

impl Bystander {
    pub(super) fn start(seed: u64, books: &Books, stage: &Stage) -> Self {
        let stopping = CancellationToken::new();
        let mut random = schedule::random(seed, STREAM);
        let mut tasks = JoinSet::new();
        let mut pen = || Pen {
            books: books.clone(),
            random: SmallRng::from_rng(&mut random),
            stopping: stopping.clone(),
            wrote_last: false,
        };
        for _ in 0..HTTP_WRITERS {
            tasks.spawn(write_over_http(stage.bystanders_api(), pen()));
        }
        for _ in 0..SQL_WRITERS {
            let organization = stage.bystander.organization.clone();
            tasks.spawn(write_in_sql(stage.url.clone(), organization, pen()));
        }
        for path in ["/healthz", "/readyz"] {
            let base = stage.base_url();
            tasks.spawn(probe(base, path, pen()));
        }
        Self { stopping, tasks }
    }

    /// Lets every writer finish what it has begun, and write once more: behind everything that others wrote.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.stopping.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

struct Pen {
    books: Books,
    random: SmallRng,
    stopping: CancellationToken,
    wrote_last: bool,
}

impl Pen {
    /// Before each write; false after the last one, which is begun when the others have stopped.
    async fn goes_on(&mut self) -> bool {
        if self.wrote_last {
            return false;
        }
        self.pause().await;
        self.wrote_last = self.stopping.is_cancelled();
        true
    }

    async fn pause(&mut self) {
        sleep(Duration::from_millis(self.random.random_range(PAUSE_MS))).await;
    }

    fn data(&mut self, number: usize) -> Value {
        let filling = self.random.random_range(FILLING);
        json!({ "number": number, "note": "n".repeat(filling) })
    }
}

async fn write_over_http(api: Api, mut pen: Pen) -> Result<()> {
    let mut count = 0;
    while pen.goes_on().await {
        count += 1;
        let events = pen.books.begin(Way::Http, 1);
        let number = events.start;
        let key = format!("bystander-{number}");
        let (path, body) = if count % CUSTOMER_EVERY == 0 {
            let slug = format!("customer-{number}");
            ("/api/customers", json!({ "name": "Bystander", "slug": slug }))
        } else {
            let data = pen.data(number);
            let event = json!({
                "id": key, "name": "PARCEL_SENT", "type": "com.example.parcel.v1.sent", "data": data,
            });
            ("/api/events", event)
        };
        // Without the key, a repetition of a customer would find its own slug taken.
        let key = (path == "/api/customers").then_some(key.as_str());
        match write(&api, &mut pen, path, &body, key).await {
            Ok(()) => pen.books.decide(events, Fate::Committed),
            Err(last) => pen
                .books
                .note_fault(format!("the bystander's {path} came to {last}")),
        }
    }
    Ok(())
}

/// Writes until there is an answer, or too many refusals in a row.
async fn write(api: &Api, pen: &mut Pen, path: &str, body: &Value, key: Option<&str>) -> Result<(), String> {
    let mut failures = 0;
    loop {
        let answer = api.send(Method::POST, path, Some(body), key).await;
        if answer.as_ref().is_ok_and(|answer| answer.status.is_success()) {
            return Ok(());
        }
        failures += 1;
        pen.books.note_refusal(path);
        let is_temporary = answer.as_ref().is_ok_and(|answer| {
            matches!(
                answer.status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            )
        });
        if !is_temporary || failures == FAILURES_IN_A_ROW {
            return Err(format!("{answer:?}"));
        }
        pen.pause().await;
    }
}

async fn write_in_sql(url: String, organization: String, mut pen: Pen) -> Result<()> {
    let mut connection = Connection::open(&url).await.context("the bystander's database")?;
    while pen.goes_on().await {
        let events = pen.books.begin(Way::Sql, 1);
        let payload = pen.data(events.start).to_string();
        match timeout(SQL_LIMIT, connection.write_event(&organization, &payload)).await {
            Ok(Ok(())) => pen.books.decide(events, Fate::Committed),
            other => pen
                .books
                .note_fault(format!("the bystander's row came to {other:?}")),
        }
    }
    connection.close().await?;
    Ok(())
}

/// Asks as an orchestrator does, which would restart the program or take it out of service.
async fn probe(base: String, path: &'static str, pen: Pen) -> Result<()> {
    let mut failures = 0;
    while pen
        .stopping
        .run_until_cancelled(sleep(PROBE_PAUSE))
        .await
        .is_some()
    {
        // On a connection of its own each time.
        let answer = Api::new(&base, "").send(Method::GET, path, None, None).await;
        if answer.as_ref().is_ok_and(|answer| answer.status.is_success()) {
            failures = 0;
            continue;
        }
        failures += 1;
        pen.books.note_refusal(path);
        if failures == FAILURES_IN_A_ROW {
            pen.books
                .note_fault(format!("{path} failed {failures} times, at last with {answer:?}"));
        }
    }
    Ok(())
}
