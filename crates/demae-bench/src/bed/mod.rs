//! What one measurement runs on: a fresh database, a `demae` on it, and a receiver, each a process of its own.
//!
//! Nothing is shared between measurements, so that none finds the leftovers (files, vacuum work, caches) of another.

mod children;
mod client;
mod customers;
mod database;
mod dialect;
mod nodes;
mod seed;
mod tenant;

use std::{collections::HashSet, time::Duration};

use anyhow::{Context as _, Result, bail};
use demae_testkit::process::{DemaeCommand, DemaeProcess};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

pub(crate) use self::{
    children::{Endpoint, ReceiverProcess, drive},
    database::{StoreKind, postgres_version, sqlite_version, sync_micros},
    nodes::Nodes,
    seed::{Seed, Stage},
    tenant::Tenant,
};
use self::{client::Client, database::Database};
use crate::{
    clock,
    driver::{CONNECTIONS, Call, EVENT_BYTES, Outcome, Pace, Plan},
    progress::Progress,
    receiver::Report,
    usage::{self, Memory},
};

/// The token that the measured server is given for its first organization. It guards nothing but that.
const TOKEN: &str = "ksh_benchbenchbenchbenchbenchbenchbenchbench";
/// One that all processes of a measurement share.
const SECRET_KEY: &str = "one that all processes of a measurement share";
/// How often readiness is asked when a start is timed.
const READY_POLL: Duration = Duration::from_millis(1);
/// How long a timed start may take.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How often the receiver is asked whether all has arrived.
const POLL: Duration = Duration::from_millis(100);
/// How long nothing may arrive before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(45);

/// Database, server and receiver.
#[derive(Debug)]
pub(crate) struct Bed {
    database: Database,
    command: DemaeCommand,
    server: Option<DemaeProcess>,
    receiver: ReceiverProcess,
    client: Client,
}

/// Processor time so far, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cpu {
    /// `demae`, which on SQLite is the database too.
    pub(crate) server: f64,
    /// All of Postgres; `None` on SQLite.
    pub(crate) database: Option<f64>,
    /// Known once the driver has ended.
    pub(crate) driver: f64,
    /// The receiver.
    pub(crate) receiver: f64,
}

impl Cpu {
    /// What was used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            server: self.server - earlier.server,
            database: self.database.zip(earlier.database).map(|(now, then)| now - then),
            driver: self.driver - earlier.driver,
            receiver: self.receiver - earlier.receiver,
        }
    }

    /// The same with what a driver used, which is known once it has ended.
    pub(crate) fn with_driver(self, driver: f64) -> Self {
        Self { driver, ..self }
    }
}

/// What is known once everything has arrived, or nothing more does.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    /// The receiver's account.
    pub(crate) report: Report,
    /// Numbers that were accepted and never came. Empty is what is promised.
    pub(crate) lost: Vec<u64>,
}

impl Bed {
    /// Makes database and receiver, and starts the server. Each event is expected in `lanes` copies.
    pub(crate) async fn start(store: StoreKind, lanes: u64) -> Result<Self> {
        let mut bed = Self::prepare(store, lanes).await?;
        bed.start_server().await?;
        Ok(bed)
    }

    /// As [`start`](Self::start), without the server.
    pub(crate) async fn prepare(store: StoreKind, lanes: u64) -> Result<Self> {
        let database = Database::create(store).await?;
        let command = command_on(&database)?;
        let receiver = ReceiverProcess::start(lanes).await?;
        Ok(Self {
            database,
            command,
            server: None,
            receiver,
            client: Client::new(TOKEN),
        })
    }

    /// How another process on the same database is started.
    fn command_for(&self) -> Result<DemaeCommand> {
        command_on(&self.database)
    }

    /// Starts the server and returns the seconds from then until it was ready.
    pub(crate) async fn time_start(&mut self) -> Result<f64> {
        let url = format!("{}/readyz", self.command.base_url());
        let begin = clock::now();
        self.server = Some(self.command.spawn()?);
        let mut ticks = interval(READY_POLL);
        while self
            .client
            .get_status(&url)
            .await
            .is_none_or(|status| status != 200)
        {
            ticks.tick().await;
            let taken = clock::now() - begin;
            if taken > START_LIMIT.as_micros() as u64 {
                bail!("not ready within {START_LIMIT:?}: {}", self.command.stderr()?);
            }
        }
        Ok((clock::now() - begin) as f64 / 1e6)
    }

    /// Creates a webhook at a path of the receiver, and returns its URL. The query makes it different from others.
    pub(crate) async fn create_endpoint(&self, path: &str, name: &str) -> Result<Endpoint> {
        self.create_webhook(format!("http://{}{path}", self.receiver.address()), name)
            .await
    }

    /// Creates a webhook at any URL.
    pub(crate) async fn create_webhook(&self, url: String, name: &str) -> Result<Endpoint> {
        let webhooks = format!("{}/api/webhooks", self.command.base_url());
        self.client.post(&webhooks, &webhook(&url, name)).await?;
        Ok(Endpoint {
            url,
            name: name.to_owned(),
        })
    }

