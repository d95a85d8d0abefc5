//! The campaign from the command line: `cargo run -p demae-testkit --bin campaign -- --seconds 600 --seed 7`.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Parser;
use demae_testkit::{
    campaign::{self, Options},
    process::find_binary,
};

/// Runs Demae as several processes under faults, and proves that nothing is lost
#[derive(Debug, Parser)]
#[command(name = "campaign")]
struct Arguments {
    /// How long to do harm
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Plans the same faults again [default: drawn, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Without RabbitMQ: relays route
    #[arg(long)]
    no_broker: bool,
    /// The outbox by polling instead of the write-ahead log
    #[arg(long)]
    poll: bool,
    /// The program to try [default: the one named by `DEMAE_BIN`, or beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let options = Options {
        // The processes run in folders of their own.
        binary: arguments.binary.map_or_else(find_binary, Ok)?.canonicalize()?,
        length: Duration::from_secs(arguments.seconds),
        seed: arguments.seed.unwrap_or_else(rand::random),
        broker: !arguments.no_broker,
        wal: !arguments.poll,
        tell: |line| eprintln!("{line}"),
    };
    eprintln!("seed {}", options.seed);
    println!("{}", campaign::run(&options).await?);
    Ok(())
}
