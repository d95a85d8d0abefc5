//! SIGKILL at random moments: while serving under load, and now and then while still starting.
//!
//! # Duplicates
//!
//! An accepted delivery is sent again only if its outcome was not recorded when the process died. So:
//! - no process sends an accepted event twice (each duplicate needs a kill between);
//! - every delivery has exactly one recorded success, however often it arrived: nothing recorded is ever sent again;
//! - a kill costs at most what can be unrecorded at a moment: exchanges under way, outcomes queued for the recorder and
//!   the batch it is writing.

use std::time::Duration;

use demae_store::engine::Backlog;
use demae_testkit::{
    postgres::{Durability, PrivatePostgres},
    process::DemaeCommand,
};
use rand::{Rng as _, rngs::SmallRng};
use tokio::time::timeout;

use crate::{
    ledger::{Ledger, PATHS},
    load::Load,
    server::{api, left_behind, make_endpoints, random, serve, settled, sqlite_url},
};

/// Kills if `DEMAE_CAMPAIGN_KILLS` does not say.
const KILLS: usize = 30;
/// Milliseconds of load between the first acknowledgement of a run and its end.
const LIFETIME_MS: std::ops::RangeInclusive<u64> = 20..=400;
/// Every so many kills the next process is killed while it starts, so many milliseconds after its birth.
const STILLBORN_EVERY: usize = 6;
const STILLBORN_MS: std::ops::RangeInclusive<u64> = 0..=300;
/// The engine's bounds: exchanges under way (the setting `concurrency`), the recorder's queue and its batch.
const UNRECORDED_AT_MOST: usize = 1_024 + 2_048 + 512;

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_event_is_lost_when_the_process_is_killed_on_sqlite() {
    let command = serve();
    let url = sqlite_url(&command.data_folder());
    campaign(&command, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_event_is_lost_when_the_process_is_killed_on_postgres() {
    let postgres = PrivatePostgres::start(Durability::Full).await.unwrap();
    let url = postgres.create_database().await.unwrap();
    campaign(&serve().setting("DEMAE_DATABASE_URL", &url), &url).await;
}

async fn campaign(command: &DemaeCommand, database: &str) {
    let mut random = random();
    let ledger = Ledger::start().await;
    let api = api(command);
    let mut process = command.start().await.unwrap();
    let endpoints = make_endpoints(&api, &ledger).await;
    let load = Load::start(std::slice::from_ref(&api), &ledger, &mut random);

    let kills = kills();
    for kill in 1..=kills {
        ledger.more_acknowledged(1).await;
        if let Ok(()) = timeout(moment(&mut random, LIFETIME_MS), ledger.fault()).await {
            break;
        }
        process.kill().await.unwrap();
        ledger.begin_run().await;
        if kill % STILLBORN_EVERY == 0 {
            let stillborn = command.spawn().unwrap();
            let _ = timeout(moment(&mut random, STILLBORN_MS), ledger.fault()).await;
            stillborn.kill().await.unwrap();
            ledger.begin_run().await;
        }
        process = command.start().await.unwrap();
    }

    load.stop().await;
    ledger.all_arrived().await;
    let mut successes = Vec::new();
    for endpoint in &endpoints {
        successes.push(settled(&api, endpoint).await);
    }
    assert!(process.terminate().await.unwrap().success());

    let summary = ledger.judge();
    println!("{kills} kills: {summary}");
    ledger.judge_runs();
    for (path, successes) in PATHS.into_iter().zip(successes) {
        assert_eq!(
            successes as usize,
            ledger.accepted(path),
            "each delivery to {path} has one recorded success"
        );
    }
    assert!(
        summary.most_per_run <= UNRECORDED_AT_MOST,
        "one kill cost {} duplicates",
        summary.most_per_run
    );
    assert_eq!(left_behind(database).await, Backlog::default());
}

/// The one thing that is waited for without a signal: a random moment is what the campaign is about. A fault ends it.
fn moment(random: &mut SmallRng, milliseconds: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(random.random_range(milliseconds))
}

fn kills() -> usize {
    std::env::var("DEMAE_CAMPAIGN_KILLS").map_or(KILLS, |kills| {
        kills.parse().expect("DEMAE_CAMPAIGN_KILLS is a number")
    })
}
