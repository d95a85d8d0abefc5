//! What feeds the real binary, and what it feeds, besides the table of its outbox and its own deliveries: the log, a
//! Dapr sidecar, a broker with others beside it, Svix. And how much memory all of that takes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "../support/api.rs"]
mod api;
mod dapr;
mod dead_letters;
mod memory;
mod rabbitmq;
mod svix;
mod wal;

use demae_testkit::process::DemaeCommand;

use self::api::Api;

/// Of the first organization.
const TOKEN: &str = "ksh_0123456789abcdefghijklmnopqrstuvwxyzABCD";

/// `demae serve` on an SQLite file, with endpoints on this machine.
fn serve() -> DemaeCommand {
    DemaeCommand::of(env!("CARGO_BIN_EXE_demae"), "serve")
        .unwrap()
        .setting("DEMAE_BOOTSTRAP_TOKEN", TOKEN)
        .setting("DEMAE_ALLOW_PRIVATE_ENDPOINTS", "127.0.0.0/8")
}

fn api(command: &DemaeCommand) -> Api {
    Api::new(command.base_url(), TOKEN)
}
