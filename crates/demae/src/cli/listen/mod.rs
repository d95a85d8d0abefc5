//! `demae listen`: deliveries forwarded to a local URL.
//!
//! It opens a port on this machine, makes a temporary endpoint that leads there, and passes on every delivery with its
//! headers unchanged, so that signatures can be checked by the program that is being developed. The platform hears the
//! status that the program answered, and retries accordingly. The endpoint is deleted at the end; one that was left by
//! a run that could not do so is deleted by the next run on this machine ([`runs`]).

mod runs;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use demae_event::{Clock as _, SystemClock};
use http::{HeaderMap, HeaderName, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};
use url::{Host, Url};

use self::runs::Run;
use super::{
    output::{self, cell, printable},
    remote::{Remote, RemoteArgs, segment},
};
use crate::{
    http_client::HttpClient,
    server::{admission::ConnectionLimits, http::HttpServer, signals::StopSignals},
};

/// How long the local program may take. A little less than the endpoint's timeout, so that the platform hears of it.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(28);
/// For the deliveries under way when it ends.
const DRAIN: Duration = Duration::from_secs(2);
/// Endpoints that are searched for those of earlier runs.
const SEARCHED: usize = 1_000;
/// The member of an endpoint's metadata that holds the ID of the run that created it.
const METADATA: &str = "demaeListen";
/// Headers of a connection, not of the message it carries (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Forward deliveries to a local URL, signatures and all
///
/// Works as it is with `demae dev` on this machine. A server elsewhere cannot reach this machine's loopback: give it a
/// way with --listen-on and --public-url.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where deliveries go on
    #[arg(long, value_name = "URL")]
    forward_to: Url,
    /// Event names, separated by commas; * for all
    #[arg(long, value_delimiter = ',', default_value = "*")]
    events: Vec<String>,
    /// Address to receive deliveries on [default: a free port on loopback]
    #[arg(
        long,
        default_value = "127.0.0.1:0",
        value_name = "ADDRESS",
        hide_default_value = true
    )]
    listen_on: SocketAddr,
    /// How the server reaches that address, if not as it is
    #[arg(long, value_name = "URL")]
    public_url: Option<Url>,
    #[command(flatten)]
    remote: RemoteArgs,
}

struct Forwarder {
    http: HttpClient,
    target: Url,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let remote = args.remote.connect()?;
    if args.public_url.is_none() && args.listen_on.ip().is_loopback() && !is_local(remote.base()) {
        bail!(
            "the server at {} cannot reach this machine's loopback\n\
             listen on an address it can reach: --listen-on 0.0.0.0:7000 --public-url http://this-machine:7000",
            remote.base()
        );
    }
    let mut signals = StopSignals::listen()?;
    let listener = TcpListener::bind(args.listen_on)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen_on))?;
    let address = listener.local_addr()?;
    let folder = runs::folder();
    if let Some(folder) = &folder {
        delete_leftovers(&remote, folder).await?;
    }
    let run = Run::begin(
        folder.as_deref(),
        remote.base(),
        demae_event::id::new_uuid(SystemClock.now()),
    )?;

    let forwarder = Arc::new(Forwarder {
        http: HttpClient::new(),
        target: args.forward_to.clone(),
    });
    let router = Router::new()
        .fallback(forward)
        .layer(DefaultBodyLimit::disable())
        .with_state(forwarder);
    let server = HttpServer::start(vec![listener], &router, &ConnectionLimits::default());
    let endpoint = create_endpoint(&remote, &args, address, &run).await?;
    output::remark(&format!(
        "Forwarding {} to {}\nSigning secret: {}\nCtrl-C ends it and deletes the endpoint {}.",
        args.events.join(", "),
        args.forward_to,
        cell(&endpoint, "secret"),
        cell(&endpoint, "id"),
    ));
    signals.next().await;
    let deleted = remote.delete(&path_of(&endpoint)).await;
    server.drain(Instant::now() + DRAIN).await;
    deleted.context("the temporary endpoint could not be deleted; the next `demae listen` tries again")?;
    run.end().context("the record of this run could not be deleted")
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

async fn create_endpoint(
    remote: &Remote,
    args: &Args,
    address: SocketAddr,
    run: &Run,
) -> anyhow::Result<Value> {
    let url = args
        .public_url
        .as_ref()
        .map_or_else(|| format!("http://{address}/"), Url::to_string);
    let body = json!({
        "url": url,
        "eventNames": args.events,
        "name": "demae listen",
        "metadata": { METADATA: run.id() },
    });
    remote.post("/webhooks", &body).await.context(
        "cannot make the temporary endpoint\n\
         the server must allow it: `demae dev` allows loopback, for `demae serve` set DEMAE_ALLOW_PRIVATE_ENDPOINTS",
    )
}

/// Deletes the endpoints of runs on this machine that were killed.
async fn delete_leftovers(remote: &Remote, folder: &Path) -> anyhow::Result<()> {
    let ended = runs::ended(folder, remote.base()).context("cannot read the records of earlier runs")?;
    if ended.is_empty() {
        return Ok(());
    }
    for endpoint in remote.list("/webhooks", &[], SEARCHED).await? {
        let run = endpoint["metadata"][METADATA].as_str();
        if ended.iter().any(|ended| run == Some(ended.id.as_str())) {
            remote.delete(&path_of(&endpoint)).await?;
        }
    }
    for run in ended {
        run.forget()
            .context("the record of an earlier run could not be deleted")?;
    }
    Ok(())
}

fn path_of(endpoint: &Value) -> String {
    format!(
        "/webhooks/{}",
        segment(endpoint["id"].as_str().unwrap_or_default())
    )
}

async fn forward(State(forwarder): State<Arc<Forwarder>>, request: Request) -> Response {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let label = event_name(&body);
    let answer = forwarder.exchange(head.headers, body).await;
    let (status, text, response) = match answer {
        Ok(response) => {
            let status = response.status();
            (status, status.to_string(), response.map(Body::from))
        }
        Err(error) => {
            let text = format!("{error:#}");
            (
                StatusCode::BAD_GATEWAY,
                text.clone(),
                (StatusCode::BAD_GATEWAY, text).into_response(),
            )
        }
    };
    let style = if status.is_success() {
        output::good()
    } else {
        output::bad()
    };
    let duration = started.elapsed().as_millis();
    let time = SystemClock.now();
    output::remark(&format!(
        "{time}  {label}  {}  {duration} ms",
        style.apply_to(printable(&text))
    ));
    response
}

impl Forwarder {
    async fn exchange(&self, mut headers: HeaderMap, body: Bytes) -> anyhow::Result<http::Response<Bytes>> {
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
        let mut request = http::Request::post(self.target.as_str()).body(body)?;
        *request.headers_mut() = headers;
        let mut response = self.http.send(request, FORWARD_TIMEOUT).await?;
        for name in &HOP_BY_HOP {
            response.headers_mut().remove(name);
        }
        Ok(response)
    }
}

fn event_name(body: &[u8]) -> String {
    let name = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|body| body.get("name").and_then(Value::as_str).map(printable));
    name.unwrap_or_else(|| "(no name)".to_owned())
}
