//! `demae org`.

use demae_control_plane::organizations::{self, CreateOrganization};
use demae_event::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::{
    local::{self, every_page, page},
    output::{self, Table, cell},
    settings::SettingsArgs,
};

/// Organizations
///
/// Opens the database itself; a server may be running or not.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make an organization, with a service account and a token that may do everything in it
    Create {
        /// A name for people
        name: String,
        /// The id that an identity provider knows it by
        #[arg(long, value_name = "ID")]
        external_id: Option<String>,
    },
    /// All organizations
    List,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let store = local::open(&args.settings).await?;
    match args.action {
        Action::Create { name, external_id } => {
            let mut transaction = store.begin().await?;
            let input = CreateOrganization { name, external_id };
            let new = organizations::create(&mut transaction, input, SystemClock.now()).await?;
            transaction.commit().await?;
            if args.json {
                let mut answer = serde_json::to_value(&new.organization)?;
                answer["service_account"] = new.service_account.into();
                answer["token"] = new.token.as_str().into();
                output::json(&answer)?;
            } else {
                output::line(&format!(
                    "organization {}\ntoken {}",
                    new.organization.id,
                    new.token.as_str()
                ))?;
                output::remark("the token is shown only now");
            }
        }
        Action::List => {
            let items = every_page!(after => organizations::list(&store, page(after)));
            let items: Vec<Value> = items.iter().map(|item| json!(item)).collect();
            if args.json {
                output::json(&items.into())?;
            } else {
                let mut table = Table::new(&["ORGANIZATION", "NAME", "EXTERNAL ID", "CREATED"]);
                for item in &items {
                    table.row(["id", "name", "external_id", "created_at"].map(|name| cell(item, name)));
                }
                table.print("no organizations yet")?;
            }
        }
    }
    store.close().await;
    Ok(())
}
