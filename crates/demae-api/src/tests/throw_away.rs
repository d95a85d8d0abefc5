//! A surface that exists to be thrown away: two events, endpoints, its own credential, errors and document.
//!
//! It stands for a crate of its own and uses nothing but what this crate makes public. What it takes is the recipe for the
//! next surface: see ARCHITECTURE.md.

/// The surface, as its crate would hold it.
mod parcels {
    use std::sync::LazyLock;

    use axum::{Extension, Json, Router, extract::FromRequestParts, extract::State, response::Response};
    use demae_control_plane::token;
    use demae_delivery::management::{
        Endpoint, EndpointInput, endpoint::receiver_secret, events::PublishInput,
    };
    use demae_event::EndpointId;
    use futures::FutureExt as _;
    use http::{HeaderValue, StatusCode, header, request::Parts};
    use serde_json::{Value, json, value::to_raw_value};

    use crate::{
        ApiState, Surface,
        caller::Caller,
        extract::{self, PathOf},
        json::fields::{Fields, Node, ReadBody},
        openapi::Document,
        page::PageQuery,
        problem::{Problem, ProblemKind, Rendered, write_place},
        query::Query,
        write::{Answer, Operation, Outcome},
    };

    const ENDPOINTS: &str = "/parcels/v1/endpoints";

    pub(super) fn surface() -> Surface {
        Surface {
            name: "parcels",
            prefixes: &["/parcels/v1"],
            reading_prefixes: &[],
            routes: Router::new()
                .route("/parcels/v1/scans", axum::routing::post(scan))
                .route(ENDPOINTS, axum::routing::post(add_endpoint).get(list_endpoints))
                .route("/parcels/v1/endpoints/{id}", axum::routing::get(get_endpoint))
                .route("/parcels/v1/document", axum::routing::get(document_as_json))
                .layer(Extension(document())),
            document: document(),
            render,
            challenge: "Scanner",
        }
    }

