//! `demae verify`: whether a received webhook is genuine, without any server.

use std::{io::Read as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use demae_event::{Clock as _, SystemClock};
use demae_signature::standard::{self, DEFAULT_TOLERANCE_SECONDS, VerifyError, VerifyingKey};
use serde_json::json;

use super::output;

/// Check the signature of a webhook you received
///
/// Give the body exactly as it arrived: a parsed and printed again JSON document has another signature.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The endpoint's signing secret (whsec_… or whpk_…); several while one is being rotated
    #[arg(
        long = "secret",
        env = "DEMAE_WEBHOOK_SECRET",
        hide_env_values = true,
        required = true,
        value_name = "SECRET"
    )]
    secrets: Vec<String>,
    /// A header, e.g. -H 'webhook-id: msg_…'; repeat for -timestamp and -signature
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// A file with one header a line, as `curl -D` writes it
    #[arg(long, value_name = "FILE")]
    headers_file: Option<PathBuf>,
    /// The body [default: standard input]
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// How far the webhook's time may be from now, in seconds
    #[arg(long, default_value_t = DEFAULT_TOLERANCE_SECONDS, value_name = "SECONDS")]
    tolerance: u64,
    /// Do not look at the time: for a webhook of long ago
    #[arg(long, conflicts_with = "tolerance")]
    any_time: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn header(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or("write NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let keys = args
        .secrets
        .iter()
        .map(|secret| VerifyingKey::parse(secret).context("the secret cannot be used"))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut headers = args.headers.clone();
    if let Some(path) = &args.headers_file {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        headers.extend(text.lines().filter_map(|line| header(line).ok()));
    }
    let tolerance = if args.any_time { u64::MAX } else { args.tolerance };
    let body = read_body(args)?;
    let now = SystemClock.now().as_secs();
    let verdict = standard::verify(standard::within(&headers), &body, &keys, now, tolerance);
    report(
        args,
        verdict.map(|verified| (verified.message_id.to_owned(), verified.key_index)),
    )
}

fn read_body(args: &Args) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    match &args.body {
        Some(path) => {
            body = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        }
        None => {
            std::io::stdin()
                .lock()
                .read_to_end(&mut body)
                .context("cannot read the body from standard input")?;
        }
    }
    Ok(body)
}

fn report(args: &Args, verdict: Result<(String, usize), VerifyError>) -> anyhow::Result<ExitCode> {
    match verdict {
        Ok((id, key)) => {
            if args.json {
                output::json(&json!({ "verified": true, "messageId": id, "secret": key }))?;
            } else {
                let which = if args.secrets.len() > 1 {
                    format!(", by secret {}", key + 1)
                } else {
                    String::new()
                };
                output::line(&format!("{} {id}{which}", output::good().apply_to("genuine:")))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            if args.json {
                output::json(&json!({ "verified": false, "reason": error.to_string() }))?;
            } else {
                output::line(&format!("{} {error}", output::bad().apply_to("not genuine:")))?;
                output::remark(remedy(error));
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

fn remedy(error: VerifyError) -> &'static str {
    match error {
        VerifyError::MissingHeader(_) => {
            "give all three: -H 'webhook-id: …' -H 'webhook-timestamp: …' -H 'webhook-signature: …'"
        }
        VerifyError::MalformedHeader(_) | VerifyError::MalformedTimestamp => {
            "copy the header's value unchanged"
        }
        VerifyError::TooOld { .. } => {
            "for a webhook of long ago add --any-time; otherwise it may be a replay"
        }
        VerifyError::TooNew { .. } => "one of the two clocks is wrong",
        VerifyError::TooManySignatures => "no honest sender makes so many",
        VerifyError::NoMatchingSignature => {
            "another secret (see `demae endpoint secret`), or not the body's exact bytes: a final line break counts"
        }
    }
}
