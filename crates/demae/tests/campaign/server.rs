//! What the tests ask of a server beside its load: endpoints, readiness, figures, and an empty table at the end.

use std::{path::Path, time::Duration};

use demae_event::{Clock as _, SystemClock};
use demae_store::{Store, StoreOptions, Vault, engine::Backlog};
use demae_testkit::process::DemaeCommand;
use http::Method;
use rand::{SeedableRng as _, rngs::SmallRng};
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::{
    api::Api,
    ledger::{Ledger, PATHS},
};

/// Of the first organization.
pub(crate) const TOKEN: &str = "ksh_0123456789abcdefghijklmnopqrstuvwxyzABCD";

/// How often something is asked that gives no signal.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// How long something that must become true may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// `demae serve`, with quick retries and endpoints on this machine.
pub(crate) fn serve() -> DemaeCommand {
    DemaeCommand::of(env!("CARGO_BIN_EXE_demae"), "serve")
        .unwrap()
        .setting("DEMAE_BOOTSTRAP_TOKEN", TOKEN)
        .setting("DEMAE_ALLOW_PRIVATE_ENDPOINTS", "127.0.0.0/8")
        .setting("DEMAE_RETRY_SCHEDULE", "0,0,1,1,1,1")
}

/// The first organization's way to a server.
pub(crate) fn api(command: &DemaeCommand) -> Api {
    Api::new(command.base_url(), TOKEN)
}

/// The seed of everything random in this test.
pub(crate) fn random() -> SmallRng {
    let seed = std::env::var("DEMAE_CAMPAIGN_SEED").map_or_else(
        |_| rand::random(),
        |seed| seed.parse().expect("DEMAE_CAMPAIGN_SEED is a number"),
    );
    println!("DEMAE_CAMPAIGN_SEED={seed}");
    SmallRng::seed_from_u64(seed)
}

/// Makes an endpoint at each of the receiver's paths; returns their ids.
pub(crate) async fn make_endpoints(api: &Api, ledger: &Ledger) -> Vec<String> {
    let mut ids = Vec::new();
    for path in PATHS {
        let webhook = json!({ "url": ledger.url(path), "eventNames": ["*"] });
        let made = api.post("/api/webhooks", &webhook).await;
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    ids
}

/// Waits until nothing is planned or under way for the endpoint; returns how many successes its history has.
pub(crate) async fn settled(api: &Api, endpoint: &str) -> u64 {
    let path = format!("/api/webhooks/{endpoint}/stats");
    let ask = async {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            let stats = api.get(&path).await;
            if stats["waiting"] == 0 && stats["sending"] == 0 {
                assert_eq!(stats["failed"], 0, "{stats}");
                assert_eq!(stats["canceled"], 0, "{stats}");
                assert_eq!(stats["complete"], true, "{stats}");
                return stats["success"].as_u64().unwrap();
            }
        }
    };
    timeout(PATIENCE, ask).await.expect("the endpoint settles")
}

/// Waits until `/readyz` answers so.
pub(crate) async fn wait_for_readiness(api: &Api, status: u16) {
    let ask = async {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            let answer = api.send(Method::GET, "/readyz", None, None).await.unwrap();
            if answer.status == status {
                return;
            }
        }
    };
    let reached = timeout(PATIENCE, ask).await;
    assert!(reached.is_ok(), "/readyz did not become {status}");
}

/// Waits until a figure of `/metrics`, summed over its labels, is more than `least`.
pub(crate) async fn wait_for_metric(command: &DemaeCommand, name: &str, least: f64) {
    let ask = async {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            if metric(command, name).await > least {
                return;
            }
        }
    };
    let reached = timeout(PATIENCE, ask).await;
    assert!(reached.is_ok(), "{name} did not rise over {least}");
}

/// A figure of `/metrics`, summed over its labels; 0 if there is none.
pub(crate) async fn metric(command: &DemaeCommand, name: &str) -> f64 {
    let answer = api(command)
        .send(Method::GET, "/metrics", None, None)
        .await
        .unwrap();
    answer
        .text
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// What a server that has ended left in its database.
pub(crate) async fn left_behind(url: &str) -> Backlog {
    let vault = Vault::from_text(&Vault::generate_text()).unwrap();
    let store = Store::connect(StoreOptions::new(url, vault)).await.unwrap();
    let backlog = store.engine().backlog(SystemClock.now()).await.unwrap();
    store.close().await;
    backlog
}

/// Waits until nothing is left in the database of servers that run: an event arrives a moment before its row is gone.
pub(crate) async fn emptied(url: &str) {
    let ask = async {
        let mut ticks = ticks();
        while left_behind(url).await != Backlog::default() {
            ticks.tick().await;
        }
    };
    let reached = timeout(PATIENCE, ask).await;
    assert!(reached.is_ok(), "{:?} is left and stays", left_behind(url).await);
}

/// The URL of the SQLite file in a data folder.
pub(crate) fn sqlite_url(data: &Path) -> String {
    format!("sqlite:{}", data.join("demae.db").display())
}

fn ticks() -> Interval {
    let mut ticks = interval(ASK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
