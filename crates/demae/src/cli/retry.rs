//! `demae retry`.

use std::time::Duration;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

use super::{
    output::{self, cell},
    remote::{Remote, RemoteArgs, segment},
};

/// How often a job's progress is asked.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Deliver again: one message, or what an endpoint missed
///
/// With an attempt's id, its message is delivered again now. With --endpoint and --since, everything that failed there
/// since then, or never arrived, is; retries that are planned anyway stay planned.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Attempt id (atmpt_…) of `demae history list`
    #[arg(required_unless_present = "endpoint", conflicts_with = "endpoint")]
    attempt: Option<String>,
    /// Endpoint id (ep_…)
    #[arg(long, requires = "since", value_name = "ID")]
    endpoint: Option<String>,
    /// Messages not older than this (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Messages older than this (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only these: failed, failing, canceled, missing (never sent there) [default: all]
    #[arg(long, value_delimiter = ',', value_name = "STATES")]
    status: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let remote = args.remote.connect()?;
    let answer = match (&args.attempt, &args.endpoint) {
        (Some(attempt), _) => {
            let path = format!("/webhooks/history/{}/retry", segment(attempt));
            remote.post(&path, &Value::Object(Map::new())).await?
        }
        (None, Some(endpoint)) => recover(&remote, endpoint, &args).await?,
        (None, None) => bail!("name an attempt, or --endpoint and --since"),
    };
    if args.json {
        output::json(&answer)?;
    } else if args.endpoint.is_some() {
        output::line(&format!(
            "{} of {} messages are sent again",
            cell(&answer, "resent"),
            cell(&answer, "examined")
        ))?;
    } else {
        output::line("sent again")?;
        output::remark("see `demae history list`");
    }
    Ok(())
}

/// Starts a recovery and watches it to its end.
async fn recover(remote: &Remote, endpoint: &str, args: &Args) -> anyhow::Result<Value> {
    let mut body = Map::new();
    for (name, value) in [("since", &args.since), ("until", &args.until)] {
        body.extend(
            value
                .iter()
                .map(|value| (name.to_owned(), Value::from(value.as_str()))),
        );
    }
    if !args.status.is_empty() {
        body.insert("status".to_owned(), args.status.clone().into());
    }
    let base = format!("/webhooks/{}/recover", segment(endpoint));
    let mut job = remote.post(&base, &Value::Object(body)).await?;
    let path = format!("{base}/{}", segment(job["id"].as_str().unwrap_or_default()));
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    while job["status"] == "running" {
        bar.set_message(format!(
            "{} messages looked at, {} sent again",
            cell(&job, "examined"),
            cell(&job, "resent")
        ));
        tokio::time::sleep(PROGRESS_INTERVAL).await;
        bar.tick();
        job = remote.get(&path, &[]).await?;
    }
    bar.finish_and_clear();
    if job["status"] == "failed" {
        bail!(
            "the recovery stopped: {}\nstart it again: what was sent is not sent twice",
            cell(&job, "error")
        );
    }
    Ok(job)
}
