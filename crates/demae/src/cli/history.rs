//! `demae history`.

use serde_json::Value;

use super::{
    output::{self, Table, cell},
    remote::{RemoteArgs, segment},
};

/// Attempts to deliver
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// The latest attempts
    List(ListArgs),
    /// One attempt, with request and response
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// sending, success, failing, failed or canceled
    #[arg(long)]
    status: Option<String>,
    /// Event name
    #[arg(long)]
    event: Option<String>,
    /// Endpoint id (ep_…)
    #[arg(long)]
    endpoint: Option<String>,
    /// Not before (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Attempt id (atmpt_…)
    id: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.action {
        Action::List(args) => list(args).await,
        Action::Show(args) => show(args).await,
    }
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let filters = [
        ("status", args.status),
        ("eventName", args.event),
        ("webhookId", args.endpoint),
        ("since", args.since),
        ("until", args.until),
    ];
    let query: Vec<_> = filters
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let items = args
        .remote
        .connect()?
        .list("/webhooks/history", &query, args.limit)
        .await?;
    if args.json {
        return Ok(output::json(&items.into())?);
    }
    let mut table = Table::new(&["TIME", "ATTEMPT", "EVENT", "STATUS", "HTTP", "MS", "NO.", "URL"]);
    for item in &items {
        table.row([
            cell(item, "startedAt"),
            cell(item, "id"),
            cell(item, "eventName"),
            status(item),
            outcome(item),
            cell(&item["outcome"], "durationMs"),
            cell(item, "attempt"),
            cell(item, "webhookUrl"),
        ]);
    }
    Ok(table.print("no attempts yet")?)
}

async fn show(args: ShowArgs) -> anyhow::Result<()> {
    let item = args
        .remote
        .connect()?
        .get(&format!("/webhooks/history/{}", segment(&args.id)), &[])
        .await?;
    if args.json {
        return Ok(output::json(&item)?);
    }
    let Value::Object(members) = &item else {
        return Ok(output::json(&item)?);
    };
    for (name, value) in members {
        let text = match value {
            Value::Object(_) | Value::Array(_) => format!("\n{value:#}"),
            _ => cell(&item, name),
        };
        output::line(&format!("{} {text}", output::bold().apply_to(format!("{name}:"))))?;
    }
    Ok(())
}

fn status(item: &Value) -> String {
    let text = cell(item, "status");
    let style = match text.as_str() {
        "success" => output::good(),
        "failing" | "failed" => output::bad(),
        _ => output::dim(),
    };
    style.apply_to(text).to_string()
}

/// The HTTP status, or the kind of error when there was none.
fn outcome(item: &Value) -> String {
    let names = ["httpStatus", "errorKind"];
    names
        .iter()
        .map(|name| cell(&item["outcome"], name))
        .find(|text| text != "-")
        .unwrap_or_else(|| "-".to_owned())
}
