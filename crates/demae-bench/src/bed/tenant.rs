//! A second organization on the measured server: the others whose load must not be felt.

use anyhow::{Context as _, Result, bail};
use demae_testkit::process::DemaeCommand;
use serde_json::Value;

use super::{Bed, SECRET_KEY, client::Client, webhook};
use crate::driver::{Pace, Plan};

/// An organization with webhooks and events of its own.
#[derive(Debug)]
pub(crate) struct Tenant {
    client: Client,
    token: String,
}

impl Tenant {
    /// Makes one, with the command line, as an operator does.
    pub(crate) async fn create(bed: &Bed) -> Result<Self> {
        let command = DemaeCommand::new("org")?
            .argument("create")
            .argument("another")
            .argument("--json")
            .setting("DEMAE_DATA_DIR", bed.command.data_folder().display().to_string())
            .setting("DEMAE_SECRET_KEY", SECRET_KEY);
        let command = match bed.database.url() {
            Some(url) => command.setting("DEMAE_DATABASE_URL", url),
            None => command,
        };
        if !command.spawn()?.wait().await?.success() {
            bail!("no second organization: {}", command.stderr()?);
        }
        let answer: Value = serde_json::from_str(&command.stdout()?)?;
        let token = answer["token"].as_str().context("no token")?.to_owned();
        Ok(Self {
            client: Client::new(&token),
            token,
        })
    }

    /// Creates a webhook of this organization at a path of the receiver.
    pub(crate) async fn create_endpoint(&self, bed: &Bed, path: &str, name: &str) -> Result<()> {
        let url = format!("http://{}{path}", bed.receiver.address());
        let webhooks = format!("{}/api/webhooks", bed.command.base_url());
        self.client.post(&webhooks, &webhook(&url, name)).await?;
        Ok(())
    }

    /// A plan to post this organization's events.
    pub(crate) fn plan(&self, bed: &Bed, names: &[&str], pace: Pace) -> Plan {
        Plan {
            token: Some(self.token.clone()),
            ..bed.plan(names, pace)
        }
    }
}
