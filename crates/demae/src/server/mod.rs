//! The servers: `demae dev` and `demae serve`.
//!
//! Start: settings, then log, then everything that can clash with another process (the database's lock, the ports), then
//! the database, then the engine, and only then the first request. Stop: on the first signal the process says that it is
//! not ready, takes no more connections, and finishes requests and deliveries side by side within one deadline; what
//! remains is cut off, and its leases are given back. A second signal ends the process at once: what it leased is
//! recovered by the next start.

mod access;
pub(crate) mod admission;
mod banner;
mod bootstrap;
mod descriptors;
mod engine;
mod health;
mod host;
pub(crate) mod http;
pub(crate) mod listener;
pub(crate) mod roles;
pub(crate) mod signals;
mod start_page;
mod watch;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, middleware};
use demae_api::{ApiState, GroupCommit, GroupCommitOptions, Limits, Surface, ingest::Committers};
use demae_delivery::management::{Management, Rules};
use demae_event::{Clock, SystemClock};
use demae_store::{Backend, Store};
use tokio::{net::TcpListener, time::Instant};

use self::{
    admission::ConnectionLimits,
    engine::Engine,
    health::Health,
    host::AllowedHost,
    http::HttpServer,
    roles::{Role, Roles},
    signals::StopSignals,
};
use crate::{
    cli::settings::SettingsArgs,
    config::{DEFAULT_FILE, Mode, Settings},
    data_folder::{self, DatabaseLock},
    database, inbox,
    relay::{Flow, Forwarders},
    sample,
    secret_key::{self, KeyOrigin},
    telemetry::Telemetry,
};

/// The last part of the time for stopping, in which outcomes are recorded, leases released and connections closed.
const CLOSING: Duration = Duration::from_secs(5);
/// Exit code of a process that a second signal ended (128 + SIGINT).
const EXIT_INTERRUPTED: i32 = 130;

/// Connections to the addresses of `ops_listen`. Probes come one at a time.
const OPS_CONNECTIONS: ConnectionLimits = ConnectionLimits {
    connections: 64,
    per_address: 32,
    trusted: Vec::new(),
};

/// Run the same parts for production
///
/// No inbox, and no private address is delivered to unless the settings allow it.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// What this process does: api (requests), relay (events to deliveries, or to the broker), worker (deliveries)
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "api,relay,worker",
        value_name = "ROLES"
    )]
    roles: Vec<Role>,
    /// Print all settings with their meaning and default, and end
    #[arg(long)]
    print_defaults: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Run everything in one process, for a laptop
///
/// SQLite, endpoints on loopback allowed, an inbox at /inbox/{name} that shows what it receives. The first start
/// makes an organization and a token, and prints it.
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Fill the organization with customers, licenses, instances and usage, unless that was done before
    #[arg(long)]
    sample: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// `demae dev`.
pub(crate) async fn dev(args: &DevArgs) -> anyhow::Result<()> {
    let settings = args.settings.load(Mode::Dev)?;
    let server = Server::start(settings, Mode::Dev, Roles::all()).await?;
    if args.sample {
        let page = banner::page(&server.settings).context("there is no address to fill the sample over")?;
        sample::start(&page, &server.settings)?;
    }
    server.run().await
}

/// `demae serve`.
pub(crate) async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    if args.print_defaults {
        print!("{DEFAULT_FILE}");
        return Ok(());
    }
    let roles = Roles::new(&args.roles);
    let settings = args.settings.load(Mode::Serve)?;
    roles.check(&settings)?;
    Server::start(settings, Mode::Serve, roles).await?.run().await
}

/// A running server.
struct Server {
    settings: Settings,
    signals: StopSignals,
    telemetry: Telemetry,
    store: Store,
    health: Health,
    engine: Engine,
    forwarders: Forwarders,
    http: HttpServer,
    /// Serves health and metrics apart from all else.
    ops: HttpServer,
    /// What commits events, in a process that takes requests.
    committers: Option<Committers>,
    /// Let go last.
    _lock: Option<DatabaseLock>,
}

