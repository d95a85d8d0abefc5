//! The settings.
//!
//! `demae.default.toml` is compiled in and is both their documentation and their defaults. Over it come a settings
//! file, variables and flags (see [`source`]). [`Settings::load`] promises: either every setting is usable and their
//! relations hold, or **all** faults are told at once, each with the setting's name, where the value came from and what
//! to do. `Debug` shows no secret.
//!
//! Nothing here reads the process's environment except [`Sources::from_process`].

mod authorities;
mod broker;
mod capture;
mod fault;
mod parse;
mod reader;
mod secret;
mod source;
mod svix;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use demae_control_plane::token::TokenText;
use demae_delivery::{
    engine::MIN_LEASE,
    policy::{MAX_STEPS, MAX_WAIT},
};
use demae_store::{engine::PAYLOAD_LIMIT, vault::MAX_PREVIOUS_KEYS};
use ipnet::IpNet;
use url::Url;

pub(crate) use self::{
    authorities::Authorities,
    broker::BrokerSettings,
    capture::{CaptureSettings, OutboxReading, slot_name},
    fault::{Fault, Faults},
    secret::Secret,
    source::{DEFAULT_FILE, Sources},
    svix::SvixSettings,
};
use self::{
    parse::{address, boolean, database_url, duration, http_url, network, number},
    reader::{Problem, Reader},
};

/// The least for a bound of bytes in memory: of what is as large as a request may be, some must fit.
const MIN_QUEUE_BYTES: u64 = 4 * 1024 * 1024;

/// Which command the settings are for: they differ in what is allowed by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A laptop: endpoints on loopback are allowed.
    Dev,
    /// Production.
    Serve,
}

/// All settings, usable.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where Demae keeps its files.
    pub(crate) data_dir: PathBuf,
    /// The database.
    pub(crate) database: DatabaseSettings,
    /// Certificate authorities that every client of this process trusts besides the public ones.
    pub(crate) authorities: Option<Authorities>,
    /// At least one.
    pub(crate) listen: Vec<SocketAddr>,
    /// For health and metrics alone.
    pub(crate) ops_listen: Vec<SocketAddr>,
    /// How clients reach this server.
    pub(crate) public_url: Option<Url>,
    /// Open at once.
    pub(crate) connections: usize,
    /// Open at once from one address.
    pub(crate) connections_per_address: usize,
    /// Addresses that speak for many clients.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Bytes.
    pub(crate) request_body_limit: usize,
    /// Bytes of published events that wait to be written.
    pub(crate) publish_queue_bytes: u64,
    /// From the signal to the end.
    pub(crate) shutdown_deadline: Duration,
    /// The first organization's token.
    pub(crate) bootstrap_token: Option<Secret>,
    /// `None`: a key file in the data folder.
    pub(crate) secret_key: Option<Secret>,
    /// Open stored secrets besides `secret_key`, while it is exchanged.
    pub(crate) previous_secret_keys: Vec<Secret>,
    /// Where events come from.
    pub(crate) capture: CaptureSettings,
    /// What is between relay and workers, if anything is.
    pub(crate) broker: Option<BrokerSettings>,
    /// How deliveries are made.
    pub(crate) delivery: DeliverySettings,
    /// Who delivers instead, if somebody does.
    pub(crate) svix: Option<SvixSettings>,
    /// What a Dapr sidecar must show; without it there are no routes for one.
    pub(crate) dapr_app_token: Option<Secret>,
    /// How long things are kept.
    pub(crate) retention: RetentionSettings,
    /// The log.
    pub(crate) log: LogSettings,
    /// Whether `/metrics` is served.
    pub(crate) metrics: bool,
    /// Where traces go.
    pub(crate) otlp_endpoint: Option<Url>,
}

/// The database.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseSettings {
    /// May hold a password.
    pub(crate) url: Secret,
    /// For requests (Postgres).
    pub(crate) connections: u32,
    /// For the delivery engine (Postgres).
    pub(crate) engine_connections: u32,
}

/// How deliveries are made.
#[derive(Debug, Clone)]
pub(crate) struct DeliverySettings {
    /// Networks that may be reached although they are not public.
    pub(crate) allowed_networks: Vec<IpNet>,
    /// Refuse `http` endpoints.
    pub(crate) https_only: bool,
    /// Endpoints that an organization may have.
    pub(crate) endpoints_per_organization: u32,
    /// Waits before the second, third, … attempt.
    pub(crate) retry_schedule: Vec<Duration>,
    /// How long an attempt belongs to one worker.
    pub(crate) lease: Duration,
    /// Deliveries under way in this process.
    pub(crate) concurrency: usize,
    /// Deliveries in memory that have not been begun.
    pub(crate) queued: usize,
    /// Bytes of deliveries in memory.
    pub(crate) queued_bytes: u64,
    /// Nothing but failure for so long disables an endpoint.
    pub(crate) disable_after: Duration,
}

