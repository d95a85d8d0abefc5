//! One process of Demae under supervision, as an orchestrator would give it: started again when it ends, which it may do by
//! itself only before it was ever ready (its database may be away just then).

use std::{process::ExitStatus, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    schedule::{Disaster, Fault, Target},
    tally::Tally,
};
use crate::{
    process::{DemaeCommand, DemaeProcess},
    proxy::FaultProxy,
};

/// After a start that failed.
const RESTART_PAUSE: Duration = Duration::from_millis(300);
/// How long the last start may take, on a busy machine whose database recovers.
const READY_LIMIT: Duration = Duration::from_mins(2);

/// A process and its lines.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) number: u64,
    pub(super) database_line: Arc<FaultProxy>,
    pub(super) broker_line: Option<Arc<FaultProxy>>,
    command: DemaeCommand,
    process: Option<DemaeProcess>,
    was_ready: bool,
}

impl Node {
    /// Starts the process and waits until it is ready.
    pub(super) async fn start(
        name: String,
        number: u64,
        command: DemaeCommand,
        database_line: FaultProxy,
        broker_line: Option<FaultProxy>,
    ) -> Result<Self> {
        let process = command
            .start()
            .await
            .with_context(|| format!("{name} does not start"))?;
        Ok(Self {
            name,
            number,
            database_line: Arc::new(database_line),
            broker_line: broker_line.map(Arc::new),
            command,
            process: Some(process),
            was_ready: true,
        })
    }

    /// Lives through its disasters, and then on until `over`; ready at the end.
    pub(super) async fn live(
        mut self,
        begun: Instant,
        disasters: Vec<Disaster>,
        tally: Tally,
        over: CancellationToken,
    ) -> Result<Self> {
        for disaster in disasters {
            self.keep_up(sleep_until(begun + disaster.at), &tally).await?;
            tally.count(Target::Node(self.number), disaster.fault);
            self.suffer(&disaster).await?;
        }
        self.keep_up(over.cancelled_owned(), &tally).await?;
        if !self.was_ready {
            let ready = timeout(READY_LIMIT, self.process()?.ready()).await;
            ready.with_context(|| format!("{} does not become ready: {}", self.name, self.tail()))??;
        }
        Ok(self)
    }

    /// Ends the process in order.
    pub(super) async fn end(mut self) -> Result<()> {
        let process = self.process.take().context("it does not run")?;
        let ended = process.terminate().await.with_context(|| self.name.clone())?;
        ensure!(
            ended.success(),
            "{} ended with {ended} after SIGTERM: {}",
            self.name,
            self.tail()
        );
        Ok(())
    }

    async fn suffer(&mut self, disaster: &Disaster) -> Result<()> {
        match disaster.fault {
            Fault::Kill => {
                self.take()?.kill().await?;
                sleep(disaster.lasts).await;
                self.spawn()
            }
            Fault::Restart => {
                // What it could not write before the deadline comes back by itself; only hanging is a fault here.
                self.take()?
                    .terminate()
                    .await
                    .with_context(|| format!("{}: {}", self.name, self.tail()))?;
                sleep(disaster.lasts).await;
                self.spawn()
            }
            Fault::Freeze => {
                let process = self.process()?;
                process.freeze().await?;
                sleep(disaster.lasts).await;
                process.thaw()
            }
            other => bail!("{other} is not for a process"),
        }
    }

    /// Starts the process again whenever it ends, until `end`.
    async fn keep_up(&mut self, end: impl Future<Output = ()>, tally: &Tally) -> Result<()> {
        tokio::pin!(end);
        loop {
            let ended = tokio::select! {
                ended = self.ended() => ended?,
                () = &mut end => return Ok(()),
            };
            if self.was_ready {
                bail!("{} ended by itself ({ended}): {}", self.name, self.tail());
            }
            tally.count_stillborn();
            sleep(RESTART_PAUSE).await;
            self.spawn()?;
        }
    }

    async fn ended(&mut self) -> Result<ExitStatus> {
        let ready = self.was_ready;
        let process = self.process()?;
        // An end before it was ready is told by the wait that follows.
        if !ready && process.ready().await.is_ok() {
            self.was_ready = true;
        }
        self.process()?.ended().await
    }

    fn spawn(&mut self) -> Result<()> {
        self.process = Some(self.command.spawn()?);
        self.was_ready = false;
        Ok(())
    }

    fn take(&mut self) -> Result<DemaeProcess> {
        self.process.take().context("it does not run")
    }

    fn process(&mut self) -> Result<&mut DemaeProcess> {
        self.process.as_mut().context("it does not run")
    }

    /// The last it said.
    fn tail(&self) -> String {
        const LINES: usize = 30;
        let log = self.command.stderr().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}