    /// A plan to post events of these names to the server, with its other parts as they are used most.
    pub(crate) fn plan(&self, names: &[&str], pace: Pace) -> Plan {
        Plan {
            target: self.command.address(),
            path: "/api/events".to_owned(),
            token: Some(TOKEN.to_owned()),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            event_bytes: EVENT_BYTES,
            batch: 1,
            calls: Vec::new(),
            connections: CONNECTIONS,
            pace,
        }
    }

    /// A plan to make these calls, again and again.
    pub(crate) fn plan_calls(&self, calls: Vec<Call>, connections: usize, pace: Pace) -> Plan {
        Plan {
            calls,
            connections,
            ..self.plan(&[], pace)
        }
    }

    /// What the server answers to a GET.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.client
            .get(&format!("{}{path}", self.command.base_url()))
            .await
    }

    /// What the server answers to a POST; null for nothing.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}{path}", self.command.base_url());
        let answer = self.client.post(&url, body).await?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Ends the server as an operator would.
    pub(crate) async fn stop_server(&mut self) -> Result<()> {
        let server = self.server.take().context("the server does not run")?;
        let status = server.terminate().await?;
        if !status.success() {
            bail!("the server ended with {status}: {}", self.command.stderr()?);
        }
        Ok(())
    }

    /// Starts the server, on the database as it is.
    pub(crate) async fn start_server(&mut self) -> Result<()> {
        self.server = Some(self.command.start().await?);
        Ok(())
    }

    /// Writes a backlog straight into the database. The server must not run: nobody would tell it.
    pub(crate) async fn seed(&self, seed: &Seed<'_>) -> Result<()> {
        seed.write(&self.database.connect(&self.command).await?).await
    }

    /// Writes customers straight into the database, numbered from `first`.
    pub(crate) async fn seed_customers(&self, first: u64, count: u64) -> Result<()> {
        let connection = self.database.connect(&self.command).await?;
        customers::write(&connection, first, count).await
    }

    /// Lets the database finish what it put off while rows were seeded.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.database.settle(&self.command).await
    }

    /// Processor time so far of what runs now.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        Ok(Cpu {
            server: usage::of_process(self.server_id()?)?.cpu_seconds,
            ..self.cpu_without_server()?
        })
    }

    /// As [`cpu`](Self::cpu), before the server is started: it starts from nothing.
    pub(crate) fn cpu_without_server(&self) -> Result<Cpu> {
        Ok(Cpu {
            server: 0.0,
            database: self.database.cpu_seconds()?,
            driver: 0.0,
            receiver: usage::of_process(self.receiver.id()?)?.cpu_seconds,
        })
    }

    /// The server's memory.
    pub(crate) fn server_memory(&self) -> Result<Memory> {
        usage::memory(self.server_id()?)
    }

    /// The receiver's account so far.
    pub(crate) async fn report(&self) -> Result<Report> {
        self.client
            .get(&format!("http://{}/report", self.receiver.address()))
            .await
    }

    /// Waits until `expected` deliveries have come for the first time, or nothing more does.
    pub(crate) async fn wait_for(&self, expected: u64, progress: &Progress) -> Result<Report> {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            ticks.tick().await;
            let report = self.report().await?;
            progress.arrived(report.distinct, expected);
            if report.distinct != seen {
                (seen, since) = (report.distinct, Instant::now());
            }
            if report.distinct >= expected || since.elapsed() > PATIENCE {
                return Ok(report);
            }
        }
    }

    /// Waits for everything that `outcome` was acknowledged, in so many lanes.
    pub(crate) async fn all_of(&self, outcome: &Outcome, lanes: u64, progress: &Progress) -> Result<Arrived> {
        let report = self.wait_for(outcome.accepted * lanes, progress).await?;
        let url = format!(
            "http://{}/missing?below={}",
            self.receiver.address(),
            outcome.sent
        );
        let missing: Vec<u64> = self.client.get(&url).await?;
        let refused: HashSet<u64> = outcome.refused.iter().copied().collect();
        let lost = missing
            .into_iter()
            .filter(|number| !refused.contains(number))
            .collect();
        Ok(Arrived { report, lost })
    }

    fn server_id(&self) -> Result<u32> {
        self.server.as_ref().context("the server does not run")?.id()
    }
}

/// The input that makes a webhook.
fn webhook(url: &str, name: &str) -> Value {
    json!({ "url": url, "eventNames": [name] })
}

fn command_on(database: &Database) -> Result<DemaeCommand> {
    let command = DemaeCommand::new("serve")?
        .setting("DEMAE_ALLOW_PRIVATE_ENDPOINTS", "127.0.0.0/8")
        .setting("DEMAE_BOOTSTRAP_TOKEN", TOKEN)
        .setting("DEMAE_SECRET_KEY", SECRET_KEY)
        .setting("DEMAE_ENDPOINTS_PER_ORGANIZATION", "2000");
    Ok(match database.url() {
        Some(url) => command.setting("DEMAE_DATABASE_URL", url),
        None => command,
    })
}
