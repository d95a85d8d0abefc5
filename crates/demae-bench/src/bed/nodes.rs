//! Several processes of `demae` on one Postgres, with or without a broker, and events written in SQL.
//!
//! The first process takes requests (for the set-up); what is measured is the others, started as a row wants them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use demae_testkit::{
    process::{DemaeCommand, DemaeProcess},
    rabbitmq::PrivateRabbitMq,
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Bed, Cpu, StoreKind, database};
use crate::{driver::Outcome, usage};

/// How the outbox of these processes is read.
pub(crate) const WAL: (&str, &str) = ("DEMAE_OUTBOX_SOURCE", "wal");

/// How often the catalog is asked for the slot, and for how long.
const POLL: Duration = Duration::from_millis(10);
const SLOT_LIMIT: Duration = Duration::from_secs(30);

/// The processes and their servers.
#[derive(Debug)]
pub(crate) struct Nodes {
    bed: Bed,
    broker: Option<PrivateRabbitMq>,
    running: Vec<(DemaeCommand, DemaeProcess)>,
}

impl Nodes {
    /// Makes the servers and starts a process that only takes requests.
    pub(crate) async fn start(broker: bool) -> Result<Self> {
        let mut bed = Bed::prepare(StoreKind::Postgres, 1).await?;
        bed.command = bed.command.argument("--roles").argument("api");
        bed.start_server().await?;
        let broker = if broker {
            Some(PrivateRabbitMq::start().await?)
        } else {
            None
        };
        Ok(Self {
            bed,
            broker,
            running: Vec::new(),
        })
    }

    /// Database, receiver and the process that takes requests.
    pub(crate) fn bed(&self) -> &Bed {
        &self.bed
    }

    /// Starts another process with these roles; returns when it is ready.
    pub(crate) async fn add(&mut self, roles: &str) -> Result<()> {
        let mut command = self
            .bed
            .command_for()?
            .argument("--roles")
            .argument(roles)
            .setting(WAL.0, WAL.1);
        if let Some(broker) = &self.broker {
            command = command.setting("DEMAE_BROKER_URL", broker.url());
        }
        let process = command.start().await?;
        self.running.push((command, process));
        Ok(())
    }

    /// Has a relay make publication and slot, and ends it: what is written from now on waits in the log.
    pub(crate) async fn make_slot(&mut self) -> Result<()> {
        self.add("relay").await?;
        let connection = self.bed.database.connect(&self.bed.command).await?;
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        timeout(SLOT_LIMIT, async {
            loop {
                ticks.tick().await;
                // The publication has a comment until the rows that are older than the slot have been read.
                let made: i64 = database::value(
                    &connection,
                    "SELECT count(*) AS value FROM pg_replication_slots, pg_publication p \
                     WHERE confirmed_flush_lsn IS NOT NULL AND obj_description(p.oid, 'pg_publication') IS NULL",
                )
                .await?;
                if made > 0 {
                    return anyhow::Ok(());
                }
            }
        })
        .await
        .context("no relay has made a slot")??;
        self.stop().await
    }

    /// Ends the processes that were added.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        for (_, process) in self.running.drain(..) {
            process.terminate().await?;
        }
        Ok(())
    }

    /// Processor time so far of what runs now; RabbitMQ's is not in it.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let mut cpu = self.bed.cpu()?;
        for (_, process) in &self.running {
            cpu.server += usage::of_process(process.id()?)?.cpu_seconds;
        }
        Ok(cpu)
    }

    /// A figure of `/metrics` of the process added last, summed over its labels.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let (command, _) = self.running.last().context("no process was added")?;
        let text = self
            .bed
            .client
            .get_text(&format!("{}/metrics", command.base_url()))
            .await?;
        Ok(text
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    /// A pool of connections to write with.
    pub(crate) async fn writers(&self, connections: u32) -> Result<DatabaseConnection> {
        let url = self.bed.database.url().context("not Postgres")?;
        let options = sea_orm::ConnectOptions::new(url)
            .min_connections(connections)
            .max_connections(connections)
            .sqlx_logging(false)
            .to_owned();
        Ok(sea_orm::Database::connect(options).await?)
    }

    /// The organization that everything belongs to.
    pub(crate) async fn organization(&self) -> Result<String> {
        let connection = self.bed.database.connect(&self.bed.command).await?;
        database::value(&connection, "SELECT id::text AS value FROM organizations").await
    }

    /// How fast the server alone decodes what a slot holds, per second: nobody reads it over a network, nothing is made of
    /// it. The slot must have been made before the rows were written.
    pub(crate) async fn decode_alone(&self, slot: &str, publication: &str) -> Result<f64> {
        let connection = self.bed.database.connect(&self.bed.command).await?;
        let begin = crate::clock::now();
        // Kind 'I' of pgoutput: an insert.
        let inserts: i64 = database::value(
            &connection,
            &format!(
                "SELECT count(*) FILTER (WHERE get_byte(data, 0) = 73) AS value FROM \
                 pg_logical_slot_peek_binary_changes('{slot}', NULL, NULL, 'proto_version', '2', \
                 'publication_names', '{publication}')"
            ),
        )
        .await?;
        Ok(inserts as f64 / ((crate::clock::now() - begin) as f64 / 1e6))
    }

    /// Runs a statement.
    pub(crate) async fn execute(&self, statement: &str) -> Result<()> {
        let connection = self.bed.database.connect(&self.bed.command).await?;
        connection
            .query_all_raw(Statement::from_string(DbBackend::Postgres, statement))
            .await?;
        Ok(())
    }

    /// The outcome of events that were all committed.
    pub(crate) fn committed(started: u64, ended: u64, events: u64) -> Outcome {
        Outcome {
            started,
            ended,
            sent: events,
            accepted: events,
            ..Outcome::default()
        }
    }
}
