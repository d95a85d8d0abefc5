//! `/healthz`, `/readyz` and `/metrics`: what orchestrators and monitoring ask.
//!
//! `/healthz` says that the process runs and answers; it must not depend on the database, or an outage there would
//! restart every healthy process. `/readyz` says that requests will be served: the database answers, its schema is
//! complete, and the process is not about to stop.
//!
//! These paths need no token, so they cost little however often they are asked: one question at a time is with the database,
//! in a task of its own, and all requests that arrive meanwhile get its answer.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
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
use tokio::sync::watch;

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
    /// The last question to the database; it has an answer once it has ended.
    asked: Mutex<Option<watch::Receiver<Option<Fault>>>>,
}

/// What is wrong, if anything is.
type Fault = Option<&'static str>;

impl Health {
    pub(crate) fn new(store: Store, metrics: Option<PrometheusHandle>) -> Self {
        Self(Arc::new(Inner {
            store,
            draining: AtomicBool::new(false),
            metrics,
            asked: Mutex::default(),
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

    async fn fault(&self) -> Fault {
        if self.0.draining.load(Ordering::Acquire) {
            return Some("the process is stopping");
        }
        let mut answer = self.ask();
        let answered = answer.wait_for(Option::is_some).await;
        answered
            .ok()
            .and_then(|fault| *fault)
            .unwrap_or(Some("the database could not be asked"))
    }

    /// The answer to the question that is in flight, or to a new one.
    fn ask(&self) -> watch::Receiver<Option<Fault>> {
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // A question that has ended has dropped its sender.
        if let Some(answer) = asked.as_ref().filter(|answer| answer.has_changed().is_ok()) {
            return answer.clone();
        }
        let (teller, answer) = watch::channel(None);
        *asked = Some(answer.clone());
        let store = self.0.store.clone();
        tokio::spawn(async move {
            let fault = fault_of(&store).await;
            teller.send_replace(Some(fault));
        });
        answer
    }
}

async fn fault_of(store: &Store) -> Fault {
    match tokio::time::timeout(DATABASE_TIMEOUT, store.pending_migrations()).await {
        Err(_) => Some("the database does not answer in time"),
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "not ready");
            Some("the database cannot be reached")
        }
        Ok(Ok(pending)) if !pending.is_empty() => Some("the database has not been migrated"),
        Ok(Ok(_)) => None,
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

#[cfg(test)]
mod tests {
    use demae_store::{StoreOptions, Vault};
    use demae_testkit::sqlite::SqliteFile;

    use super::*;

    #[tokio::test]
    async fn requests_at_the_same_time_share_a_question_and_later_ones_ask_again() {
        let file = SqliteFile::create().unwrap();
        let vault = Vault::from_text(&Vault::generate_text()).unwrap();
        let store = Store::connect(StoreOptions::new(file.url(), vault))
            .await
            .unwrap();
        let health = Health::new(store.clone(), None);
        let (mut first, second) = (health.ask(), health.ask());
        assert!(first.same_channel(&second));
        let fault = *first.wait_for(Option::is_some).await.unwrap();
        assert_eq!(fault, Some(Some("the database has not been migrated")));
        while first.has_changed().is_ok() {
            tokio::task::yield_now().await;
        }
        store.migrate().await.unwrap();
        assert_eq!(health.fault().await, None);
        assert!(!first.same_channel(&health.ask()));
    }
}
