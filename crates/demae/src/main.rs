//! The Demae binary: command line, configuration, wiring and shutdown.
//!
//! `main` promises: results on standard output, remarks and errors on standard error, an error with all its causes and
//! a remedy, and the exit codes of `demae --help`. What must be known of SQL, signatures or HTTP surfaces is known by
//! the crates this one puts together.

mod cli;
mod config;
mod data_folder;
mod database;
mod dev_token;
mod doctor;
mod http_client;
mod inbox;
mod relay;
mod sample;
mod secret_key;
mod server;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line or the settings are wrong; clap's own code for the former.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // Libraries that ask for no provider by name find two linked, and would refuse to choose. Nobody installed one before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&anyhow::Error::new(error).context("cannot start the runtime")),
    };
    // On the heap: the largest command's future would fill the stack of a debug build.
    let code = runtime
        .block_on(Box::pin(cli.run()))
        .unwrap_or_else(|error| report(&error));
    // Dropping it would wait without limit for blocking calls, such as a name look-up. What had to end has ended.
    runtime.shutdown_background();
    code
}

fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("demae: {}", message(error));
    let usage = error.chain().any(<dyn std::error::Error>::is::<config::Faults>);
    ExitCode::from(if usage { EXIT_USAGE } else { 1 })
}

/// The error and what caused it. The lines of a remedy stay below the sentence they belong to.
fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Some errors repeat their cause.
        if !last.contains(&cause) {
            text.push_str("\n  because: ");
            text.push_str(&cause);
        }
        last = cause;
    }
    text
}
