//! What the hostile campaign plays on: one process of Demae with all roles, its database, and two organizations in it.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{
    super::{
        books::Books,
        stage::{Logs, make_endpoints},
        until::until,
        way::PATHS,
    },
    options::{Database, Options},
};
use crate::{
    api::Api,
    postgres::{Durability, PrivatePostgres},
    process::{DemaeCommand, DemaeProcess},
};

/// How long the bystander's last retries may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// The hostile tenant's own address. The bystander's is 127.0.0.1, strangers have all between.
const HOSTILE_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 251));

/// An organization and its token.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    pub(super) organization: String,
    token: String,
}

/// Everything that runs.
pub(super) struct Stage {
    binary: PathBuf,
    command: DemaeCommand,
    process: DemaeProcess,
    /// For those who write in SQL.
    pub(super) url: String,
    pub(super) bystander: Tenant,
    pub(super) hostile: Tenant,
    /// Kept running.
    _postgres: Option<Arc<PrivatePostgres>>,
}

impl Stage {
    pub(super) async fn start(options: &Options, books: &Books) -> Result<Self> {
        let mut command = DemaeCommand::of(&options.binary, "serve")?
            .setting("DEMAE_ALLOW_PRIVATE_ENDPOINTS", "127.0.0.0/8")
            .setting("DEMAE_RETRY_SCHEDULE", "0,1,1,2,2,4")
            .setting("DEMAE_SHUTDOWN_DEADLINE", "10s")
            .setting("DEMAE_LOG", "info,sea_orm_migration=warn");
        let mut postgres = None;
        let url = if options.database == Database::Sqlite {
            format!("sqlite:{}", command.data_folder().join("demae.db").display())
        } else {
            let server = PrivatePostgres::start(Durability::Full).await?;
            let url = server.create_database().await?;
            postgres = Some(Arc::new(server));
            url
        };
        command = command.setting("DEMAE_DATABASE_URL", &url);
        if options.database == Database::PostgresWal {
            command = command.setting("DEMAE_OUTBOX_SOURCE", "wal");
        }
        let process = command.start().await?;
        let program = Program {
            binary: &options.binary,
            server: &command,
            url: &url,
        };
        let stage = Self {
            bystander: make_tenant(&program, "Bystander").await?,
            hostile: make_tenant(&program, "Hostile").await?,
            binary: options.binary.clone(),
            command,
            process,
            url,
            _postgres: postgres,
        };
        make_endpoints(&stage.bystanders_api(), books).await?;
        Ok(stage)
    }

    /// Where the program listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.command.address()
    }

    /// `http://127.0.0.1:port`
    pub(super) fn base_url(&self) -> String {
        self.command.base_url()
    }

    /// A way of the bystander's, with connections of its own.
    pub(super) fn bystanders_api(&self) -> Api {
        Api::new(self.command.base_url(), &self.bystander.token)
    }

    /// A way of the hostile tenant's, with connections of its own, from an address of its own.
    pub(super) fn hostile_api(&self) -> Api {
        Api::from_address(HOSTILE_ADDRESS, self.command.base_url(), &self.hostile.token)
    }

    /// The hostile tenant's token.
    pub(super) fn hostile_token(&self) -> &str {
        &self.hostile.token
    }

    pub(super) fn logs(&self) -> Logs {
        Logs::of("demae", &self.command)
    }

    /// Waits for something, unless the program ends, or the books show what must never happen.
    pub(super) async fn meanwhile<T>(&mut self, books: &Books, what: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            done = what => Ok(done),
            fault = books.fault() => Err(fault),
            ended = self.process.ended() => bail!("the program ended by itself: {}", ended?),
        }
    }

    /// Waits until nothing of the bystander's is planned or in flight, and all of it has succeeded.
    pub(super) async fn settle(&self) -> Result<()> {
        let api = self.bystanders_api();
        let webhooks = api.get("/api/webhooks").await;
        let webhooks = webhooks["items"].as_array().context("no list of webhooks")?;
        ensure!(
            webhooks.len() == PATHS.len(),
            "the bystander's webhooks: {webhooks:?}"
        );
        for webhook in webhooks {
            let path = format!(
                "/api/webhooks/{}/stats",
                webhook["id"].as_str().unwrap_or_default()
            );
            until(
                PATIENCE,
                "the bystander's deliveries have succeeded",
                async || {
                    let stats = api.get(&path).await;
                    ensure!(stats["failed"] == 0 && stats["canceled"] == 0, "{stats}");
                    let open = stats["waiting"] != 0 || stats["sending"] != 0;
                    Ok(if open { Err(stats.to_string()) } else { Ok(()) })
                },
            )
            .await?;
        }
        Ok(())
    }

    /// The newest dead letters, as an operator lists them.
    pub(super) async fn dead_letters(&self, limit: usize) -> Result<Value> {
        let program = Program {
            binary: &self.binary,
            server: &self.command,
            url: &self.url,
        };
        let limit = limit.to_string();
        program.answer(&["dead-letters", "list", "--limit", &limit]).await
    }

    /// The most memory that the program had so far, in bytes.
    pub(super) fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line
            .and_then(|line| line.trim().strip_suffix("kB"))
            .context("no VmHWM")?;
        Ok(kilobytes.trim().parse::<u64>()? * 1_024)
    }

    /// Ends the program in order.
    pub(super) async fn end(self) -> Result<()> {
        let ended = self.process.terminate().await?;
        ensure!(ended.success(), "the program ended with {ended} after SIGTERM");
        Ok(())
    }
}

/// Makes an organization as an operator does, while the program runs.
async fn make_tenant(program: &Program<'_>, name: &str) -> Result<Tenant> {
    let made = program.answer(&["org", "create", name]).await?;
    let text = |name: &str| Some(made[name].as_str()?.to_owned());
    Ok(Tenant {
        organization: text("id").context("no id")?,
        token: text("token").context("no token")?,
    })
}

/// The program as an operator calls it beside the server.
struct Program<'a> {
    binary: &'a Path,
    server: &'a DemaeCommand,
    url: &'a str,
}

impl Program<'_> {
    /// Runs a command, which must succeed; what it printed.
    async fn answer(&self, words: &[&str]) -> Result<Value> {
        let (first, rest) = words.split_first().context("no command")?;
        let mut command = DemaeCommand::of(self.binary, first)?
            .setting("DEMAE_DATABASE_URL", self.url)
            .setting("DEMAE_DATA_DIR", self.server.data_folder().display().to_string());
        for word in rest.iter().chain(&["--json"]) {
            command = command.argument(*word);
        }
        let ended = command.spawn()?.wait().await?;
        ensure!(ended.success(), "{words:?}: {}", command.stderr()?);
        Ok(serde_json::from_str(&command.stdout()?)?)
    }
}
