//! `/healthz`, `/readyz` and `/metrics`: what orchestrators and monitoring ask.
//!
//! `/healthz` says that the process runs and answers; it must not depend on the database, or an outage there would
//! restart every healthy process. `/readyz` says that requests will be served: the database answers, its schema is
//! complete, and the process is not about to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use demae_store::Store;
use http::{StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

/// How long the database may take to answer before the process is called not ready.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);
/// Prometheus text exposition format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether this process serves. Clones share it.
#[derive(Clone)]
pub(crate) struct Health(Arc<Inner>);

struct Inner {
    store: Store,
    draining: AtomicBool,
    metrics: Option<PrometheusHandle>,
}

impl Health {
    pub(crate) fn new(store: Store, metrics: Option<PrometheusHandle>) -> Self {
        Self(Arc::new(Inner {
            store,
            draining: AtomicBool::new(false),
            metrics,
        }))
    }

    /// From now on the process is not ready: load balancers should look elsewhere.
    pub(crate) fn begin_draining(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// The routes of this module.
    pub(crate) fn router(self) -> Router {
        let mut router = Router::new()
            .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
            .route("/readyz", get(ready));
        if self.0.metrics.is_some() {
            router = router.route("/metrics", get(metrics));
        }
        router.with_state(self)
    }

    async fn fault(&self) -> Option<&'static str> {
        if self.0.draining.load(Ordering::Acquire) {
            return Some("the process is stopping");
        }
        match tokio::time::timeout(DATABASE_TIMEOUT, self.0.store.pending_migrations()).await {
            Err(_) => Some("the database does not answer in time"),
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "not ready");
                Some("the database cannot be reached")
            }
            Ok(Ok(pending)) if !pending.is_empty() => Some("the database has not been migrated"),
            Ok(Ok(_)) => None,
        }
    }
}

async fn ready(State(health): State<Health>) -> Response {
    match health.fault().await {
        None => Json(json!({ "status": "ready" })).into_response(),
        Some(reason) => {
            let body = Json(json!({ "status": "not ready", "reason": reason }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    let text = health
        .0
        .metrics
        .as_ref()
        .map(PrometheusHandle::render)
        .unwrap_or_default();
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}