/// How long finished work is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetentionSettings {
    /// The history.
    pub(crate) attempts: Duration,
    /// Routed events.
    pub(crate) messages: Duration,
    /// What they carry; as long as they are kept if left out.
    pub(crate) payloads: Option<Duration>,
    /// Answers to repeated requests.
    pub(crate) idempotency_keys: Duration,
    /// What could not become an event.
    pub(crate) rejected: Duration,
    /// Who did what.
    pub(crate) audit: Duration,
}

/// The log.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    /// `info,demae::access=debug`.
    pub(crate) filter: String,
    /// How lines look.
    pub(crate) format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// Reads all settings, or tells everything that is wrong with them.
    pub(crate) fn load(sources: &Sources, mode: Mode) -> Result<Self, Faults> {
        let (figment, unknown) = sources.merge();
        let mut reader = Reader::new(figment, unknown);
        let settings = read(&mut reader, mode, sources);
        check_relations(&mut reader, &settings);
        refuse_reserved(&mut reader);
        reader.finish().map(|()| settings)
    }

    /// The SQLite database's file, if the database is one.
    pub(crate) fn sqlite_file(&self) -> Option<PathBuf> {
        let rest = self.database.url.expose().strip_prefix("sqlite:")?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        Some(PathBuf::from(path.split('?').next().unwrap_or(path)))
    }

    /// The database without its password, for messages.
    pub(crate) fn database_label(&self) -> String {
        match Url::parse(self.database.url.expose()) {
            Ok(url) if url.has_host() => {
                let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
                format!(
                    "{}://{}{port}{}",
                    url.scheme(),
                    url.host_str().unwrap_or_default(),
                    url.path()
                )
            }
            _ => self
                .sqlite_file()
                .map_or_else(String::new, |file| format!("sqlite:{}", file.display())),
        }
    }
}

fn read(reader: &mut Reader, mode: Mode, sources: &Sources) -> Settings {
    let data_dir = PathBuf::from(reader.one("data_dir", |text| Ok(text.to_owned())));
    let authorities = reader.optional("extra_ca_file", authorities::authorities);
    let trusted = authorities.as_ref();
    Settings {
        database: read_database(reader, &data_dir),
        listen: reader.list("listen", address),
        ops_listen: reader.list("ops_listen", address),
        public_url: reader.optional("public_url", http_url),
        connections: reader.one("connections", number(1, 1_000_000)),
        connections_per_address: reader.one("connections_per_address", number(1, 1_000_000)),
        trusted_proxies: reader.list("trusted_proxies", network),
        request_body_limit: reader.one("request_body_limit", number(1_024, PAYLOAD_LIMIT)),
        publish_queue_bytes: reader.one("publish_queue_bytes", number(MIN_QUEUE_BYTES, u32::MAX.into())),
        shutdown_deadline: reader.one("shutdown_deadline", duration),
        bootstrap_token: reader.optional("bootstrap_token", bootstrap_token),
        secret_key: reader.optional("secret_key", secret_key),
        previous_secret_keys: reader.list("previous_secret_keys", secret_key),
        capture: capture::read(reader, &|name| sources.variable(name), trusted),
        broker: broker::read(reader, trusted),
        delivery: read_delivery(reader, mode),
        svix: svix::read(reader, trusted),
        dapr_app_token: reader.optional("dapr_app_token", app_token),
        retention: RetentionSettings {
            attempts: reader.one("retention_attempts", duration),
            messages: reader.one("retention_messages", duration),
            payloads: reader.optional("retention_payloads", duration),
            idempotency_keys: reader.one("retention_idempotency_keys", duration),
            rejected: reader.one("retention_rejected", duration),
            audit: reader.one("retention_audit", duration),
        },
        log: LogSettings {
            filter: reader.one("log", log_filter),
            format: reader.one("log_format", log_format),
        },
        metrics: reader.one("metrics", boolean),
        otlp_endpoint: reader.optional("otlp_endpoint", http_url),
        authorities,
        data_dir,
    }
}

fn read_database(reader: &mut Reader, data_dir: &std::path::Path) -> DatabaseSettings {
    let url = reader
        .optional("database_url", database_url)
        .unwrap_or_else(|| format!("sqlite:{}", data_dir.join("demae.db").display()));
    DatabaseSettings {
        url: Secret::new(url),
        connections: reader.one("database_connections", number(1, 1_000)),
        engine_connections: reader.one("database_engine_connections", number(1, 1_000)),
    }
}

