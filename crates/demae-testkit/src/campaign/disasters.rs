//! Carries out what was planned: a task for each target, which applies its faults in turn and heals each of them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use sqlx::{Connection as _, PgConnection};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    books::Books,
    node::Node,
    options::Options,
    schedule::{Disaster, Fault, Target, schedule},
    stage::Servers,
    tally::Tally,
};
use crate::{postgres::PrivatePostgres, proxy::FaultProxy, rabbitmq::PrivateRabbitMq, receiver::Gate};

/// What a slow line adds to every piece.
const DELAY: Duration = Duration::from_millis(40);
/// A connection for one statement, while the server may be frozen.
const SQL_LIMIT: Duration = Duration::from_secs(3);

/// The running faults.
pub(super) struct Disasters {
    nodes: JoinSet<Result<Node>>,
    others: JoinSet<Result<()>>,
    tally: Tally,
    /// All faults are healed.
    over: CancellationToken,
}

impl Disasters {
    pub(super) fn start(options: &Options, books: &Books, nodes: Vec<Node>, servers: &Servers) -> Self {
        let begun = Instant::now();
        let tally = Tally::default();
        let over = CancellationToken::new();
        let mut others = JoinSet::new();
        let mut lives = JoinSet::new();
        let plan = |target| schedule(options.seed, options.length, target);
        let mut afflict = |target, victim| {
            others.spawn(afflict(begun, target, plan(target), victim, tally.clone()));
        };
        afflict(Target::Postgres, Victim::Postgres(servers.postgres.clone()));
        afflict(Target::Receiver, Victim::Receiver(books.gate().clone()));
        if let Some(rabbitmq) = &servers.rabbitmq {
            afflict(Target::RabbitMq, Victim::RabbitMq(rabbitmq.clone()));
        }
        if options.wal {
            afflict(Target::SlotReader, Victim::SlotReader(servers.database.clone()));
        }
        for node in nodes {
            afflict(
                Target::DatabaseLine(node.number),
                Victim::Line(node.database_line.clone()),
            );
            if let Some(line) = &node.broker_line {
                afflict(Target::BrokerLine(node.number), Victim::Line(line.clone()));
            }
            let disasters = plan(Target::Node(node.number));
            lives.spawn(node.live(begun, disasters, tally.clone(), over.clone()));
        }
        Self {
            nodes: lives,
            others,
            tally,
            over,
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally.clone()
    }

    /// Waits until every fault is healed; returns the processes, ready.
    pub(super) async fn over(&mut self) -> Result<Vec<Node>> {
        let mut survivors = Vec::new();
        loop {
            tokio::select! {
                Some(ended) = self.others.join_next() => {
                    ended??;
                    if self.others.is_empty() {
                        self.over.cancel();
                    }
                }
                Some(node) = self.nodes.join_next() => survivors.push(node??),
                else => {
                    survivors.sort_by_key(|node| node.number);
                    return Ok(survivors);
                }
            }
        }
    }
}

/// What a target's faults are done to.
enum Victim {
    Line(Arc<FaultProxy>),
    Postgres(Arc<PrivatePostgres>),
    RabbitMq(Arc<PrivateRabbitMq>),
    /// The URL of the database whose slot is read.
    SlotReader(String),
    Receiver(Gate),
}

async fn afflict(
    begun: Instant,
    target: Target,
    disasters: Vec<Disaster>,
    victim: Victim,
    tally: Tally,
) -> Result<()> {
    for disaster in disasters {
        sleep_until(begun + disaster.at).await;
        tally.count(target, disaster.fault);
        victim
            .suffer(&disaster)
            .await
            .with_context(|| format!("{target} could not be {} or healed", disaster.fault))?;
    }
    Ok(())
}

impl Victim {
    async fn suffer(&self, disaster: &Disaster) -> Result<()> {
        match self {
            Self::Line(line) => cut_up(line, disaster).await,
            Self::Postgres(server) => stop_postgres(server, disaster).await,
            Self::RabbitMq(server) => stop_rabbitmq(server, disaster).await,
            Self::SlotReader(database) => {
                // Postgres may be away just then, which is disaster enough.
                let _ = timeout(SQL_LIMIT, disconnect(database)).await;
                Ok(())
            }
            Self::Receiver(gate) => {
                gate.close();
                sleep(disaster.lasts).await;
                gate.open();
                Ok(())
            }
        }
    }
}

async fn cut_up(line: &FaultProxy, disaster: &Disaster) -> Result<()> {
    match disaster.fault {
        Fault::Cut => line.cut().await?,
        Fault::Stall => line.stall(),
        Fault::Slow => line.slow(DELAY),
        other => bail!("{other} is not for a line"),
    }
    sleep(disaster.lasts).await;
    line.pass();
    Ok(())
}

async fn stop_postgres(server: &PrivatePostgres, disaster: &Disaster) -> Result<()> {
    match disaster.fault {
        Fault::Kill => {
            server.stop_immediate().await?;
            sleep(disaster.lasts).await;
            server.start_again().await
        }
        Fault::Restart => {
            server.restart().await?;
            sleep(disaster.lasts).await;
            Ok(())
        }
        Fault::Freeze => {
            server.freeze()?;
            sleep(disaster.lasts).await;
            server.thaw()
        }
        other => bail!("{other} is not for Postgres"),
    }
}

async fn stop_rabbitmq(server: &PrivateRabbitMq, disaster: &Disaster) -> Result<()> {
    match disaster.fault {
        Fault::Kill => {
            server.kill().await?;
            sleep(disaster.lasts).await;
            server.start_again().await
        }
        Fault::Restart => {
            server.stop().await?;
            sleep(disaster.lasts).await;
            server.start_again().await
        }
        Fault::Freeze => {
            server.freeze()?;
            sleep(disaster.lasts).await;
            server.thaw()
        }
        Fault::Alarm => {
            server.set_memory_alarm(true).await?;
            sleep(disaster.lasts).await;
            server.set_memory_alarm(false).await
        }
        other => bail!("{other} is not for RabbitMQ"),
    }
}

/// Ends the connection that reads the slot, from the server's side.
async fn disconnect(database: &str) -> Result<()> {
    let mut connection = PgConnection::connect(database).await?;
    sqlx::query(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL",
    )
    .execute(&mut connection)
    .await?;
    Ok(())
}
