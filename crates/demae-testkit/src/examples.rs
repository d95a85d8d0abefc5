//! Runs the programs that the documentation shows, as a reader would: the interpreter, the file, its arguments and
//! variables.

use std::{path::Path, time::Duration};

use anyhow::Result;
use tokio::process::Command;

use crate::{sdk::succeed, tools};

/// Starting an interpreter takes a second or two on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// Runs a Python program with the packages of `scripts/requirements.txt`; answers what it printed.
pub async fn python(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Result<String> {
    run(tools::python()?, program, arguments, variables).await
}

/// Runs a Node program with the packages of `scripts/node/package.json`; answers what it printed.
pub async fn node(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Result<String> {
    let mut command = tools::node()?;
    command.env("NODE_PATH", tools::folder()?.join("node/node_modules"));
    run(command, program, arguments, variables).await
}

async fn run(
    mut command: Command,
    program: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<String> {
    command
        .arg(program)
        .args(arguments)
        .envs(variables.iter().copied());
    succeed(command, LIMIT).await
}