fn read_delivery(reader: &mut Reader, mode: Mode) -> DeliverySettings {
    let mut allowed_networks = reader.list("allow_private_endpoints", network);
    if mode == Mode::Dev {
        let loopback: [IpNet; 2] = [
            IpNet::V4(ipnet::Ipv4Net::new_assert(
                std::net::Ipv4Addr::new(127, 0, 0, 0),
                8,
            )),
            IpNet::V6(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128)),
        ];
        allowed_networks.extend(loopback);
    }
    DeliverySettings {
        allowed_networks,
        https_only: reader.one("https_only", boolean),
        endpoints_per_organization: reader.one("endpoints_per_organization", number(1, 100_000)),
        retry_schedule: reader
            .list("retry_schedule", number(0, MAX_WAIT.as_secs()))
            .into_iter()
            .map(Duration::from_secs)
            .collect(),
        lease: reader.one("lease", duration),
        concurrency: reader.one("concurrency", number(1, 100_000)),
        queued: reader.one("queued_deliveries", number(1, 10_000_000)),
        queued_bytes: reader.one("queued_delivery_bytes", number(MIN_QUEUE_BYTES, 1 << 40)),
        disable_after: reader.one("disable_after", duration),
    }
}

fn check_relations(reader: &mut Reader, settings: &Settings) {
    reader.require(
        "listen",
        &[],
        !settings.listen.is_empty(),
        "there is no address to listen on",
        "name at least one, e.g. 127.0.0.1:6060",
    );
    reader.require(
        "previous_secret_keys",
        &["secret_key"],
        settings.previous_secret_keys.is_empty() || settings.secret_key.is_some(),
        "there are previous keys and no secret_key",
        "set secret_key to the new key; previous keys of the key file are lines of that file",
    );
    reader.require(
        "previous_secret_keys",
        &[],
        settings.previous_secret_keys.len() <= MAX_PREVIOUS_KEYS,
        format!("it has {} keys", settings.previous_secret_keys.len()),
        format!("name at most {MAX_PREVIOUS_KEYS}; finish an exchange with `demae secret-key rotate` first"),
    );
    let delivery = &settings.delivery;
    reader.require(
        "lease",
        &[],
        delivery.lease >= MIN_LEASE,
        format!(
            "{} s is too short for an exchange and its record",
            delivery.lease.as_secs()
        ),
        format!("set it to at least {}s", MIN_LEASE.as_secs()),
    );
    reader.require(
        "retry_schedule",
        &[],
        delivery.retry_schedule.len() <= MAX_STEPS,
        format!("it has {} waits", delivery.retry_schedule.len()),
        format!("name at most {MAX_STEPS}"),
    );
    reader.require(
        "outbox_source",
        &["database_url"],
        settings.capture.outbox == OutboxReading::Poll || settings.sqlite_file().is_none(),
        "SQLite has no write-ahead log that others can follow",
        "set it to poll, or database_url to a Postgres database",
    );
    reader.require(
        "retention_messages",
        &["retention_attempts"],
        settings.retention.messages >= settings.retention.attempts,
        "messages would be gone before their attempts, and nothing could be sent again",
        "make it at least as long as retention_attempts",
    );
}

fn refuse_reserved(reader: &mut Reader) {
    let empty = reader.text("jwt_secret").is_empty();
    reader.require(
        "jwt_secret",
        &[],
        empty,
        "Svix-style tokens are reserved for a later version and not supported yet",
        "remove the setting",
    );
}

fn bootstrap_token(text: &str) -> Result<Secret, Problem> {
    TokenText::parse(text)
        .map(|token| Secret::new(token.as_str()))
        .map_err(|error| {
            (
                error.to_string(),
                "make one that cannot be guessed: echo ksh_$(openssl rand -hex 24)".to_owned(),
            )
        })
}

/// The text is not repeated.
fn app_token(text: &str) -> Result<Secret, Problem> {
    if text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret::new(text))
    } else {
        Err((
            "it is too short, or holds characters that no header can".to_owned(),
            "write at least 16 random letters and digits, e.g. from `openssl rand -hex 16`".to_owned(),
        ))
    }
}

fn secret_key(text: &str) -> Result<Secret, Problem> {
    match demae_store::Vault::from_text(text) {
        Ok(_) => Ok(Secret::new(text)),
        Err(error) => Err((
            error.to_string(),
            "make one with `openssl rand -base64 32`".to_owned(),
        )),
    }
}

fn log_filter(text: &str) -> Result<String, Problem> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err((
            format!("{text:?} is no log filter: {error}"),
            "write error, warn, info, debug or trace, also per part: info,demae::access=debug".to_owned(),
        )),
    }
}

fn log_format(text: &str) -> Result<LogFormat, Problem> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err((
            format!("{text:?} is no log format"),
            "write text or json".to_owned(),
        )),
    }
}
