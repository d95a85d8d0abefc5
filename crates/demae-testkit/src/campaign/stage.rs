//! What the campaign plays on: Postgres, RabbitMQ, the processes of Demae, and the lines between them.

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::{books::Books, node::Node, options::Options, way::PATHS};
use crate::{
    api::Api,
    postgres::{Durability, PrivatePostgres},
    process::DemaeCommand,
    proxy::FaultProxy,
    rabbitmq::PrivateRabbitMq,
};

/// Of the first organization.
const TOKEN: &str = "ksh_0123456789abcdefghijklmnopqrstuvwxyzABCD";

/// The processes: a name and its roles. The first one takes requests.
const NODES: [(&str, &str); 5] = [
    ("api", "api"),
    ("relay-1", "relay"),
    ("relay-2", "relay"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
];

/// Everything that runs.
pub(super) struct Stage {
    servers: Servers,
    nodes: Vec<Node>,
    commands: Vec<(String, DemaeCommand)>,
    api: String,
    organization: String,
}

/// What is not Demae. Clones share it.
#[derive(Clone)]
pub(super) struct Servers {
    pub(super) postgres: Arc<PrivatePostgres>,
    pub(super) rabbitmq: Option<Arc<PrivateRabbitMq>>,
    /// Straight to the server, for those who write and judge.
    pub(super) database: String,
}

/// Where the processes log.
pub(super) struct Logs(Vec<(String, DemaeCommand)>);

impl Stage {
    pub(super) async fn start(options: &Options, books: &Books) -> Result<Self> {
        let rabbitmq = async {
            anyhow::Ok(if options.broker {
                Some(Arc::new(PrivateRabbitMq::start().await?))
            } else {
                None
            })
        };
        let (postgres, rabbitmq) = tokio::try_join!(PrivatePostgres::start(Durability::Full), rabbitmq)?;
        let database = postgres.create_database().await?;
        let servers = Servers {
            postgres: Arc::new(postgres),
            rabbitmq,
            database,
        };
        let mut nodes = Vec::new();
        let mut commands = Vec::new();
        let mut api = String::new();
        for (number, (name, roles)) in (0..).zip(NODES) {
            let (node, command) = start_node(options, &servers, number, name, roles).await?;
            if roles == "api" {
                api = command.base_url();
                make_endpoints(&Api::new(&api, TOKEN), books).await?;
            }
            nodes.push(node);
            commands.push((name.to_owned(), command));
        }
        let organization = organization(&servers.database).await?;
        Ok(Self {
            servers,
            nodes,
            commands,
            api,
            organization,
        })
    }

    /// A way to the process that takes requests, with connections of its own.
    pub(super) fn api(&self) -> Api {
        Api::new(&self.api, TOKEN)
    }

    pub(super) fn database(&self) -> &str {
        &self.servers.database
    }

    /// The id of the organization that everything belongs to.
    pub(super) fn organization(&self) -> &str {
        &self.organization
    }

    pub(super) fn logs(&self) -> Logs {
        Logs(self.commands.clone())
    }

    pub(super) fn split(self) -> (Vec<Node>, Servers) {
        (self.nodes, self.servers)
    }
}

impl Logs {
    /// Of a single process.
    pub(super) fn of(name: &str, command: &DemaeCommand) -> Self {
        Self(vec![(name.to_owned(), command.clone())])
    }

    /// Copies the logs to a folder that stays; returns it.
    pub(super) fn keep(&self, seed: u64) -> Result<PathBuf> {
        let folder = std::env::temp_dir().join(format!("demae-campaign-{seed}"));
        fs::create_dir_all(&folder)?;
        for (name, command) in &self.0 {
            fs::write(folder.join(name), command.stderr()?)?;
        }
        Ok(folder)
    }
}

async fn start_node(
    options: &Options,
    servers: &Servers,
    number: u64,
    name: &str,
    roles: &str,
) -> Result<(Node, DemaeCommand)> {
    let database_line = FaultProxy::start(servers.postgres.address()).await?;
    let mut command = DemaeCommand::of(&options.binary, "serve")?
        .argument("--roles")
        .argument(roles)
        .setting(
            "DEMAE_DATABASE_URL",
            database_line.in_front_of(&servers.database)?,
        )
        .setting("DEMAE_SECRET_KEY", "a key that all processes need to be told")
        .setting("DEMAE_BOOTSTRAP_TOKEN", TOKEN)
        .setting("DEMAE_ALLOW_PRIVATE_ENDPOINTS", "127.0.0.0/8")
        // Answers that a disaster swallows are failed attempts: enough of them for the longest row of disasters.
        .setting("DEMAE_RETRY_SCHEDULE", "0,0,1,1,1,2,2,2,2,2,2,2")
        .setting("DEMAE_SHUTDOWN_DEADLINE", "10s")
        .setting("DEMAE_LEASE", "60s")
        .setting("DEMAE_LOG", "info,sea_orm_migration=warn");
    if options.wal && roles == "relay" {
        command = command.setting("DEMAE_OUTBOX_SOURCE", "wal");
    }
    let mut broker_line = None;
    if let Some(rabbitmq) = servers.rabbitmq.as_ref().filter(|_| roles != "api") {
        let line = FaultProxy::start(rabbitmq.address()).await?;
        command = command
            .setting("DEMAE_BROKER_URL", line.in_front_of(&rabbitmq.url())?)
            // Few, so that a worker whose database is away has them all in a moment.
            .setting("DEMAE_BROKER_PREFETCH", "64");
        broker_line = Some(line);
    }
    let node = Node::start(
        name.to_owned(),
        number,
        command.clone(),
        database_line,
        broker_line,
    )
    .await?;
    Ok((node, command))
}

/// Makes the endpoints that the books know.
pub(super) async fn make_endpoints(api: &Api, books: &Books) -> Result<()> {
    for path in PATHS {
        let webhook = json!({ "url": books.url(path), "eventNames": ["*"] });
        let answer = api
            .send(http::Method::POST, "/api/webhooks", Some(&webhook), None)
            .await?;
        anyhow::ensure!(answer.status.is_success(), "no webhook: {answer:?}");
    }
    Ok(())
}

async fn organization(database: &str) -> Result<String> {
    let mut connection = PgConnection::connect(database).await?;
    sqlx::query_scalar("SELECT id::text FROM organizations")
        .fetch_one(&mut connection)
        .await
        .context("the first organization")
}
