//! The command line: its names and help. What each command does is in the module of its name.
//!
//! Three kinds of commands. `dev` and `serve` are servers. Some talk to a running server over HTTP, with a token, and
//! so work from anywhere. And some open the database themselves, because they must work when there is no server or no
//! token yet; these need the server's settings. Each help text says which kind it is.

mod attach;
mod dead_letters;
mod endpoint;
mod events;
mod history;
mod listen;
mod local;
mod migrate;
mod openapi;
mod org;
pub(crate) mod output;
pub(crate) mod remote;
mod retry;
mod secret_key;
pub(crate) mod settings;
mod token;
mod trigger;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{doctor, server};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed, or a check found something wrong
  2  the command line or the settings are wrong

Variables: DEMAE_URL and DEMAE_TOKEN for the commands that talk to a server; the settings'
variables (`demae serve --print-defaults`) for those that open the database.";

/// Delivers your application's events to webhooks: signed, retried, never lost.
#[derive(Debug, Parser)]
#[command(name = "demae", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(server::DevArgs),
    Serve(server::ServeArgs),
    /// Print the catalogue of events
    Events(events::Args),
    /// Organizations (opens the database)
    Org(org::Args),
    /// Service accounts and their tokens (opens the database)
    Token(token::Args),
    /// Prepare somebody else's Postgres so that Demae delivers what is written there
    Attach(attach::Args),
    DeadLetters(dead_letters::Args),
    /// Webhook endpoints (talks to a server)
    Endpoint(endpoint::Args),
    /// Attempts to deliver (talks to a server)
    History(history::Args),
    /// Deliver again: one message, or what an endpoint missed (talks to a server)
    Retry(retry::Args),
    /// Send an example of an event (talks to a server)
    Trigger(trigger::Args),
    /// Forward deliveries to a local URL, signatures and all (talks to a server)
    Listen(listen::Args),
    /// Bring the database's schema up to date (opens the database)
    Migrate(migrate::Args),
    /// Check settings, database, clock, addresses and keys, and say what to do (opens the database)
    Doctor(doctor::Args),
    /// The key that seals secrets in the database (opens the database)
    SecretKey(secret_key::Args),
    /// Check the signature of a webhook you received (needs no server)
    Verify(verify::Args),
    /// Print the OpenAPI document (needs no server)
    Openapi(openapi::Args),
}

impl Cli {
    /// Carries the command out.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Dev(args) => server::dev(&args).await?,
            Command::Serve(args) => server::serve(&args).await?,
            Command::Events(args) => events::run(&args)?,
            Command::Org(args) => org::run(args).await?,
            Command::Token(args) => token::run(args).await?,
            Command::Attach(args) => return attach::run(&args).await,
            Command::DeadLetters(args) => dead_letters::run(args).await?,
            Command::Endpoint(args) => endpoint::run(args).await?,
            Command::History(args) => history::run(args).await?,
            Command::Retry(args) => retry::run(args).await?,
            Command::Trigger(args) => trigger::run(args).await?,
            Command::Listen(args) => listen::run(args).await?,
            Command::Migrate(args) => return migrate::run(&args).await,
            Command::Doctor(args) => return doctor::run(&args).await,
            Command::SecretKey(args) => return secret_key::run(args).await,
            Command::Verify(args) => return verify::run(&args),
            Command::Openapi(args) => openapi::run(&args)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
