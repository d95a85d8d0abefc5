//! The campaigns (`demae_testkit::campaign`) as tests: a minute of faults drawn at random, and a minute of everything that
//! strangers, tenants, receivers and rows can do.
//!
//! The seed is printed; `DEMAE_CAMPAIGN_SEED` sets it, `DEMAE_CAMPAIGN_SECONDS` the length. Longer runs have progress when
//! they are started as a program: `cargo run -p demae-testkit --bin campaign -- --seconds 600`, `--hostile` for the second.

use std::{str::FromStr, time::Duration};

use demae_testkit::campaign::{
    self, Options,
    hostile::{self, Database, Judged},
};

/// Of each of the two hostile campaigns.
const HOSTILE_SECONDS: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_any_of_several_processes_and_servers_fails() {
    let options = Options {
        binary: env!("CARGO_BIN_EXE_demae").into(),
        length: Duration::from_secs(setting("DEMAE_CAMPAIGN_SECONDS").unwrap_or(60)),
        seed: seed(),
        broker: true,
        wal: true,
        tell: |line| println!("{line}"),
    };
    println!("{}", campaign::run(&options).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_served_while_others_do_harm_on_sqlite() {
    serve_a_bystander(Database::Sqlite, seed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_served_while_others_do_harm_on_postgres() {
    let seed = seed();
    // The outbox is read in two ways, and a run has time for one.
    let database = if seed.is_multiple_of(2) {
        Database::Postgres
    } else {
        Database::PostgresWal
    };
    serve_a_bystander(database, seed).await;
}

async fn serve_a_bystander(database: Database, seed: u64) {
    let options = hostile::Options {
        binary: env!("CARGO_BIN_EXE_demae").into(),
        length: Duration::from_secs(setting("DEMAE_CAMPAIGN_SECONDS").unwrap_or(HOSTILE_SECONDS)),
        seed,
        database,
        judged: Judged::Order,
        only: None,
        tell: |line| println!("{line}"),
    };
    println!("{}", hostile::run(&options).await.expect("the campaign holds"));
}

fn seed() -> u64 {
    let seed = setting("DEMAE_CAMPAIGN_SEED").unwrap_or_else(rand::random);
    println!("DEMAE_CAMPAIGN_SEED={seed}");
    seed
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().ok().expect("it is a number"))
}
