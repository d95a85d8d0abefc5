//! `demae token`.

use std::time::Duration;

use demae_control_plane::{
    Actor, Change,
    service_accounts::{self, CreateServiceAccount},
    tokens::{self, CreateToken},
};
use demae_event::{Clock as _, OrganizationId, SystemClock};
use demae_store::Store;
use serde_json::{Value, json};

use super::{
    local::{self, every_page, page},
    output::{self, Table, cell},
    settings::SettingsArgs,
};

const SECONDS_PER_DAY: u64 = 86_400;

/// Service accounts and their tokens
///
/// Opens the database itself; a server may be running or not.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    /// Whose [default: the only organization's]
    #[arg(long, global = true, value_name = "ID")]
    organization: Option<OrganizationId>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a token and print it; it is never shown again
    Create(CreateArgs),
    /// All service accounts and their tokens
    List,
    /// End a token at once
    Revoke {
        /// The service account's slug
        account: String,
        /// The token's slug
        token: String,
    },
    /// Make a service account
    CreateAccount {
        /// A name for people
        name: String,
        /// What its tokens may do at most, e.g. read:webhooks,write:customers or write:*
        #[arg(long, value_delimiter = ',', value_name = "SCOPES")]
        scopes: Option<Vec<String>>,
    },
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// A name for people
    name: String,
    /// The slug of the service account it acts for
    #[arg(long, default_value = "administrator", value_name = "SLUG")]
    account: String,
    /// What it may do, e.g. read:webhooks,write:customers [default: what its account may do]
    #[arg(long, value_delimiter = ',', value_name = "SCOPES")]
    scopes: Option<Vec<String>>,
    /// Days until it ends [default: never]
    #[arg(long, value_name = "DAYS")]
    expires_in: Option<u32>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let store = local::open(&args.settings).await?;
    let actor = local::operator(&store, args.organization).await?;
    match args.action {
        Action::Create(create) => create_token(&store, &actor, create, args.json).await?,
        Action::List => list(&store, &actor, args.json).await?,
        Action::Revoke { account, token } => {
            let mut transaction = store.begin().await?;
            let mut change = Change::new(&mut transaction, &actor, SystemClock.now());
            tokens::revoke(&mut change, &account, &token).await?;
            transaction.commit().await?;
            output::line(&format!("{token} is revoked"))?;
        }
        Action::CreateAccount { name, scopes } => {
            let mut transaction = store.begin().await?;
            let input = CreateServiceAccount {
                name,
                scopes,
                ..CreateServiceAccount::default()
            };
            let mut change = Change::new(&mut transaction, &actor, SystemClock.now());
            let account = service_accounts::create(&mut change, input).await?;
            transaction.commit().await?;
            let account = json!(account);
            if args.json {
                output::json(&account)?;
            } else {
                output::line(&cell(&account, "slug"))?;
            }
        }
    }
    store.close().await;
    Ok(())
}

async fn create_token(store: &Store, actor: &Actor, args: CreateArgs, json: bool) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let input = CreateToken {
        name: args.name,
        scopes: args.scopes,
        expires_at: args
            .expires_in
            .map(|days| now + Duration::from_secs(u64::from(days) * SECONDS_PER_DAY)),
        ..CreateToken::default()
    };
    let mut transaction = store.begin().await?;
    let mut change = Change::new(&mut transaction, actor, now);
    let token = tokens::create(&mut change, &args.account, input).await?;
    transaction.commit().await?;
    if json {
        output::json(&json!(token))?;
    } else {
        output::line(token.token.as_str())?;
        output::remark("it is shown only now");
    }
    Ok(())
}

async fn list(store: &Store, actor: &Actor, json: bool) -> anyhow::Result<()> {
    let accounts = every_page!(after => service_accounts::list(store, actor, page(after)));
    let mut found: Vec<Value> = Vec::with_capacity(accounts.len());
    for account in accounts {
        let mut account = json!(account);
        let slug = cell(&account, "slug");
        account["tokens"] = json!(every_page!(after => tokens::list(store, actor, &slug, page(after))));
        found.push(account);
    }
    if json {
        return Ok(output::json(&found.into())?);
    }
    let mut table = Table::new(&["ACCOUNT", "TOKEN", "SCOPES", "CREATED", "EXPIRES", "REVOKED"]);
    for account in &found {
        let tokens = account["tokens"].as_array().map_or(&[][..], Vec::as_slice);
        if tokens.is_empty() {
            table.row(
                [cell(account, "slug")]
                    .into_iter()
                    .chain(std::iter::repeat_n("-".to_owned(), 5)),
            );
        }
        for token in tokens {
            let cells =
                ["slug", "scopes", "createdAt", "expiresAt", "revokedAt"].map(|name| cell(token, name));
            table.row([cell(account, "slug")].into_iter().chain(cells));
        }
    }
    Ok(table.print("no service accounts yet")?)
}