    fn document() -> &'static Document {
        static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
            let scanner = json!([{"scanner": []}]);
            let taking = |example: Value| {
                let content = json!({"application/json": {"schema": {"example": example}}});
                json!({"security": scanner, "requestBody": {"content": content}})
            };
            let limit = json!({"name": "limit", "in": "query", "schema": {"minimum": 1, "maximum": 200}});
            let list = json!({"security": scanner, "parameters": [limit]});
            let id = json!([{"name": "id", "in": "path"}]);
            Document::new(
                json!({"openapi": "3.1.0", "info": {"title": "Parcels"}, "paths": {
                    "/parcels/v1/scans": {"post": taking(json!({"parcel": "P-17", "arrived": true}))},
                    ENDPOINTS: {"post": taking(json!({"target": "https://example.com/parcels"})), "get": list},
                    "/parcels/v1/endpoints/{id}": {"get": {"security": scanner, "parameters": id}},
                }}),
            )
        });
        &DOCUMENT
    }

    async fn document_as_json(Extension(document): Extension<&'static Document>) -> Response {
        document.as_json()
    }

    /// Refusals are one line of text: a code, and the places of the faults.
    fn render(problem: &Problem, _: &str) -> Rendered {
        let name = |_: &str, location: &str| {
            write_place("parcel", location, |field| match field {
                "url" => "target".into(),
                field => field.into(),
            })
        };
        let places: Vec<_> = problem
            .faults(name)
            .into_iter()
            .map(|fault| fault.location().to_owned())
            .collect();
        Rendered {
            content_type: HeaderValue::from_static("text/plain"),
            body: format!("{} {}", problem.code(), places.join(" ")).into(),
        }
    }

    /// Who scans: `X-Scanner: ksh_…`.
    struct Scanner(Caller);

    impl FromRequestParts<ApiState> for Scanner {
        type Rejection = Problem;

        async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
            let stranger = || Problem::new(ProblemKind::Unauthenticated, "WhoScans", "");
            let header = parts.headers.get("x-scanner").ok_or_else(stranger)?;
            let digest = token::digest(header.to_str().map_err(|_| stranger())?);
            let found = state.tokens().credential(digest).await;
            let found = found
                .map_err(|error| Problem::unavailable(&error))?
                .ok_or_else(stranger)?;
            let now = state.now();
            let actor = found.at(now).map_err(|_| stranger())?;
            Ok(Self(
                Caller::admit(state, parts, (actor, found.token_id), now).await?,
            ))
        }
    }

    /// Names this surface as a reader of inputs.
    enum Parcels {}

    struct Scan {
        parcel: String,
        arrived: bool,
    }

    impl ReadBody<Parcels> for Scan {
        fn read(fields: &mut Fields<'_>) -> Option<Self> {
            let parcel = fields.field("parcel").required(|node| node.string(1..=20));
            let arrived = fields.field("arrived").required(Node::boolean);
            Some(Self {
                parcel: parcel?,
                arrived: arrived?,
            })
        }
    }

    async fn scan(
        State(state): State<ApiState>,
        Scanner(caller): Scanner,
        body: extract::JsonBody<Parcels, Scan>,
    ) -> Result<StatusCode, Problem> {
        let Scan { parcel, arrived } = body.value;
        let (name, event_type) = if arrived {
            ("PARCEL_ARRIVED", "parcels.arrived")
        } else {
            ("PARCEL_SENT", "parcels.sent")
        };
        let input = PublishInput {
            location: String::new(),
            name: Some(name.to_owned()),
            event_type: Some(event_type.to_owned()),
            data: to_raw_value(&json!({"parcel": parcel})).map_err(|error| Problem::internal(&error))?,
            headers: None,
            id: None,
        };
        let scope = caller.scope();
        let trace = caller.traceparent();
        let prepared = state
            .management()
            .prepare_events(scope, vec![input], caller.now(), trace);
        let published = state.events().publish(prepared.await?).await;
        published.map_err(|error| Problem::unavailable(&error))?;
        Ok(StatusCode::ACCEPTED)
    }

    impl ReadBody<Parcels> for EndpointInput {
        fn read(fields: &mut Fields<'_>) -> Option<Self> {
            Some(Self {
                url: fields.field("target").required(|node| node.string(1..=2_000))?,
                event_names: vec!["*".to_owned()],
                ..Self::default()
            })
        }
    }

    async fn add_endpoint(
        State(state): State<ApiState>,
        Scanner(caller): Scanner,
        operation: Operation,
        body: extract::JsonBody<Parcels, EndpointInput>,
    ) -> Outcome {
        let (management, input) = (state.management().clone(), body.value);
        let operation = operation.of_body(body.digest);
        state
            .write(caller, &operation, move |transaction, caller| {
                async move {
                    let scope = caller.scope();
                    let endpoint = management
                        .create_endpoint(transaction, scope, input, caller.now())
                        .await?;
                    let shown = json!({"id": endpoint.id.to_string(), "key": &*receiver_secret(&endpoint)?});
                    let answer = Answer::with_secret(StatusCode::CREATED, &shown, "key")?;
                    Ok(answer.with_header(header::LOCATION, HeaderValue::from_static(ENDPOINTS)))
                }
                .boxed()
            })
            .await
    }

    fn shown(endpoint: &Endpoint) -> Value {
        json!({"id": endpoint.id.to_string(), "target": endpoint.url})
    }

    async fn list_endpoints(
        State(state): State<ApiState>,
        Scanner(caller): Scanner,
        Query(PageQuery(page)): Query<PageQuery<EndpointId>>,
    ) -> Result<Json<Value>, Problem> {
        let listing = state.management().endpoints(caller.scope(), page).await?;
        Ok(Json(
            listing
                .items
                .iter()
                .map(|loaded| shown(&loaded.endpoint))
                .collect(),
        ))
    }

    async fn get_endpoint(
        State(state): State<ApiState>,
        Scanner(caller): Scanner,
        PathOf(id): PathOf<EndpointId>,
    ) -> Result<Json<Value>, Problem> {
        let endpoint = state.management().endpoint(caller.scope(), id).await?;
        Ok(Json(shown(&endpoint)))
    }
}

use axum::body::Body;
use http::{Method, Request, request::Builder};
use serde_json::{Value, json};

use crate::{
    Limits,
    testing::{
        Reply, TestApi, TestStore,
        walk::{Fixture, Walk},
    },
};

/// A path with the body and the credential of a request for it.
type Call<'c> = (Method, &'c str, Value, Option<&'c str>);

async fn call(api: &TestApi, (method, path, body, token): Call<'_>) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(format!("/parcels/v1{path}"));
    let request = match token {
        Some(token) => request
            .header("x-scanner", token)
            .header("idempotency-key", "one"),
        None => request,
    };
    api.send(request.body(Body::from(body.to_string())).unwrap())
        .await
}

async fn api() -> TestApi {
    TestApi::start(TestStore::Sqlite, Limits::default(), vec![parcels::surface()]).await
}

