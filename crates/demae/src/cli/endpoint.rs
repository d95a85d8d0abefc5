//! `demae endpoint`.

use serde_json::{Map, Value, json};

use super::{
    output::{self, Table, cell},
    remote::{Remote, RemoteArgs, segment},
};

/// Most endpoints that a list shows.
const LIST_LIMIT: usize = 10_000;

/// Webhook endpoints
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// All endpoints
    List,
    /// One endpoint
    Show {
        /// Endpoint id (ep_…)
        id: String,
    },
    /// Make an endpoint and print its signing secret
    Create(CreateArgs),
    /// Deliver to it again
    Enable {
        /// Endpoint id (ep_…)
        id: String,
    },
    /// Stop delivering to it
    Disable {
        /// Endpoint id (ep_…)
        id: String,
    },
    /// Delete it; its history stays
    Delete {
        /// Endpoint id (ep_…)
        id: String,
    },
    /// Send an example of an event to it alone
    Test {
        /// Endpoint id (ep_…)
        id: String,
        /// Event name
        #[arg(long, default_value = "CUSTOMER_CREATION")]
        event: String,
    },
    /// Print its signing secret
    Secret {
        /// Endpoint id (ep_…)
        id: String,
    },
    /// Give it a new signing secret; for a while both sign
    Rotate {
        /// Endpoint id (ep_…)
        id: String,
    },
    /// How its deliveries went
    Stats {
        /// Endpoint id (ep_…)
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Where deliveries go
    endpoint_url: String,
    /// Event names, separated by commas; * for all
    #[arg(long, value_delimiter = ',', default_value = "*")]
    events: Vec<String>,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    /// Most deliveries per second
    #[arg(long, value_name = "COUNT")]
    rate_limit: Option<u32>,
    /// For a whole exchange
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let remote = args.remote.connect()?;
    if let Action::List = args.action {
        let items = remote.list("/webhooks", &[], LIST_LIMIT).await?;
        return if args.json {
            Ok(output::json(&items.into())?)
        } else {
            print_list(&items)
        };
    }
    let answer = act(&remote, &args.action).await?;
    if args.json {
        return Ok(output::json(&answer)?);
    }
    match args.action {
        Action::Enable { id } => output::line(&format!("{id} is enabled"))?,
        Action::Disable { id } => output::line(&format!("{id} is disabled"))?,
        Action::Delete { id } => output::line(&format!("{id} is deleted"))?,
        Action::Secret { .. } | Action::Rotate { .. } => output::line(&cell(&answer, "secret"))?,
        Action::Test { id, .. } => {
            output::line(&format!("sent to {id}"))?;
            output::remark(&format!("see `demae history list --endpoint {id}`"));
        }
        Action::List | Action::Show { .. } | Action::Create(_) | Action::Stats { .. } => {
            print_members(&answer)?;
        }
    }
    Ok(())
}

async fn act(remote: &Remote, action: &Action) -> anyhow::Result<Value> {
    let path = |id: &str, rest: &str| format!("/webhooks/{}{rest}", segment(id));
    match action {
        Action::List => Ok(Value::Null),
        Action::Show { id } => remote.get(&path(id, ""), &[]).await,
        Action::Create(args) => remote.post("/webhooks", &creation(args)).await,
        Action::Enable { id } => remote.patch(&path(id, ""), &json!({ "enabled": true })).await,
        Action::Disable { id } => remote.patch(&path(id, ""), &json!({ "enabled": false })).await,
        Action::Delete { id } => remote.delete(&path(id, "")).await,
        Action::Test { id, event } => {
            remote
                .post(&path(id, "/test"), &json!({ "eventName": event }))
                .await
        }
        Action::Secret { id } => remote.get(&path(id, "/secret"), &[]).await,
        Action::Rotate { id } => remote.post(&path(id, "/secret/rotate"), &json!({})).await,
        Action::Stats { id } => remote.get(&path(id, "/stats"), &[]).await,
    }
}

fn creation(args: &CreateArgs) -> Value {
    let mut body = Map::new();
    body.insert("url".to_owned(), args.endpoint_url.as_str().into());
    body.insert("eventNames".to_owned(), args.events.clone().into());
    let optional = [
        ("name", args.name.as_deref().map(Value::from)),
        ("rateLimit", args.rate_limit.map(Value::from)),
        ("timeoutSeconds", args.timeout.map(Value::from)),
    ];
    body.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?))),
    );
    Value::Object(body)
}

fn print_list(items: &[Value]) -> anyhow::Result<()> {
    let mut table = Table::new(&["ENDPOINT", "ENABLED", "EVENTS", "NAME", "URL"]);
    for item in items {
        // Left out when it is true.
        let enabled = if item["enabled"] == false { "no" } else { "yes" };
        let [id, events, name, url] = ["id", "eventNames", "name", "url"].map(|name| cell(item, name));
        table.row([id, enabled.to_owned(), events, name, url]);
    }
    Ok(table.print("no endpoints yet; make one with `demae endpoint create URL`")?)
}

fn print_members(answer: &Value) -> anyhow::Result<()> {
    for name in answer.as_object().into_iter().flat_map(Map::keys) {
        output::line(&format!(
            "{} {}",
            output::bold().apply_to(format!("{name}:")),
            cell(answer, name)
        ))?;
    }
    Ok(())
}
