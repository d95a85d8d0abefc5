//! Requests, routing and deliveries in processes of their own, two of each, on one Postgres, with a broker and without.
//!
//! One relay at a time reads the outbox; the workers are told of what it wrote and share it. Whichever process ends, by
//! its own will or not, another one goes on.

use std::time::Duration;

use demae_store::engine::Backlog;
use demae_testkit::{
    postgres::{Durability, PrivatePostgres},
    process::{DemaeCommand, DemaeProcess},
    rabbitmq::TestBroker,
};

use crate::{
    api::Api,
    ledger::Ledger,
    load::Load,
    server::{api, emptied, left_behind, make_endpoints, metric, random, serve, settled, wait_for_metric},
    turns::Turns,
};

/// Which process is what.
const ROLES: [&str; 6] = ["api", "api", "relay", "relay", "worker", "worker"];
const APIS: std::ops::Range<usize> = 0..2;
const RELAYS: std::ops::Range<usize> = 2..4;

/// Deliveries and acknowledgements that show that work goes on.
const SOME: usize = 100;

/// What a process holds goes to others when it has given no sign of life for so long.
const LEASE: Duration = Duration::from_secs(10);
/// For a busy machine.
const MARGIN: Duration = Duration::from_secs(5);

/// 1 in the process that reads the outbox.
const ACTIVE: &str = "demae_relay_active";

#[tokio::test(flavor = "multi_thread")]
async fn one_relay_is_active_and_another_takes_over_when_it_is_killed() {
    let mut cluster = Cluster::start(&[]).await;
    let (ledger, endpoints) = cluster.receiver().await;
    let load = Load::start(&cluster.ways(), &ledger, &mut random());
    ledger.more_arrived(SOME).await;

    let active = cluster.active_relay().await;
    let standby = RELAYS.sum::<usize>() - active;
    cluster.kill(active).await;
    wait_for_metric(&cluster.commands[standby], ACTIVE, 0.5).await;
    ledger.more_acknowledged(SOME).await;
    ledger.more_arrived(SOME).await;
    cluster.restart(active).await;
    // It does not take the lead from one that does its work.
    ledger.more_arrived(SOME).await;
    assert_eq!(cluster.active_relay().await, standby);

    load.stop().await;
    ledger.all_arrived().await;
    cluster.end(&endpoints).await;
    println!("{}", ledger.judge());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_loses_nothing() {
    let mut cluster = Cluster::start(&[]).await;
    let (ledger, endpoints) = cluster.receiver().await;
    let load = Load::start(&cluster.ways(), &ledger, &mut random());
    ledger.more_arrived(SOME).await;
    cluster.roll(&ledger).await;
    load.stop().await;
    ledger.all_arrived().await;
    cluster.end(&endpoints).await;
    let summary = ledger.judge();
    println!("rolling restart: {summary}");
    assert_eq!(
        summary.duplicates, 0,
        "nobody was cut off, so nothing is sent twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_with_a_broker_loses_nothing_and_nothing_stands_still_for_a_lease() {
    let broker = TestBroker::create().await.unwrap();
    let through_all = [
        ("DEMAE_BROKER_URL", broker.url()),
        ("DEMAE_OUTBOX_SOURCE", "wal".to_owned()),
    ];
    let mut cluster = Cluster::start(&through_all).await;
    let (ledger, endpoints) = cluster.receiver().await;
    let turns = Turns::start(&cluster.ways(), &ledger);
    ledger.more_arrived(SOME).await;
    cluster.roll(&ledger).await;
    let longest = turns.stop().await;
    ledger.all_arrived().await;
    cluster.end(&endpoints).await;
    let summary = ledger.judge();
    println!("rolling restart with a broker: {summary}; {longest:?} from commit to receipt at most");
    assert_eq!(
        summary.duplicates, 0,
        "nobody was cut off, so nothing is sent twice"
    );
    // The one bound in time that is promised: whatever a process held goes on without it.
    assert!(longest < LEASE + MARGIN, "an event stood still for {longest:?}");
}

/// All processes.
struct Cluster {
    /// Ends after the processes.
    _postgres: PrivatePostgres,
    url: String,
    commands: Vec<DemaeCommand>,
    processes: Vec<Option<DemaeProcess>>,
}

impl Cluster {
    async fn start(settings: &[(&'static str, String)]) -> Self {
        let postgres = PrivatePostgres::start(Durability::Full).await.unwrap();
        let url = postgres.create_database().await.unwrap();
        let commands: Vec<DemaeCommand> = ROLES
            .iter()
            .map(|roles| {
                let command = serve()
                    .argument("--roles")
                    .argument(*roles)
                    .setting("DEMAE_DATABASE_URL", &url)
                    .setting(
                        "DEMAE_SECRET_KEY",
                        "one key for all of these processes, long enough",
                    );
                settings
                    .iter()
                    .fold(command, |command, (name, value)| command.setting(name, value))
            })
            .collect();
        let mut processes = Vec::new();
        for command in &commands {
            processes.push(Some(command.start().await.unwrap()));
        }
        Self {
            _postgres: postgres,
            url,
            commands,
            processes,
        }
    }

    async fn receiver(&self) -> (Ledger, Vec<String>) {
        let ledger = Ledger::start().await;
        let endpoints = make_endpoints(&api(&self.commands[0]), &ledger).await;
        (ledger, endpoints)
    }

    fn ways(&self) -> Vec<Api> {
        APIS.map(|number| api(&self.commands[number])).collect()
    }

    /// The one relay that reads the outbox.
    async fn active_relay(&self) -> usize {
        let mut active = Vec::new();
        for number in RELAYS {
            if metric(&self.commands[number], ACTIVE).await > 0.5 {
                active.push(number);
            }
        }
        assert_eq!(active.len(), 1, "{active:?} are active");
        active[0]
    }

    async fn kill(&mut self, number: usize) {
        let process = self.processes[number].take().unwrap();
        process.kill().await.unwrap();
    }

    /// Ends each process as an administrator would, and starts it again when the others have carried on without it.
    async fn roll(&mut self, ledger: &Ledger) {
        for number in 0..ROLES.len() {
            let process = self.processes[number].take().unwrap();
            assert!(
                process.terminate().await.unwrap().success(),
                "{}",
                self.commands[number].stderr().unwrap()
            );
            ledger.more_arrived(SOME).await;
            self.restart(number).await;
        }
    }

    async fn restart(&mut self, number: usize) {
        self.processes[number] = Some(self.commands[number].start().await.unwrap());
    }

    /// Everything is delivered and recorded, and nothing is left to do.
    async fn end(&mut self, endpoints: &[String]) {
        for endpoint in endpoints {
            settled(&api(&self.commands[0]), endpoint).await;
        }
        emptied(&self.url).await;
        for process in self.processes.drain(..).flatten() {
            assert!(process.terminate().await.unwrap().success());
        }
        assert_eq!(left_behind(&self.url).await, Backlog::default());
    }
}
