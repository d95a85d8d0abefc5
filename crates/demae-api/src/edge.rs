//! What happens to every request and every answer, once.
//!
//! Gives the request an id (`X-Request-Id` on the answer, `request_id` in the log), writes the body of an answer that
//! carries a [`Problem`] in the form of the surface that the path belongs to, turns a panic into a 500, counts, and sees to
//! it that the connection outlives a refusal ([`unread`](crate::unread)). One layer instead of six: it is on the way of every
//! event.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::{HeaderName, HeaderValue, Method, header};
use tokio::time::timeout;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    problem::{Problem, ProblemKind, Rendered},
    surfaces::Surfaces,
    unread::Rest,
};

/// The header that carries the request's id.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request, from its head to the head of its answer. Slow bodies and long changes have limits of their own,
/// which add up to less; what is left is a database that does not answer.
const LIMIT: Duration = Duration::from_secs(90);

/// The layer. See the module's documentation.
pub(crate) async fn handle(State(surfaces): State<Arc<Surfaces>>, request: Request, next: Next) -> Response {
    let started = tokio::time::Instant::now();
    let request_id = Uuid::new_v4();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let path = request.uri().path().to_owned();
    let span = tracing::debug_span!("request", %request_id, %method, path);
    let (rest, request) = Rest::of(request);
    let answer = timeout(LIMIT, AssertUnwindSafe(next.run(request)).catch_unwind())
        .instrument(span.clone())
        .await;
    let mut response = span.in_scope(|| match answer {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => panicked().into_response(),
        Err(elapsed) => Problem::unavailable(&elapsed).into_response(),
    });
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        write_problem(&mut response, surfaces.render(&problem, &path), &method);
        if problem.kind() == ProblemKind::Unauthenticated {
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, surfaces.challenge(&path));
        }
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id.hyphenated().encode_lower(&mut Uuid::encode_buffer())) {
        headers.insert(&REQUEST_ID, id);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    count(&method, route.as_ref(), &response, started);
    rest.discard(&mut response).await;
    response
}

/// Answers are about one tenant, or hold a secret: no cache between may keep them. Handlers may say otherwise.
fn write_problem(response: &mut Response, Rendered { content_type, body }: Rendered, method: &Method) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = if method == Method::HEAD {
        Body::empty()
    } else {
        Body::from(body)
    };
}

/// The panic's own message went to the log through the panic hook.
fn panicked() -> Problem {
    #[derive(Debug, thiserror::Error)]
    #[error("a handler panicked")]
    struct Panicked;
    Problem::internal(&Panicked)
}

fn count(method: &Method, route: Option<&MatchedPath>, response: &Response, started: tokio::time::Instant) {
    // The pattern, not the path: paths are without number.
    let route = route.map_or_else(
        || "(none)".into(),
        |route| metrics::SharedString::from(route.as_str().to_owned()),
    );
    let method = metrics::SharedString::const_str(known_method(method));
    let status = metrics::SharedString::from(response.status().as_str().to_owned());
    metrics::counter!("demae_http_requests_total", "method" => method.clone(), "route" => route.clone(), "status" => status)
        .increment(1);
    metrics::histogram!("demae_http_request_seconds", "method" => method, "route" => route)
        .record(started.elapsed().as_secs_f64());
}

/// Methods are the caller's to invent; labels are not.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// Any path that nothing serves.
pub(crate) async fn not_found() -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        "Request.UnknownPath",
        "There is nothing at this path.",
    )
}

/// A path that does not serve this method; axum adds `Allow`.
pub(crate) async fn method_not_allowed() -> Problem {
    Problem::new(
        ProblemKind::MethodNotAllowed,
        "Request.MethodNotAllowed",
        "This path does not serve this method; see the Allow header.",
    )
}

#[cfg(test)]
mod tests {
    use axum::{Router, middleware, routing::get};
    use http::StatusCode;
    use tower::ServiceExt as _;

    use super::*;
    use crate::problem::CONTENT_TYPE;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_nothing_answers_is_given_up_as_temporary() {
        let router = Router::new()
            .route("/", get(std::future::pending::<()>))
            .layer(middleware::from_fn_with_state(Arc::<Surfaces>::default(), handle));
        let request = Request::get("/").body(Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
    }
}
