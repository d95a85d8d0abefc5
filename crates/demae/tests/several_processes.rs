//! The campaign of several processes (`demae_testkit::campaign`) as a test: a minute of faults drawn at random.
//!
//! The seed is printed; `DEMAE_CAMPAIGN_SEED` sets it, `DEMAE_CAMPAIGN_SECONDS` the length. Longer runs have progress when
//! they are started as a program: `cargo run -p demae-testkit --bin campaign -- --seconds 600`.

use std::{str::FromStr, time::Duration};

use demae_testkit::campaign::{self, Options};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_any_of_several_processes_and_servers_fails() {
    let options = Options {
        binary: env!("CARGO_BIN_EXE_demae").into(),
        length: Duration::from_secs(setting("DEMAE_CAMPAIGN_SECONDS").unwrap_or(60)),
        seed: setting("DEMAE_CAMPAIGN_SEED").unwrap_or_else(rand::random),
        broker: true,
        wal: true,
        tell: |line| println!("{line}"),
    };
    println!("DEMAE_CAMPAIGN_SEED={}", options.seed);
    println!("{}", campaign::run(&options).await.unwrap());
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().ok().expect("it is a number"))
}
