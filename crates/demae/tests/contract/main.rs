//! The contract with other people's programs: the three lines of the documentation, the libraries that receivers verify
//! with, the official client, and a generator of requests that knows only the OpenAPI document.
//!
//! Needs what `make setup` installs. The real binary runs as a child process; nothing of its code is called.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "../support/api.rs"]
mod api;
mod catalogue;
mod interface;
mod quick_start;
mod sample;
mod signatures;
mod trigger;

use demae_testkit::{
    postgres::TestDatabase,
    process::{DemaeCommand, DemaeProcess},
};

use crate::api::Api;

/// Of the first organization.
const TOKEN: &str = "ksh_0123456789abcdefghijklmnopqrstuvwxyzABCD";

/// `demae dev` with a token that the tests know.
async fn start() -> (DemaeProcess, Api) {
    run(dev()).await
}

/// The same on Postgres.
async fn start_on_postgres() -> (DemaeProcess, Api, TestDatabase) {
    let database = TestDatabase::create().await.unwrap();
    let (process, api) = run(dev().setting("DEMAE_DATABASE_URL", database.url())).await;
    (process, api, database)
}

fn dev() -> DemaeCommand {
    DemaeCommand::of(env!("CARGO_BIN_EXE_demae"), "dev")
        .unwrap()
        .setting("DEMAE_BOOTSTRAP_TOKEN", TOKEN)
}

async fn run(command: DemaeCommand) -> (DemaeProcess, Api) {
    let process = command.start().await.unwrap();
    (process, Api::new(command.base_url(), TOKEN))
}
