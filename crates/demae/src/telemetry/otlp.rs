//! Traces to an OpenTelemetry collector, over HTTP with protocol buffers.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use opentelemetry::{propagation::TextMapPropagator as _, trace::TracerProvider as _};
use opentelemetry_http::{HeaderExtractor, HeaderInjector, HttpError};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::{Span, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer as _;
use url::Url;

use super::layer::BoxedLayer;
use crate::{config::Authorities, http_client::HttpClient};

/// For one batch of spans.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
const SERVICE_NAME: &str = "demae";

/// The running export.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends the last batch. A collector that is away does not hold up the end for long.
    pub(crate) async fn finish(self) {
        // Shutting down waits for a thread; not on this one.
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(EXPORT_TIMEOUT));
        if let Ok(Err(error)) = ended.await {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Begins to export to the collector at `endpoint`, whose certificate may come from `trusted` as well. Must be called
/// within a tokio runtime.
pub(super) fn start(endpoint: &Url, trusted: Option<&Authorities>) -> anyhow::Result<(Traces, BoxedLayer)> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(ExportClient {
            http: HttpClient::trusting(trusted),
            runtime: Handle::current(),
        })
        .with_endpoint(traces_url(endpoint))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .context("cannot set up trace export (setting otlp_endpoint)")?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(SERVICE_NAME).build())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer(SERVICE_NAME));
    Ok((Traces(provider), layer.with_filter(LevelFilter::INFO).boxed()))
}

/// See [`super::continue_trace`].
pub(super) fn continue_trace(span: &Span, headers: &mut HeaderMap) {
    let propagator = TraceContextPropagator::new();
    let parent = propagator.extract(&HeaderExtractor(headers));
    // Fails when no trace is exported; then the headers are right as they are.
    if span.set_parent(parent).is_ok() {
        propagator.inject_context(&span.context(), &mut HeaderInjector(headers));
    }
}

/// The base URL with the path of traces (OTLP specification, "OTLP/HTTP Request").
fn traces_url(endpoint: &Url) -> String {
    format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'))
}

/// Sends batches. The exporter's thread has no runtime, so the exchange runs on the server's.
#[derive(Debug)]
struct ExportClient {
    http: HttpClient,
    runtime: Handle,
}

#[async_trait]
impl opentelemetry_http::HttpClient for ExportClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let exchange = self
            .runtime
            .spawn(async move { http.send(request, EXPORT_TIMEOUT).await });
        Ok(exchange.await??)
    }
}
