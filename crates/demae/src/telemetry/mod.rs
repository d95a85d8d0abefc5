//! Logs, metrics and traces: set up once, at the start of a server.
//!
//! The log goes to standard error. Grammar: a message in plain words, facts in fields. Payloads, tokens and secrets
//! are in none of the three.

mod layer;
#[cfg(feature = "otlp")]
mod otlp;

use std::{io::IsTerminal as _, time::Duration};

use anyhow::Context as _;
use http::HeaderMap;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Span;
use tracing_subscriber::{
    EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use self::layer::BoxedLayer;
use crate::config::{LogFormat, LogSettings, Settings};

/// Upper bounds of latency buckets, in seconds: fine around the targets (2 and 5 ms), coarse up to the longest
/// exchange and the first retries.
const LATENCY_BUCKETS: [f64; 16] = [
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0,
];

/// How often the exporter folds fresh samples into its histograms.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What is not logged unless the setting asks for it by name: what these libraries complain of is told once more, with its
/// meaning, by whoever uses them, and the broker's client shows the content of messages.
const HUSHED: &str = "lapin=off,sqlx::postgres::notice=off,sqlx_core::pool=error";

/// The setting, with the libraries hushed that it does not name: of two directives for one target the later one holds.
fn filter(setting: &str) -> anyhow::Result<EnvFilter> {
    Ok(EnvFilter::try_new(format!("{HUSHED},{setting}"))?)
}

/// What must be kept while the server runs, and finished at its end.
pub(crate) struct Telemetry {
    /// For `/metrics`; `None` if metrics are off.
    pub(crate) metrics: Option<PrometheusHandle>,
    #[cfg(feature = "otlp")]
    traces: Option<otlp::Traces>,
}

impl Telemetry {
    /// Sets up all three. Must be called within a tokio runtime, and once in a process.
    pub(crate) fn start(settings: &Settings) -> anyhow::Result<Self> {
        let filter = filter(&settings.log.filter)?;
        let mut layers: Vec<BoxedLayer> = vec![log_layer(&settings.log).with_filter(filter).boxed()];
        #[cfg(feature = "otlp")]
        let traces = match &settings.otlp_endpoint {
            Some(endpoint) => {
                let (traces, layer) = otlp::start(endpoint, settings.authorities.as_ref())?;
                layers.push(layer);
                Some(traces)
            }
            None => None,
        };
        tracing_subscriber::registry()
            .with(std::mem::take(&mut layers))
            .try_init()
            .context("the log is set up already")?;
        #[cfg(not(feature = "otlp"))]
        if settings.otlp_endpoint.is_some() {
            tracing::warn!("otlp_endpoint is set, but this binary was built without the feature otlp");
        }
        Ok(Self {
            metrics: settings.metrics.then(install_metrics).transpose()?,
            #[cfg(feature = "otlp")]
            traces,
        })
    }

    /// Sends what has not been sent yet.
    pub(crate) async fn finish(self) {
        #[cfg(feature = "otlp")]
        if let Some(traces) = self.traces {
            traces.finish().await;
        }
    }
}

/// Makes `span` part of the trace that the headers name, and names `span` in them for whoever reads them next. Without
/// trace export the headers stay as they are, and the caller's trace goes straight through.
pub(crate) fn continue_trace(span: &Span, headers: &mut HeaderMap) {
    #[cfg(feature = "otlp")]
    otlp::continue_trace(span, headers);
    #[cfg(not(feature = "otlp"))]
    let _ = (span, headers);
}

fn log_layer(log: &LogSettings) -> BoxedLayer {
    let writer = std::io::stderr;
    match log.format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(writer)
            .boxed(),
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            fmt::layer().with_ansi(colour).with_writer(writer).boxed()
        }
    }
}

fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCY_BUCKETS)?
        .install_recorder()
        .context("metrics are set up already")?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            interval.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_client_is_heard_only_by_name() {
        let directives = |setting| filter(setting).unwrap().to_string();
        assert!(directives("debug").contains("lapin=off"));
        let named = directives("info,lapin=error");
        assert!(
            named.contains("lapin=error") && !named.contains("lapin=off"),
            "{named}"
        );
    }
}
