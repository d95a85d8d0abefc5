//! `demae trigger`.

use std::io::Read as _;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{events, output, remote::RemoteArgs};

/// Send an example of an event
///
/// The event goes the way of a real one: to every endpoint that subscribed to it. To send to one endpoint only, use
/// `demae endpoint test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or type, as in `demae events`
    event: String,
    /// The event's data: JSON, @FILE, or - for standard input [default: the catalogue's example]
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let event = events::find(&args.event)?;
    let data = match &args.data {
        Some(text) => read_data(text)?,
        None => event.example().clone(),
    };
    let body = json!({ "name": event.name, "type": event.event_type, "data": data });
    let answer = args.remote.connect()?.post("/events", &body).await?;
    if args.json {
        output::json(&answer)?;
    } else {
        output::line(&format!("sent {} ({})", event.name, output::cell(&answer, "id")))?;
        output::remark("see `demae history list`");
    }
    Ok(())
}

fn read_data(text: &str) -> anyhow::Result<Value> {
    let json = match text.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?,
        None if text == "-" => {
            let mut input = String::new();
            std::io::stdin()
                .lock()
                .read_to_string(&mut input)
                .context("cannot read standard input")?;
            input
        }
        None => text.to_owned(),
    };
    serde_json::from_str(&json).context("--data is not JSON")
}
