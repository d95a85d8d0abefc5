//! The driver: a process that posts events over a number of connections and says what it was answered.
//!
//! It gets one [`Plan`] as an argument and prints one [`Outcome`] when it has ended. It knows nothing of what happens to
//! the events afterwards; that is the receiver's to see. Instead of events it can make other calls, the same ones again
//! and again.
//!
//! At saturation (closed loop) each connection sends its next request when the last one is answered. At a fixed rate
//! (open loop) the times are set beforehand and written into the payloads: if the server stalls, the requests that
//! should have been sent meanwhile are late from the time they were due, not from the time they got through.

mod connection;
mod plan;
mod template;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    task::{JoinSet, LocalSet},
};

pub(crate) use self::plan::{CONNECTIONS, Call, EVENT_BYTES, Pace, Plan};
use self::{connection::Connection, template::Templates};
use crate::{
    clock,
    latency::{Latencies, Latency},
    usage,
};

/// Requests that one connection may be behind at a fixed rate, before the pacer waits for it. Times stay as planned.
const PACED_QUEUE: usize = 4_096;
/// Connections that may break before the run counts as failed.
const MAX_BREAKS: u64 = 100;

/// What became of it. Times are [`clock::now`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// When the first request was begun.
    pub(crate) started: u64,
    /// When the last answer had come.
    pub(crate) ended: u64,
    /// Events sent; they are numbered from 0.
    pub(crate) sent: u64,
    /// Events answered with 2xx.
    pub(crate) accepted: u64,
    /// Numbers of the others.
    pub(crate) refused: Vec<u64>,
    /// Answers by status; 0 stands for a broken connection.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// From the time a request was due to the whole answer, but for those that warm up.
    pub(crate) latency: Latency,
    /// Processor time of the driver.
    pub(crate) cpu_seconds: f64,
}

impl Outcome {
    /// Seconds from the first request to the last answer.
    pub(crate) fn seconds(&self) -> f64 {
        (self.ended - self.started) as f64 / 1e6
    }
}

/// Runs the plan on one thread (and one more that keeps the time at a fixed rate).
pub(crate) fn run(plan: Plan) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut outcome = LocalSet::new().block_on(&runtime, drive(Rc::new(plan)))?;
    outcome.cpu_seconds = usage::of_process(std::process::id())?.cpu_seconds;
    Ok(outcome)
}

/// What the connections share: the next number, the answers so far and how long they took.
#[derive(Debug, Default)]
struct Tally {
    outcome: Outcome,
    latencies: Latencies,
}

async fn drive(plan: Rc<Plan>) -> Result<Outcome> {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let mut posters = Vec::new();
    for _ in 0..plan.connections {
        posters.push(Poster {
            connection: Connection::open(plan.target).await?,
            templates: Templates::new(&plan),
            plan: plan.clone(),
            tally: tally.clone(),
        });
    }
    tally.borrow_mut().outcome.started = clock::now();
    let mut tasks = JoinSet::new();
    match plan.pace {
        Pace::Saturate { seconds } => {
            let deadline = clock::now() + (seconds * 1e6) as u64;
            for poster in posters {
                tasks.spawn_local(poster.saturate(move |_| clock::now() < deadline));
            }
        }
        Pace::Count { events } => {
            for poster in posters {
                tasks.spawn_local(poster.saturate(move |sent| sent < events));
            }
        }
        Pace::Rate {
            per_second,
            warm_up,
            seconds,
        } => {
            let mut queues = Vec::new();
            for poster in posters {
                let (queue, times) = mpsc::channel(PACED_QUEUE);
                queues.push(queue);
                tasks.spawn_local(poster.paced(times));
            }
            std::thread::spawn(move || keep_time(&queues, per_second, warm_up, seconds));
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a connection's task panicked")??;
    }
    let mut tally = tally.borrow_mut();
    let mut outcome = std::mem::take(&mut tally.outcome);
    outcome.ended = clock::now();
    outcome.latency = tally.latencies.summary();
    Ok(outcome)
}

/// Hands each request's time to the connections in turn, at that time.
fn keep_time(queues: &[mpsc::Sender<Slot>], per_second: f64, warm_up: f64, seconds: f64) {
    let start = clock::now();
    let requests = ((warm_up + seconds) * per_second) as u64;
    for (index, queue) in (0..requests).zip(queues.iter().cycle()) {
        let offset = index as f64 / per_second;
        let intended = start + (offset * 1e6) as u64;
        clock::block_until(intended);
        let slot = Slot {
            intended,
            counts: offset >= warm_up,
        };
        if queue.blocking_send(slot).is_err() {
            // The run has failed, and says so itself.
            return;
        }
    }
}

/// One planned request.
#[derive(Debug, Clone, Copy)]
struct Slot {
    intended: u64,
    /// Past the warm-up.
    counts: bool,
}

/// One connection and what it needs to post.
struct Poster {
    connection: Connection,
    templates: Templates,
    plan: Rc<Plan>,
    tally: Rc<RefCell<Tally>>,
}

impl Poster {
    /// Posts while `go_on` says so of the number of events sent so far.
    async fn saturate(mut self, go_on: impl Fn(u64) -> bool) -> Result<()> {
        while go_on(self.sent()) {
            self.post(clock::now()).await?;
        }
        Ok(())
    }

    async fn paced(mut self, mut times: mpsc::Receiver<Slot>) -> Result<()> {
        while let Some(slot) = times.recv().await {
            self.post(if slot.counts { slot.intended } else { 0 }).await?;
        }
        Ok(())
    }

    async fn post(&mut self, intended: u64) -> Result<()> {
        let count = self.plan.batch as u64;
        let first = {
            let mut tally = self.tally.borrow_mut();
            let first = tally.outcome.sent;
            tally.outcome.sent += count;
            first
        };
        let request = self.templates.stamp(first, intended);
        let status = self.connection.exchange(request).await.unwrap_or(0);
        if status == 0 {
            self.connection = Connection::open(self.plan.target).await?;
        } else if intended > 0 {
            self.tally.borrow_mut().latencies.record(intended, clock::now());
        }
        self.note(first, count, status)
    }

    fn note(&self, first: u64, count: u64, status: u16) -> Result<()> {
        let outcome = &mut self.tally.borrow_mut().outcome;
        let answers = outcome.statuses.entry(status).or_default();
        *answers += 1;
        if status == 0 && *answers > MAX_BREAKS {
            bail!("{MAX_BREAKS} connections broke");
        }
        if (200..300).contains(&status) {
            outcome.accepted += count;
        } else {
            outcome.refused.extend(first..first + count);
        }
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.tally.borrow().outcome.sent
    }
}