#[tokio::test]
async fn a_surface_emits_events_and_makes_endpoints() {
    let api = api().await;
    let token = Some(api.token.as_str());
    for arrived in [false, true] {
        let body = json!({"parcel": "P-17", "arrived": arrived});
        assert_eq!(
            call(&api, (Method::POST, "/scans", body, token)).await.status,
            202
        );
    }
    let events = api.store.engine().read_outbox(10).await.unwrap();
    let events: Vec<_> = events
        .iter()
        .map(|event| (event.name.as_str(), event.data.get(), event.scope))
        .collect();
    let scope = demae_event::Scope::default_of(api.organization());
    let data = r#"{"parcel":"P-17"}"#;
    assert_eq!(
        events,
        [("PARCEL_SENT", data, scope), ("PARCEL_ARRIVED", data, scope)]
    );
    let body = json!({"target": "https://example.com/parcels"});
    let made = call(&api, (Method::POST, "/endpoints", body.clone(), token)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let key = made.json()["key"].clone();
    assert!(key.as_str().unwrap().starts_with("whsec_"), "{key}");
    // The kit repeats the stored answer, without what is shown once.
    let repeated = call(&api, (Method::POST, "/endpoints", body, token)).await;
    assert_eq!(repeated.json(), json!({"id": made.json()["id"]}));
    assert_eq!(repeated.status, made.status);
    for header in ["content-type", "location"] {
        assert!(made.header(header).is_some());
        assert_eq!(repeated.header(header), made.header(header));
    }
    assert_eq!(repeated.header("idempotent-replayed"), Some("true"));
}

#[tokio::test]
async fn every_refusal_under_its_prefix_has_the_surfaces_form() {
    let api = api().await;
    let token = Some(api.token.as_str());
    let private = json!({"target": "ftp://example.com"});
    for (method, path, body, token, expected) in [
        (
            Method::GET,
            "/nothing",
            Value::Null,
            None,
            (404, "Request.UnknownPath "),
        ),
        (
            Method::GET,
            "/scans",
            Value::Null,
            None,
            (405, "Request.MethodNotAllowed "),
        ),
        (Method::POST, "/scans", json!({}), None, (401, "WhoScans ")),
        (
            Method::POST,
            "/scans",
            json!({}),
            Some("ksh_unknown"),
            (401, "WhoScans "),
        ),
        (
            Method::POST,
            "/scans",
            json!({"parcel": ""}),
            token,
            (422, "Request.Invalid body.arrived body.parcel"),
        ),
        (
            Method::POST,
            "/endpoints",
            private,
            token,
            (422, "CreateEndpoint.Invalid parcel.target"),
        ),
    ] {
        let reply = call(&api, (method, path, body, token)).await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), expected);
        assert_eq!(reply.header("content-type"), Some("text/plain"));
        let challenge = (reply.status == 401).then_some("Scanner");
        assert_eq!(reply.header("www-authenticate"), challenge);
    }
    let elsewhere = api.get("/elsewhere").await;
    assert_eq!(
        (elsewhere.status.as_u16(), elsewhere.code().as_str()),
        (404, "Request.UnknownPath")
    );
}

#[tokio::test]
async fn a_surface_serves_its_document_at_its_own_place() {
    let api = api().await;
    let served = call(&api, (Method::GET, "/document", Value::Null, None)).await;
    assert_eq!(&served.json(), parcels::surface().document.value());
}

/// What the first tenant has: an endpoint.
struct Hidden(String);

impl Hidden {
    async fn new(api: &TestApi) -> Self {
        let body = json!({"target": "https://example.com/hidden"});
        let made = call(api, (Method::POST, "/endpoints", body, Some(&api.token))).await;
        Self(made.json()["id"].as_str().unwrap().to_owned())
    }
}

impl Fixture for Hidden {
    fn document(&self) -> &'static Value {
        parcels::surface().document.value()
    }

    fn fill(&self, template: &str) -> String {
        template.replace("{id}", &self.0)
    }

    fn marks(&self) -> Vec<String> {
        vec![self.0.clone(), "hidden".to_owned()]
    }

    fn request(&self, method: Method, path: &str, token: &str) -> Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("x-scanner", token)
    }

    fn is_refusal(&self, reply: &Reply) -> bool {
        reply.header("content-type") == Some("text/plain")
    }

    fn places(&self, refusal: &Reply) -> Vec<String> {
        refusal
            .text
            .split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect()
    }
}

/// Every walk of the kit, as the next surface's tests call them.
#[tokio::test]
async fn the_kit_walks_a_surface_by_its_document() {
    for store in [TestStore::Sqlite, TestStore::Postgres { connections: Some(1) }] {
        let api = TestApi::start(store, Limits::default(), vec![parcels::surface()]).await;
        let hidden = Hidden::new(&api).await;
        let walk = Walk {
            api: &api,
            fixture: &hidden,
        };
        assert_eq!(walk.what_is_refused_leaves_no_trace().await, 2);
        assert_eq!(walk.nothing_of_another_tenant_is_there().await, 1);
        assert_eq!(walk.no_list_shows_what_is_another_tenants().await, 1);
        assert_eq!(
            walk.what_is_not_there_is_not_found_wherever_it_is_named().await,
            1
        );
        assert_eq!(walk.numbers_in_queries_have_bounds().await, 1);
        assert!(walk.nothing_that_is_sent_makes_the_server_fail().await > 60);
        assert_eq!(walk.no_repetition_shows_a_secret().await, (1, 1));
        walk.no_operation_needs_two_connections().await;
    }
}
