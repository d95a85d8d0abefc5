//! `demae dev --sample`: an organization with something in it.
//!
//! The sample is a list of ordinary requests ([`story.json`](story.json)), made against the running server over HTTP with
//! the organization's token, so that everything follows from them as it would for an application: rules, events,
//! deliveries, history, audit trail. It is made once. What is there already is left as it is, so that a second
//! start, or a start after an interrupted one, makes what is missing and reports no usage twice.
//!
//! In the bodies an object `{"$id": "/customers/harbour-freight"}` stands for the id of what an earlier request made or
//! found there.

mod story;

use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use self::story::{Ids, Step};
use crate::{
    cli::{output, remote::Remote},
    config::Settings,
    dev_token,
};

/// The last thing that is made: where it is, everything is.
const LAST: &str = "/feature-flags/express-checkout";

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    /// So many requests were made.
    Now(usize),
    /// The sample was there already.
    Before,
}

/// Fills the organization of `demae dev` in the background, and says how it went.
pub(crate) fn start(page: &str, settings: &Settings) -> anyhow::Result<()> {
    let token = match &settings.bootstrap_token {
        Some(token) => token.clone(),
        None => dev_token::read(&settings.data_dir)?.with_context(|| {
            format!(
                "no token for the sample\nset DEMAE_BOOTSTRAP_TOKEN, or begin with an empty {}",
                settings.data_dir.display()
            )
        })?,
    };
    let remote = Remote::new(page.parse().context("the server's own address")?, token);
    let inbox = format!("{page}/inbox/sample");
    tokio::spawn(async move {
        let text = match fill(&remote, &inbox).await {
            Ok(Filled::Now(requests)) => format!("Sample: made with {requests} requests; see {inbox}"),
            Ok(Filled::Before) => format!("Sample: it is there; see {inbox}"),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "the sample is not complete; another start goes on with it");
                return;
            }
        };
        // A closed standard output is no reason not to serve.
        let _ = output::line(&text);
    });
    Ok(())
}

/// Makes the sample's requests, with an endpoint at `inbox` that hears of everything.
async fn fill(remote: &Remote, inbox: &str) -> anyhow::Result<Filled> {
    if remote.find(LAST).await?.is_some() {
        return Ok(Filled::Before);
    }
    make_endpoint(remote, inbox).await?;
    let steps = story::steps();
    let bar = ProgressBar::new(steps.len() as u64)
        .with_message("filling the sample")
        .with_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}")?);
    bar.enable_steady_tick(TICK);
    let mut ids = Ids::default();
    for step in &steps {
        make(remote, step, &mut ids)
            .await
            .with_context(|| format!("the sample stopped at {} {}", step.method, step.path))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Filled::Now(steps.len()))
}

/// One endpoint of ours is enough, however often the server starts.
async fn make_endpoint(remote: &Remote, inbox: &str) -> anyhow::Result<()> {
    let endpoints = remote.list("/webhooks", &[], 200).await?;
    if endpoints.iter().any(|endpoint| endpoint["url"] == inbox) {
        return Ok(());
    }
    let endpoint =
        json!({"url": inbox, "eventNames": ["*"], "name": "Inbox", "description": "The built-in inbox."});
    remote.post("/webhooks", &endpoint).await?;
    Ok(())
}

async fn make(remote: &Remote, step: &Step, ids: &mut Ids) -> anyhow::Result<()> {
    let body = ids.resolve(&step.body)?;
    let Some(place) = step.place() else {
        return change(remote, step, &body).await;
    };
    let made = match remote.find(&place).await? {
        Some(found) => found,
        None => remote.post(&step.path, &body).await?,
    };
    if let Some(id) = made["id"].as_str() {
        ids.remember(place, id);
    }
    Ok(())
}

/// Changes something that exists. A report's key is its place in the story, so that a start after an interrupted one does
/// not report it again.
async fn change(remote: &Remote, step: &Step, body: &Value) -> anyhow::Result<()> {
    if step.method == Method::PUT {
        remote.put(&step.path, body).await?;
    } else {
        let key = format!("sample-{}", step.number);
        remote.post_once(&step.path, body, &key).await?;
    }
    Ok(())
}
