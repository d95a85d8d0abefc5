//! The database goes away under load and comes back; the process stays.
//!
//! While it is away `/readyz` says so and writes are refused as temporary, never as a fault of ours. When it is back the
//! process goes on by itself, and nothing that was acknowledged is missing. A delivery under way during the outage keeps
//! its lease and is recorded later, so nothing is sent twice either.

use demae_store::engine::Backlog;
use demae_testkit::{
    postgres::{Durability, PrivatePostgres},
    process::{DemaeCommand, DemaeProcess},
    proxy::FaultProxy,
    receiver::{Answer, Gate, Recorder},
};
use serde_json::json;

use crate::{
    api::Api,
    ledger::Ledger,
    load::Load,
    server::{api, left_behind, make_endpoints, random, serve, settled, wait_for_metric, wait_for_readiness},
};

/// Acknowledgements before a disaster and after it: enough for every stage to have work.
const SOME: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_database_loses_nothing() {
    let postgres = PrivatePostgres::start(Durability::Full).await.unwrap();
    let url = postgres.create_database().await.unwrap();
    let scene = Scene::start(&url).await;
    for _ in 0..2 {
        scene.ledger.more_arrived(SOME).await;
        let (stopped, ()) = tokio::join!(postgres.stop_immediate(), scene.ledger.more_refused(1));
        stopped.unwrap();
        wait_for_readiness(&scene.api, 503).await;
        postgres.start_again().await.unwrap();
        wait_for_readiness(&scene.api, 200).await;
        scene.ledger.more_acknowledged(SOME).await;
    }
    scene.end(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_or_silent_line_to_the_database_loses_nothing() {
    let postgres = PrivatePostgres::start(Durability::Full).await.unwrap();
    let url = postgres.create_database().await.unwrap();
    let line = FaultProxy::start(postgres.address()).await.unwrap();
    let scene = Scene::start(&line.in_front_of(&url).unwrap()).await;

    scene.ledger.more_arrived(SOME).await;
    let (cut, ()) = tokio::join!(line.cut(), scene.ledger.more_refused(1));
    cut.unwrap();
    wait_for_readiness(&scene.api, 503).await;
    line.pass();
    wait_for_readiness(&scene.api, 200).await;
    scene.ledger.more_acknowledged(SOME).await;

    scene.ledger.more_arrived(SOME).await;
    line.stall();
    wait_for_readiness(&scene.api, 503).await;
    line.pass();
    wait_for_readiness(&scene.api, 200).await;
    scene.ledger.more_acknowledged(SOME).await;
    scene.end(&url).await;
}

/// A firewall forgets the connections: no byte of them is heard of again, and nobody says so. Being cut off for longer than
/// a sign of life lasts, the process may be taken for dead, so what was under way may come twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_never_heard_of_again_loses_nothing() {
    let postgres = PrivatePostgres::start(Durability::Full).await.unwrap();
    let url = postgres.create_database().await.unwrap();
    let line = FaultProxy::start(postgres.address()).await.unwrap();
    let scene = Scene::start(&line.in_front_of(&url).unwrap()).await;
    scene.ledger.more_arrived(SOME).await;
    line.lose();
    scene.ledger.more_refused(1).await;
    scene.ledger.more_acknowledged(SOME).await;
    wait_for_readiness(&scene.api, 200).await;
    scene.ledger.more_arrived(SOME).await;
    scene.end_with_duplicates(&url).await;
}

/// More than the recorder's queue and batch hold (2,048 and 512) wait in memory when the database stops answering. The
/// process ends in an orderly way by its deadline all the same: nothing of it waits for the database any longer.
#[tokio::test(flavor = "multi_thread")]
async fn the_shutdown_deadline_holds_while_the_database_is_silent_and_thousands_are_queued() {
    let postgres = PrivatePostgres::start(Durability::Full).await.unwrap();
    let url = postgres.create_database().await.unwrap();
    let line = FaultProxy::start(postgres.address()).await.unwrap();
    let receiver = Recorder::start().await;
    let gate = Gate::closed();
    receiver.answer(Answer::ok().held_by(&gate));
    let command = serve()
        .setting("DEMAE_DATABASE_URL", line.in_front_of(&url).unwrap())
        .setting("DEMAE_SHUTDOWN_DEADLINE", "4s");
    let process = command.start().await.unwrap();
    let api = api(&command);
    for path in ["/a", "/b", "/c", "/d"] {
        let webhook = json!({ "url": receiver.url(path), "eventNames": ["*"] });
        api.post("/api/webhooks", &webhook).await;
    }
    for _ in 0..10 {
        let events = vec![json!({ "name": "CUSTOMER_CREATION", "data": {} }); 100];
        api.post("/api/events", &json!({ "events": events })).await;
    }
    wait_for_metric(&command, "demae_deliveries_leased", 3_000.0).await;

    line.stall();
    let ended = process.terminate().await.unwrap();
    assert!(ended.success(), "{ended}: {}", command.stderr().unwrap());
    line.pass();

    // Nothing is missing: the next process takes the leases over.
    gate.open();
    let process = command.start().await.unwrap();
    receiver.wait_for(4_000).await;
    assert!(process.terminate().await.unwrap().success());
}

struct Scene {
    ledger: Ledger,
    api: Api,
    endpoints: Vec<String>,
    load: Load,
    process: DemaeProcess,
    command: DemaeCommand,
}

impl Scene {
    async fn start(database: &str) -> Self {
        let mut random = random();
        let ledger = Ledger::start().await;
        let command = serve().setting("DEMAE_DATABASE_URL", database);
        let process = command.start().await.unwrap();
        let api = api(&command);
        let endpoints = make_endpoints(&api, &ledger).await;
        let load = Load::start(std::slice::from_ref(&api), &ledger, &mut random);
        Self {
            ledger,
            api,
            endpoints,
            load,
            process,
            command,
        }
    }

    async fn end(self, database: &str) {
        assert_eq!(self.end_with_duplicates(database).await, 0);
    }

    /// Answers how many there were.
    async fn end_with_duplicates(self, database: &str) -> usize {
        self.load.stop().await;
        self.ledger.all_arrived().await;
        for endpoint in &self.endpoints {
            settled(&self.api, endpoint).await;
        }
        let ended = self.process.terminate().await.unwrap();
        assert!(ended.success(), "{}", self.command.stderr().unwrap());
        let summary = self.ledger.judge();
        println!("{summary}");
        assert_eq!(left_behind(database).await, Backlog::default());
        summary.duplicates
    }
}
