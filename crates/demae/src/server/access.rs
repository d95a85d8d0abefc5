//! One span and one log line per request. (The API counts its requests itself.)
//!
//! Never a query string, a header's value or a body: they hold tokens and payloads. Lines of requests that went well
//! are at `debug`, because at thousands a second they would cost more than the requests.

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use http::Method;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::telemetry;

/// Where requests without a route are counted: their paths are anybody's invention.
const NO_ROUTE: &str = "(none)";
/// Methods beyond the usual are counted as one, for the same reason.
const OTHER_METHOD: &str = "OTHER";

/// The middleware.
pub(crate) async fn record(mut request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| NO_ROUTE.to_owned(), |path| path.as_str().to_owned());
    let method = method_name(request.method());
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        http.method = method,
        http.route = route
    );
    telemetry::continue_trace(&span, request.headers_mut());
    let started = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    let elapsed = started.elapsed();
    span.in_scope(|| {
        let duration_ms = elapsed.as_secs_f64() * 1_000.0;
        if status.is_server_error() {
            tracing::warn!(target: "demae::access", method, path, status = status.as_u16(), duration_ms, "request failed");
        } else {
            tracing::debug!(target: "demae::access", method, path, status = status.as_u16(), duration_ms, "request");
        }
    });
    response
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER_METHOD,
    }
}
