//! A stand-in for a Svix server: the two calls that make applications and messages, as its API documents them
//! (svix.md, sections 1.1, 1.2, 1.5 and 1.8). It keeps what it took, and fails when it is told to.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

use crate::receiver::Counter;

/// A message that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct SvixMessage {
    /// The uid of the application in whose path it came.
    pub application: String,
    /// `eventId`.
    pub event_id: String,
    /// `eventType`.
    pub event_type: String,
    /// `payload`, as text: Svix keeps it byte for byte.
    pub payload: String,
}

/// The stand-in. Ends with the value.
#[derive(Debug)]
pub struct SvixStub {
    address: SocketAddr,
    state: Arc<State>,
    _server: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct State {
    token: String,
    taken: Counter,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Name by uid.
    applications: HashMap<String, String>,
    messages: Vec<SvixMessage>,
    event_ids: HashSet<(String, String)>,
    /// Given to the next requests for a message, instead of looking at them.
    troubles: VecDeque<Trouble>,
    conflicts: usize,
}

#[derive(Debug)]
struct Trouble {
    status: StatusCode,
    retry_after: Option<&'static str>,
    /// Take the message all the same: the answer is lost, not the message.
    takes: bool,
}

impl SvixStub {
    /// Starts it; `token` is what it wants to be shown.
    pub async fn start(token: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port can be bound");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State {
            token: token.to_owned(),
            taken: Counter::new("messages that Svix took"),
            inner: Mutex::default(),
        });
        let server = tokio::spawn(serve(listener, state.clone()));
        Self {
            address,
            state,
            _server: AbortOnDropHandle::new(server),
        }
    }

    /// `http://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request for a message that no other trouble is planned for is answered so.
    pub fn fail(&self, status: u16, retry_after: Option<&'static str>) {
        self.trouble(status, retry_after, false);
    }

    /// The same, but the message is taken before.
    pub fn take_and_fail(&self, status: u16) {
        self.trouble(status, None, true);
    }

    fn trouble(&self, status: u16, retry_after: Option<&'static str>, takes: bool) {
        let status = StatusCode::from_u16(status).expect("a status code");
        self.state.inner().troubles.push_back(Trouble {
            status,
            retry_after,
            takes,
        });
    }

    /// Waits for so many messages and returns all there are, in the order in which they came.
    pub async fn wait_for(&self, least: usize) -> Vec<SvixMessage> {
        self.state.taken.wait_for(least).await;
        self.messages()
    }

    /// What was taken, in the order in which it came.
    pub fn messages(&self) -> Vec<SvixMessage> {
        self.state.inner().messages.clone()
    }

    /// The name of an application, by its uid.
    pub fn application(&self, uid: &str) -> Option<String> {
        self.state.inner().applications.get(uid).cloned()
    }

    /// How often an event id came again.
    pub fn conflicts(&self) -> usize {
        self.state.inner().conflicts
    }
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, method: &Method, path: &str, authorized: bool, body: &[u8]) -> Response<Full<Bytes>> {
        if !authorized {
            return error(StatusCode::UNAUTHORIZED, "authentication_failed", "Invalid token");
        }
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method, segments.as_slice()) {
            (&Method::POST, ["api", "v1", "app"]) => self.application_in(body),
            (&Method::POST, ["api", "v1", "app", uid, "msg"]) => self.message_in(uid, body),
            _ => Response::builder()
                .status(StatusCode::NOT_FOUND)
                .body(Full::default())
                .expect("a plain response"),
        }
    }

    fn application_in(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let Ok(application) = serde_json::from_slice::<Value>(body) else {
            return invalid("body");
        };
        let (Some(name), Some(uid)) = (application["name"].as_str(), application["uid"].as_str()) else {
            return invalid("name");
        };
        if name.is_empty() || name.chars().any(|character| character < '\t') {
            return invalid("name");
        }
        let known = self
            .inner()
            .applications
            .insert(uid.to_owned(), name.to_owned())
            .is_some();
        let status = if known {
            StatusCode::OK
        } else {
            StatusCode::CREATED
        };
        json_response(
            status,
            &json!({"id": "app_1", "uid": uid, "name": name, "metadata": {}}),
        )
    }

    fn message_in(&self, uid: &str, body: &[u8]) -> Response<Full<Bytes>> {
        let trouble = self.inner().troubles.pop_front();
        if let Some(trouble) = trouble {
            if trouble.takes {
                self.take(uid, body);
            }
            let mut response = error(trouble.status, "trouble", "as planned");
            if let Some(seconds) = trouble.retry_after {
                let value = header::HeaderValue::from_static(seconds);
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            return response;
        }
        self.take(uid, body)
    }

    fn take(&self, uid: &str, body: &[u8]) -> Response<Full<Bytes>> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Message {
            event_type: String,
            event_id: String,
            payload: Box<serde_json::value::RawValue>,
        }
        let mut inner = self.inner();
        if !inner.applications.contains_key(uid) {
            return error(StatusCode::NOT_FOUND, "not_found", "Entity not found");
        }
        let Ok(message) = serde_json::from_slice::<Message>(body) else {
            return invalid("payload");
        };
        let is_identifier = |text: &str| {
            (1..=256).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if !is_identifier(&message.event_type) {
            return invalid("eventType");
        }
        if !is_identifier(&message.event_id) || message.event_id.starts_with("msg_") {
            return invalid("eventId");
        }
        if !message.payload.get().starts_with('{') {
            return invalid("payload");
        }
        if !inner.event_ids.insert((uid.to_owned(), message.event_id.clone())) {
            inner.conflicts += 1;
            return error(
                StatusCode::CONFLICT,
                "conflict",
                "A message with this eventId exists",
            );
        }
        let answer = json!({"id": "msg_1", "eventId": message.event_id, "eventType": message.event_type,
            "payload": {}, "timestamp": "2026-01-01T00:00:00Z"});
        inner.messages.push(SvixMessage {
            application: uid.to_owned(),
            event_id: message.event_id,
            event_type: message.event_type,
            payload: message.payload.get().to_owned(),
        });
        drop(inner);
        self.taken.up();
        json_response(StatusCode::ACCEPTED, &answer)
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| handle(state.clone(), request));
            // A client that leaves is no concern of the server's.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn handle(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let expected = format!("Bearer {}", state.token);
    let authorized = request
        .headers()
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes() == expected.as_bytes());
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    Ok(state.answer(&head.method, head.uri.path(), authorized, &body))
}

fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_string()))
        .expect("a plain response")
}

fn error(status: StatusCode, code: &str, detail: &str) -> Response<Full<Bytes>> {
    json_response(status, &json!({ "code": code, "detail": detail }))
}

fn invalid(field: &str) -> Response<Full<Bytes>> {
    let detail = json!([{"loc": ["body", field], "msg": "invalid", "type": "value_error"}]);
    json_response(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "detail": detail }))
}
