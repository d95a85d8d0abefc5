//! Walks through every operation of a surface's document: with another tenant's credential, refused, repeated, at bounds.
//!
//! A walk is driven by the document, so that an operation that is added tomorrow is walked tomorrow. What the document does
//! not say, such as the paths of what the first tenant has, a surface's [`Fixture`] says; one that lacks something fails the
//! walk.
//!
//! # Limits
//! A walk says how many operations it met. Its caller asserts that they are as many as there should be.

use http::{HeaderMap, Method, Request, request::Builder};
use serde_json::{Value, json};

use axum::body::Body;
use demae_store::repository::{
    Page,
    audit::{self, AuditFilter},
};

use super::{Reply, TestApi, request};
use crate::REQUEST_ID;

/// One operation of a document.
#[derive(Debug, Clone)]
pub struct ApiOperation {
    /// Its method.
    pub method: Method,
    /// Its path, with parameters in braces.
    pub template: String,
    /// What the document says of it.
    pub described: Value,
}

impl ApiOperation {
    /// Whether its path names something.
    pub fn names_something(&self) -> bool {
        self.template.contains('{')
    }

    /// Whether it has a parameter of this name.
    pub fn takes(&self, name: &str) -> bool {
        self.parameters().any(|parameter| parameter["name"] == name)
    }

    pub(super) fn parameters(&self) -> impl Iterator<Item = &Value> {
        self.described["parameters"].as_array().into_iter().flatten()
    }

    fn wants_credential(&self) -> bool {
        self.described["security"].is_array()
    }
}

/// Every operation, those that destroy last and the deepest of them first.
pub fn operations(document: &Value) -> Vec<ApiOperation> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            operations.push(ApiOperation {
                method: method.to_uppercase().parse().unwrap(),
                template: path.clone(),
                described: described.clone(),
            });
        }
    }
    operations.sort_by_key(|one| (one.method == Method::DELETE, usize::MAX - one.template.len()));
    operations
}

/// The example of a body that the operation takes.
pub fn example_of(document: &Value, operation: &ApiOperation) -> Option<Value> {
    let content = operation.described.get("requestBody")?;
    let mut schema = content["content"]["application/json"]["schema"].clone();
    while schema.get("example").is_none() {
        let next = [
            schema.get("$ref"),
            schema.pointer("/oneOf/0"),
            schema.pointer("/oneOf/1"),
            schema.pointer("/anyOf/0"),
        ]
        .into_iter()
        .flatten()
        .find(|next| next["type"] != "null")
        .unwrap_or_else(|| panic!("no example: {operation:?}"))
        .clone();
        schema = match next.as_str().or_else(|| next["$ref"].as_str()) {
            Some(reference) => document.pointer(&reference[1..]).unwrap().clone(),
            None => next,
        };
    }
    Some(schema["example"].clone())
}

/// What a walk has to know of a surface: above all one of everything, which the first tenant has.
pub trait Fixture: Sync {
    /// The surface's document.
    fn document(&self) -> &'static Value;

    /// The path, filled with what the first tenant has.
    fn fill(&self, template: &str) -> String;

    /// Texts in the answers by which the first tenant's things are known.
    fn marks(&self) -> Vec<String>;

    /// A body that the operation takes, if it takes one.
    fn body_of(&self, operation: &ApiOperation) -> Option<Value> {
        example_of(self.document(), operation)
    }

    /// A request with this token, in the surface's own way, and a JSON body.
    fn request(&self, method: Method, path: &str, token: &str) -> Builder {
        request(method, path, token)
    }

    /// The places of the faults in a refusal.
    fn places(&self, refusal: &Reply) -> Vec<String> {
        refusal.locations()
    }

    /// The place of a member of the body.
    fn place_in_body(&self, key: &str) -> String {
        format!("body.{key}")
    }

    /// Whether the operation belongs to a protocol that is not the surface's own, and takes members that it does not know.
    fn is_foreign(&self, _: &ApiOperation) -> bool {
        false
    }

