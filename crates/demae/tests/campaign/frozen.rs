//! Two processes on one database, two tenants, and one of the processes stops dead in the middle of its work (SIGSTOP,
//! as a paused virtual machine does) until the other one takes it for dead and takes its deliveries over. Then it goes on
//! as if nothing had happened.
//!
//! It may send again what the other one has sent meanwhile, and that is all it may do: what it records is refused.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use demae_store::engine::Backlog;
use demae_testkit::{
    postgres::{Durability, PrivatePostgres},
    process::{DemaeCommand, DemaeProcess},
    receiver::{Answer, Gate, ReceivedRequest, Recorder},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    api::Api,
    ledger::Ledger,
    load::Load,
    server::{
        TOKEN, left_behind, make_endpoints, random, serve, settled, wait_for_metric, wait_for_readiness,
    },
};

/// A worker that was silent for 10 s is taken for dead, which the others look for every 2 s; and a little.
const TAKEN_FOR_DEAD: Duration = Duration::from_secs(13);
/// Events per tenant: more than one process has under way at a time, so that some are only queued when it is frozen.
const EVENTS: usize = 60;
/// Deliveries and acknowledgements that show that work goes on.
const SOME: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_thawed_process_cannot_overwrite_what_its_successor_recorded() {
    let mut pair = Pair::start().await;
    let gate = Gate::closed();
    let receiver = Recorder::start().await;
    receiver.answer_by(first_refused_behind(&gate));
    let mut endpoints = Vec::new();
    let mut events = Vec::new();
    for tenant in [0, 1] {
        let webhook = json!({ "url": receiver.url("/hook"), "eventNames": ["*"] });
        let made = pair.way(1, tenant).post("/api/webhooks", &webhook).await;
        endpoints.push((tenant, id_of(&made)));
        for number in 0..EVENTS {
            let event = json!({
                "name": "PARCEL_SENT", "type": "com.example.parcel.v1.sent", "data": { "number": number },
            });
            let accepted = pair.way(number % 2, tenant).post("/api/events", &event).await;
            events.push((tenant, id_of(&accepted)));
        }
    }
    wait_for_metric(&pair.commands[0], "demae_exchanges", 0.0).await;

    pair.processes[0].freeze().await.unwrap();
    wait_for_metric(&pair.commands[1], "demae_leases_recovered_total", 0.0).await;
    gate.open();
    for (tenant, endpoint) in &endpoints {
        settled(&pair.way(1, *tenant), endpoint).await;
    }
    let before = pair.deliveries(&events).await;
    assert!(
        before.iter().all(|delivery| delivery["status"] == "success"),
        "{before:?}"
    );

    // It finds its answers waiting, all of them refusals, and then sends what it has queued.
    pair.processes[0].thaw().unwrap();
    wait_for_metric(&pair.commands[0], "demae_leases_lost_total", 0.0).await;
    // Its end is the sign that it has said all it had to say.
    assert!(pair.processes.remove(0).terminate().await.unwrap().success());
    assert_eq!(pair.deliveries(&events).await, before);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_frozen_under_load_holds_nothing_up_and_loses_nothing() {
    let pair = Pair::start().await;
    let mut random = random();
    let ledger = Ledger::start().await;
    let mut endpoints = Vec::new();
    for tenant in [0, 1] {
        for endpoint in make_endpoints(&pair.way(1, tenant), &ledger).await {
            endpoints.push((tenant, endpoint));
        }
    }
    let ways = [pair.way(0, 0), pair.way(0, 1), pair.way(1, 0), pair.way(1, 1)];
    let load = Load::start(&ways, &ledger, &mut random);
    ledger.more_arrived(SOME).await;

    pair.processes[0].freeze().await.unwrap();
    ledger.more_arrived(SOME).await;
    // Long enough for the others to take it for dead; work goes on meanwhile.
    let _ = timeout(TAKEN_FOR_DEAD, ledger.fault()).await;
    ledger.more_arrived(SOME).await;
    pair.processes[0].thaw().unwrap();
    wait_for_readiness(&pair.way(0, 0), 200).await;
    ledger.more_acknowledged(SOME).await;

    load.stop().await;
    ledger.all_arrived().await;
    for (tenant, endpoint) in &endpoints {
        settled(&pair.way(1, *tenant), endpoint).await;
    }
    pair.end().await;
    println!("{}", ledger.judge());
}

/// Two processes that do everything, on one database, and a token of each of two tenants.
struct Pair {
    postgres: PrivatePostgres,
    url: String,
    commands: [DemaeCommand; 2],
    processes: Vec<DemaeProcess>,
    tokens: [String; 2],
}

impl Pair {
    async fn start() -> Self {
        let postgres = PrivatePostgres::start(Durability::Full).await.unwrap();
        let url = postgres.create_database().await.unwrap();
        let commands = [(); 2].map(|()| {
            serve()
                .setting("DEMAE_DATABASE_URL", &url)
                .setting("DEMAE_SECRET_KEY", "a key that both processes need to be told")
        });
        let first = commands[0].start().await.unwrap();
        let second = commands[1].start().await.unwrap();
        let tokens = [TOKEN.to_owned(), make_tenant(&url).await];
        Self {
            postgres,
            url,
            commands,
            processes: vec![first, second],
            tokens,
        }
    }

    /// A tenant's way to one of the processes.
    fn way(&self, process: usize, tenant: usize) -> Api {
        Api::new(self.commands[process].base_url(), &self.tokens[tenant])
    }

    /// What the second process knows of each event's one delivery.
    async fn deliveries(&self, events: &[(usize, String)]) -> Vec<Value> {
        let mut deliveries = Vec::new();
        for (tenant, event) in events {
            let event = self.way(1, *tenant).get(&format!("/api/events/{event}")).await;
            deliveries.push(event["deliveries"][0].clone());
        }
        deliveries
    }

    /// Both processes end well and leave nothing behind.
    async fn end(self) {
        for process in self.processes {
            assert!(process.terminate().await.unwrap().success());
        }
        assert_eq!(left_behind(&self.url).await, Backlog::default());
        drop(self.postgres);
    }
}

/// Makes a second organization and returns its token.
async fn make_tenant(url: &str) -> String {
    let command = DemaeCommand::of(env!("CARGO_BIN_EXE_demae"), "org")
        .unwrap()
        .argument("create")
        .argument("Second")
        .argument("--json")
        .setting("DEMAE_DATABASE_URL", url);
    let ended = command.spawn().unwrap().wait().await.unwrap();
    assert!(ended.success(), "{}", command.stderr().unwrap());
    let made: Value = serde_json::from_str(&command.stdout().unwrap()).unwrap();
    made["token"].as_str().unwrap().to_owned()
}

/// Answers 500 to the first arrival of a message, once the gate is open; 200 to each later one, at once.
fn first_refused_behind(gate: &Gate) -> impl Fn(&ReceivedRequest) -> Answer + Send + Sync + 'static {
    let gate = gate.clone();
    let seen = Mutex::new(HashSet::new());
    move |request| {
        let id = request.header("webhook-id").unwrap_or_default().to_owned();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.insert(id) {
            Answer::status(500).held_by(&gate)
        } else {
            Answer::ok()
        }
    }
}

fn id_of(made: &Value) -> String {
    made["id"].as_str().unwrap().to_owned()
}
