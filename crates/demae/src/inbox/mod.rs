//! The inbox of `demae dev`: an endpoint that accepts anything and shows it.
//!
//! `POST /inbox/{name}` (or any other method that is none of the following) keeps a request, `GET` shows the last ones
//! to a browser or, asked for JSON, to a program, `DELETE` forgets them, and `PUT /inbox/{name}/answer` says how to
//! answer from now on, so that retries can be watched.
//!
//! Everything is in memory and bounded: names, requests per name, and bytes per name. Nothing here is for production,
//! and `demae serve` does not have it.

mod answer;
mod mailbox;
mod page;
mod signature;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    response::{IntoResponse, Response},
    routing::{any, get, put},
};
use bytes::Bytes;
use demae_event::Clock;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde_json::json;

use self::{
    answer::AnswerRule,
    mailbox::{Mailboxes, NewRequest},
    signature::KeySource,
};
pub(crate) use self::{page::render, signature::StoreKeys};

/// Longest name of an inbox, in characters.
const NAME_LENGTH: usize = 64;

/// What the handlers share.
#[derive(Clone)]
struct Inbox {
    mailboxes: Arc<Mailboxes>,
    keys: Arc<dyn KeySource>,
    clock: Arc<dyn Clock>,
}

/// The inbox's routes. `keys` knows the secrets of the endpoints that lead here; requests are at most `body_limit`
/// bytes long.
pub(crate) fn router(keys: impl KeySource, clock: Arc<dyn Clock>, body_limit: usize) -> Router {
    Router::new()
        .route("/inbox", get(overview))
        .route("/inbox/{name}", any(accept).get(show).delete(clear))
        .route("/inbox/{name}/answer", put(set_answer))
        .layer(DefaultBodyLimit::max(body_limit))
        .with_state(Inbox {
            mailboxes: Arc::default(),
            keys: Arc::new(keys),
            clock,
        })
}

async fn overview(State(inbox): State<Inbox>) -> Response {
    page::overview(&inbox.mailboxes.names())
}

async fn accept(
    State(inbox): State<Inbox>,
    Path(name): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = refuse_name(&name) {
        return refusal;
    }
    let now = inbox.clock.now();
    let signature = signature::check(&*inbox.keys, uri.path(), &headers, &body, now).await;
    let answer = inbox.mailboxes.accept(
        &name,
        NewRequest {
            now,
            method,
            uri,
            headers,
            body,
            signature,
        },
    );
    if !answer.delay.is_zero() {
        tokio::time::sleep(answer.delay).await;
    }
    (answer.status, Json(json!({ "received": true }))).into_response()
}

async fn show(State(inbox): State<Inbox>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refuse_name(&name) {
        return refusal;
    }
    let view = inbox.mailboxes.view(&name);
    if wants_json(&headers) {
        Json(view).into_response()
    } else {
        page::mailbox(&view)
    }
}

async fn clear(State(inbox): State<Inbox>, Path(name): Path<String>) -> StatusCode {
    inbox.mailboxes.clear(&name);
    StatusCode::NO_CONTENT
}

async fn set_answer(
    State(inbox): State<Inbox>,
    Path(name): Path<String>,
    Json(rule): Json<AnswerRule>,
) -> Response {
    if let Some(refusal) = refuse_name(&name) {
        return refusal;
    }
    match rule.check() {
        Ok(()) => {
            inbox.mailboxes.set_answer(&name, rule.clone());
            Json(rule).into_response()
        }
        Err(fault) => refusal(StatusCode::UNPROCESSABLE_ENTITY, &fault),
    }
}

fn refuse_name(name: &str) -> Option<Response> {
    let usable = (1..=NAME_LENGTH).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (!usable).then(|| {
        refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            &format!("an inbox's name has 1 to {NAME_LENGTH} letters, digits, dots, hyphens or underscores"),
        )
    })
}

fn refusal(status: StatusCode, detail: &str) -> Response {
    let body = Json(json!({
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    }));
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

/// Browsers ask for HTML by name; programs either ask for JSON or take anything.
fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    !accept.contains("text/html")
}
