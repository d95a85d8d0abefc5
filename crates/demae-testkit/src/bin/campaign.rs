//! The campaigns from the command line: `cargo run -p demae-testkit --bin campaign -- --seconds 600 --seed 7`, and with
//! `--hostile` the one in which not the machine but others do harm.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Parser;
use demae_testkit::{
    campaign::{self, Options, hostile},
    process::find_binary,
};

/// Runs Demae under faults or under attack, and proves that nothing is lost
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
    /// Strangers, a tenant, receivers and rows do harm instead, to one process
    #[arg(long, conflicts_with_all = ["no_broker", "poll"])]
    hostile: bool,
    /// Of the hostile campaign: sqlite, postgres or postgres-wal [default: each in turn, for all of the time]
    #[arg(long, requires = "hostile")]
    database: Option<hostile::Database>,
    /// Of the hostile campaign: only actors whose names contain this act
    #[arg(long, requires = "hostile", value_name = "TEXT")]
    only: Option<String>,
    /// Of the hostile campaign: arrival, order or order-and-pace, which a debug build on a busy machine does not hold
    #[arg(long, requires = "hostile", default_value_t = hostile::Judged::OrderAndPace)]
    judge: hostile::Judged,
    /// The program to try [default: the one named by `DEMAE_BIN`, or beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // The processes run in folders of their own.
    let binary = arguments.binary.map_or_else(find_binary, Ok)?.canonicalize()?;
    let length = Duration::from_secs(arguments.seconds);
    let seed = arguments.seed.unwrap_or_else(rand::random);
    eprintln!("seed {seed}");
    if arguments.hostile {
        for (_, database) in hostile::Database::ALL {
            if arguments.database.is_none_or(|chosen| chosen == database) {
                let options = hostile::Options {
                    binary: binary.clone(),
                    length,
                    seed,
                    database,
                    judged: arguments.judge,
                    only: arguments.only.clone(),
                    tell: |line| eprintln!("{line}"),
                };
                println!("{}", hostile::run(&options).await?);
            }
        }
        return Ok(());
    }
    let options = Options {
        binary,
        length,
        seed,
        broker: !arguments.no_broker,
        wal: !arguments.poll,
        tell: |line| eprintln!("{line}"),
    };
    println!("{}", campaign::run(&options).await?);
    Ok(())
}