    /// Whether the operation creates what the `place`th name of its path names.
    fn creates(&self, _: &ApiOperation, _place: usize) -> bool {
        false
    }

    /// Whether a refusal has the code for something that is not there.
    fn is_not_found(&self, _: &Reply) -> bool {
        true
    }

    /// Whether an answer is a refusal in the surface's form.
    fn is_refusal(&self, reply: &Reply) -> bool;

    /// Whether a text has a secret in it.
    fn shows_secret(&self, text: &str) -> bool {
        ["ksh_", "whsec_", "whsk_"]
            .iter()
            .any(|prefix| text.contains(prefix))
    }
}

/// A surface, its fixture, and the server that both are of.
pub struct Walk<'w, F> {
    /// The server; its token is the first tenant's.
    pub api: &'w TestApi,
    /// What the first tenant has.
    pub fixture: &'w F,
}

impl<F: Fixture> Walk<'_, F> {
    /// Every operation of the document.
    pub fn operations(&self) -> Vec<ApiOperation> {
        operations(self.fixture.document())
    }

    /// Sends the operation at `path` with these headers, a token and a body.
    pub async fn send(
        &self,
        token: &str,
        (method, path): (&Method, &str),
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Reply {
        let mut request = self.fixture.request(method.clone(), path, token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.api.send(request.body(body).unwrap()).await
    }

    /// Sends the operation as its example asks.
    async fn call(&self, token: &str, operation: &ApiOperation, headers: &[(&str, &str)]) -> Reply {
        let path = self.fixture.fill(&operation.template);
        let body = self.fixture.body_of(operation);
        self.send(token, (&operation.method, &path), headers, body.as_ref())
            .await
    }

    /// What another tenant names of the first one's is not there, and stays as it is.
    pub async fn nothing_of_another_tenant_is_there(&self) -> usize {
        let other = self.api.other_token().await;
        let operations = self.operations();
        let naming: Vec<_> = operations.iter().filter(|one| one.names_something()).collect();
        for operation in &naming {
            let theirs = self.call(&other, operation, &[]).await;
            let place = format!("{} {}", operation.method, operation.template);
            assert_eq!(theirs.status, 404, "{place}: {theirs:?}");
            self.assert_unmarked(&theirs, &self.fixture.fill(&operation.template));
        }
        // The same walk by the owner: the names were real, and nothing was changed by the other tenant.
        for operation in &naming {
            let own = self.call(&self.api.token, operation, &[]).await;
            let place = format!("{} {}", operation.method, operation.template);
            assert_ne!(own.status, 404, "{place}: {own:?}");
            assert!(!own.status.is_server_error(), "{place}: {own:?}");
        }
        naming.len()
    }

    /// A list of another tenant has nothing of the first one's.
    pub async fn no_list_shows_what_is_another_tenants(&self) -> usize {
        let other = self.api.other_token().await;
        let mut lists = 0;
        for operation in self.operations() {
            let is_list = operation.method == Method::GET
                && operation.wants_credential()
                && !operation.names_something();
            if !is_list {
                continue;
            }
            let place = &operation.template;
            let own = self.call(&self.api.token, &operation, &[]).await;
            let marks = self.fixture.marks();
            assert!(
                marks.iter().any(|mark| own.text.contains(mark)),
                "{place}: {own:?}"
            );
            let theirs = self.call(&other, &operation, &[]).await;
            assert_eq!(theirs.status, 200, "{place}: {theirs:?}");
            self.assert_unmarked(&theirs, place);
            lists += 1;
        }
        lists
    }

    /// An answer may repeat the path of its request.
    fn assert_unmarked(&self, reply: &Reply, path: &str) {
        let marks = self.fixture.marks();
        for mark in marks.iter().filter(|mark| !path.contains(mark.as_str())) {
            assert!(!reply.text.contains(mark), "{path} shows {mark}: {reply:?}");
        }
    }

    /// A request that needs a second connection while it holds one would wait for itself: to be walked on a server with one.
    pub async fn no_operation_needs_two_connections(&self) {
        for (number, operation) in self.operations().iter().enumerate() {
            let key = format!("key-{number}");
            for headers in [
                &[("idempotency-key", key.as_str())][..],
                &[("idempotency-key", &key)],
                &[],
            ] {
                let reply = self.call(&self.api.token, operation, headers).await;
                let place = format!("{} {}", operation.method, operation.template);
                assert!(!reply.status.is_server_error(), "{place}: {reply:?}");
            }
        }
    }

    /// A repetition has the first answer without its secret. Returns how many operations were repeated, and how many of all
    /// had a secret.
    pub async fn no_repetition_shows_a_secret(&self) -> (usize, usize) {
        let (mut repeated, mut shown) = (0, 0);
        for (number, operation) in self.operations().iter().enumerate() {
            if operation.method == Method::GET {
                continue;
            }
            let (path, mut body) = (
                self.fixture.fill(&operation.template),
                self.fixture.body_of(operation),
            );
            if let Some(slug) = body.as_mut().and_then(|body| body.get_mut("slug")) {
                *slug = format!("new-{number}").into();
            }
            let key = format!("key-{number}");
            let headers = [("idempotency-key", key.as_str())];
            let call = || {
                self.send(
                    &self.api.token,
                    (&operation.method, &path),
                    &headers,
                    body.as_ref(),
                )
            };
            let (first, second) = (call().await, call().await);
            let place = format!("{} {}", operation.method, operation.template);
            shown += usize::from(first.status.is_success() && self.fixture.shows_secret(&first.text));
            // What is answered is what was stored.
            if second.header("idempotent-replayed").is_some() {
                repeated += 1;
                assert_eq!(first.status, second.status, "{place}");
                assert!(!self.fixture.shows_secret(&second.text), "{place}: {second:?}");
                assert_eq!(own_headers(&first), own_headers(&second), "{place}");
            }
        }
        (repeated, shown)
    }

    /// Each change in every way in which it can be refused before its own rules are asked. Returns the number of changes.
    pub async fn what_is_refused_leaves_no_trace(&self) -> usize {
        let other = self.api.other_token().await;
        let before = self.traces().await;
        let mut changes = 0;
        for operation in self.operations() {
            if operation.method == Method::GET {
                continue;
            }
            self.refuse(&operation, &other).await;
            changes += 1;
        }
        assert_eq!(self.traces().await, before);
        changes
    }

    async fn refuse(&self, operation: &ApiOperation, other: &str) {
        let path = self.fixture.fill(&operation.template);
        let place = format!("{} {}", operation.method, operation.template);
        let refused = |reply: &Reply, status: u16| assert_eq!(reply.status, status, "{place}: {reply:?}");
        let (own, call) = (self.api.token.as_str(), (&operation.method, path.as_str()));
        let anonymous = Request::builder().method(operation.method.clone()).uri(&path);
        refused(&self.api.send(anonymous.body(Body::empty()).unwrap()).await, 401);
        if operation.names_something() && !self.fixture.creates(operation, 0) {
            refused(&self.call(other, operation, &[]).await, 404);
        }
        if self.fixture.body_of(operation).is_some() {
            let broken = self.fixture.request(operation.method.clone(), &path, own);
            refused(&self.api.send(broken.body(Body::from("{")).unwrap()).await, 400);
            let large = format!(
                "{{\"no_such_key\":\"{}\"}}",
                "x".repeat(self.api.state().limits().body_bytes)
            );
            let large = self
                .fixture
                .request(operation.method.clone(), &path, own)
                .body(Body::from(large));
            refused(&self.api.send(large.unwrap()).await, 413);
            if !self.fixture.is_foreign(operation) {
                let strange = self.send(own, call, &[], Some(&json!({"no_such_key": 1}))).await;
                let places = self.fixture.places(&strange);
                assert!(
                    places.contains(&self.fixture.place_in_body("no_such_key")),
                    "{place}: {strange:?}"
                );
                refused(&strange, 422);
            }
        }
        if operation.takes("If-Match") {
            refused(
                &self.call(own, operation, &[("if-match", "\"stale\"")]).await,
                412,
            );
        }
    }

    /// The names of the first tenant's changes in the audit trail, and of all events in the outbox.
    pub async fn traces(&self) -> (Vec<String>, Vec<String>) {
        let (store, filter) = (&self.api.store, AuditFilter::default());
        let trail = audit::list(
            store.reader(),
            self.api.organization(),
            &filter,
            Page::first(1_000),
        );
        let trail = trail.await.unwrap();
        assert_eq!(trail.next, None);
        let events = store.engine().read_outbox(1_000).await.unwrap();
        (
            trail
                .items
                .into_iter()
                .rev()
                .map(|entry| entry.event_name)
                .collect(),
            events.into_iter().map(|event| event.name).collect(),
        )
    }

    /// Of paths that name several things, each of them. Returns how many names were walked.
    pub async fn what_is_not_there_is_not_found_wherever_it_is_named(&self) -> usize {
        let mut names = 0;
        for operation in self.operations() {
            for place in 0..operation.template.matches('{').count() {
                if self.fixture.creates(&operation, place) {
                    continue;
                }
                let path = self.fill_but(&operation.template, place);
                let body = self.fixture.body_of(&operation);
                let reply = self.send(&self.api.token, (&operation.method, &path), &[], body.as_ref());
                let reply = reply.await;
                assert_eq!(reply.status, 404, "{} {path}: {reply:?}", operation.method);
                assert!(
                    self.fixture.is_not_found(&reply),
                    "{} {path}: {reply:?}",
                    operation.method
                );
                names += 1;
            }
        }
        names
    }

    /// The path, but the `place`th thing that it names is none that is there.
    fn fill_but(&self, template: &str, place: usize) -> String {
        let mut names = 0..;
        let filled = self.fixture.fill(template);
        let parts = template.split('/').zip(filled.split('/'));
        let parts = parts.map(|(of_template, part)| {
            if of_template.starts_with('{') && names.next() == Some(place) {
                "nobody"
            } else {
                part
            }
        });
        parts.collect::<Vec<_>>().join("/")
    }

    /// Numbers in queries have the bounds that the document says. Returns how many there are.
    pub async fn numbers_in_queries_have_bounds(&self) -> usize {
        let mut bounds = 0;
        for operation in self.operations().iter().filter(|one| one.method == Method::GET) {
            let path = self.fixture.fill(&operation.template);
            for parameter in operation
                .parameters()
                .filter(|parameter| parameter["in"] == "query")
            {
                let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
                let bound = |bound: &str| schema[bound].as_i64();
                let (Some(least), Some(most)) = (bound("minimum"), bound("maximum")) else {
                    continue;
                };
                let call = async |value: &str| {
                    let path = format!("{path}?{name}={value}");
                    self.send(&self.api.token, (&operation.method, &path), &[], None)
                        .await
                };
                for wrong in [&(least - 1).to_string(), &(most + 1).to_string(), "x"] {
                    let reply = call(wrong).await;
                    let places = vec![format!("query.{name}")];
                    assert_eq!(
                        (reply.status.as_u16(), self.fixture.places(&reply)),
                        (422, places),
                        "{path} {wrong}"
                    );
                }
                for right in [least, most] {
                    let reply = call(&right.to_string()).await;
                    assert_eq!(reply.status, 200, "{path} {right}: {reply:?}");
                }
                bounds += 1;
            }
        }
        bounds
    }
}

/// The headers of an answer that are not those of every answer, nor of a repetition.
fn own_headers(reply: &Reply) -> HeaderMap {
    let mut headers = reply.headers.clone();
    for name in ["content-length", "idempotent-replayed", REQUEST_ID.as_str()] {
        headers.remove(name);
    }
    headers
}