impl Server {
    async fn start(settings: Settings, mode: Mode, roles: Roles) -> anyhow::Result<Self> {
        let began = Instant::now();
        let telemetry = Telemetry::start(&settings)?;
        let signals = StopSignals::listen()?;
        data_folder::prepare(&settings.data_dir)?;
        let lock = settings
            .sqlite_file()
            .map(|file| DatabaseLock::take(&file))
            .transpose()?;
        let listeners = listener::bind(&settings.listen).await?;
        let ops_listeners = listener::bind(&settings.ops_listen).await?;
        let addresses = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<Vec<_>, _>>()?;

        let store = open_store(&settings, mode).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let first_token = bootstrap::ensure(&settings, mode, &store, &*clock).await?;
        let flow = Flow::start(&settings, roles, &store, &clock).await?;
        let engine = Engine::start(&settings, roles, &store, &clock, flow.routed).await?;
        let health = Health::new(store.clone(), telemetry.metrics.clone());
        let (router, committers) = routes(&settings, mode, roles, &store, &clock, health.clone());
        let mut router = router.merge(flow.dapr);
        if mode == Mode::Dev {
            let allowed = AllowedHost::new(settings.public_url.as_ref());
            router = router.layer(middleware::from_fn_with_state(allowed, host::check));
        }
        let router = router.layer(middleware::from_fn(access::record));
        // Before the first answer, so that whoever waits for one finds the token. The ports are open: nobody is refused.
        banner::print(mode, &settings, &addresses, first_token.as_ref());
        let ops = HttpServer::start(ops_listeners, &health.clone().router(), &OPS_CONNECTIONS);
        let http = HttpServer::start(listeners, &router, &connection_limits(&settings));

        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            database = settings.database_label(),
            listen = ?addresses,
            roles = %roles,
            start_ms = began.elapsed().as_millis() as u64,
            "ready"
        );
        Ok(Self {
            settings,
            signals,
            telemetry,
            store,
            health,
            engine,
            forwarders: flow.forwarders,
            http,
            ops,
            committers,
            _lock: lock,
        })
    }

    /// Serves until a signal, then stops in order.
    async fn run(mut self) -> anyhow::Result<()> {
        let signal = self.signals.next().await;
        let limit = self.settings.shutdown_deadline;
        tracing::info!(
            signal,
            deadline_s = limit.as_secs(),
            "stopping; a second signal ends at once"
        );
        let end = Instant::now() + limit;
        self.health.begin_draining();
        let mut signals = self.signals;
        tokio::spawn(async move {
            let signal = signals.next().await;
            tracing::warn!(signal, "ended at once; deliveries under way will be made again");
            std::process::exit(EXIT_INTERRUPTED);
        });

        // Where the limit is short, most of it belongs to requests and attempts.
        let closing = CLOSING.min(limit / 4);
        let (cut_off, recorded) = (end - closing, end - closing / 4);
        let drain_requests = async {
            if !self.http.drain(cut_off).await {
                tracing::warn!("some requests did not end before the deadline and were cut off");
            }
            // The last request has let go of the queue: what is in it is written, then the committers end.
            if let Some(committers) = self.committers {
                committers.finished().await;
            }
        };
        let drain_forwarders = self.forwarders.drain(cut_off);
        let orderly = async {
            tokio::join!(
                drain_requests,
                drain_forwarders,
                self.engine.drain(cut_off, recorded)
            );
            self.ops.drain(Instant::now()).await;
            self.store.close().await;
            self.telemetry.finish().await;
        };
        if tokio::time::timeout_at(end, Box::pin(orderly)).await.is_ok() {
            tracing::info!("stopped");
        } else {
            tracing::warn!(
                "stopped at the deadline with work unfinished; what was accepted is delivered after the next start"
            );
        }
        Ok(())
    }
}

fn connection_limits(settings: &Settings) -> ConnectionLimits {
    ConnectionLimits {
        connections: descriptors::affordable(settings.connections, descriptors::raise()),
        per_address: settings.connections_per_address,
        trusted: settings.trusted_proxies.clone(),
    }
}

async fn open_store(settings: &Settings, mode: Mode) -> anyhow::Result<Store> {
    let (vault, origin) = secret_key::obtain(settings)?;
    if let (Mode::Serve, KeyOrigin::Made(path) | KeyOrigin::File(path)) = (mode, &origin) {
        tracing::warn!(
            file = %path.display(),
            "DEMAE_SECRET_KEY is not set; secrets are sealed with a key file, which every process of this database needs, \
             and a backup of it"
        );
    }
    let store = database::open(settings, vault).await?;
    store
        .migrate()
        .await
        .context("the database could not be migrated")?;
    Ok(store)
}

fn routes(
    settings: &Settings,
    mode: Mode,
    roles: Roles,
    store: &Store,
    clock: &Arc<dyn Clock>,
    health: Health,
) -> (Router, Option<Committers>) {
    let mut router = health.router();
    let mut committers = None;
    if roles.has(Role::Api) {
        let (api, started) = api(settings, store, clock);
        router = router.merge(api);
        committers = Some(started);
    }
    if mode == Mode::Dev {
        let keys = inbox::StoreKeys::new(store.clone());
        router = router
            .merge(inbox::router(keys, clock.clone(), settings.request_body_limit))
            .merge(start_page::router());
    }
    (router, committers)
}

fn api(settings: &Settings, store: &Store, clock: &Arc<dyn Clock>) -> (Router, Committers) {
    let committers = match store.backend() {
        Backend::Sqlite => 1,
        Backend::Postgres => 2,
    };
    let options = GroupCommitOptions {
        committers,
        queue_bytes: usize::try_from(settings.publish_queue_bytes).unwrap_or(usize::MAX),
        ..GroupCommitOptions::default()
    };
    let (events, committers) = GroupCommit::start(store.engine(), options);
    let limits = Limits {
        body_bytes: settings.request_body_limit,
        idempotency_kept: settings.retention.idempotency_keys,
        ..Limits::default()
    };
    let rules = Rules {
        https_only: settings.delivery.https_only,
        endpoints_per_organization: settings.delivery.endpoints_per_organization,
        ..Rules::default()
    };
    let management = Management::new(store.clone(), rules);
    let state = ApiState::new(store.clone(), management, clock.clone(), Arc::new(events), limits);
    (demae_api::router(state, surfaces()), committers)
}

/// The management APIs that this program serves.
fn surfaces() -> Vec<Surface> {
    vec![demae_api_kaiten::surface()]
}
