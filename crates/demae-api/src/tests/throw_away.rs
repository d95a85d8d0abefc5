//! A surface that exists to be thrown away: two events, one endpoint call, its own credential, errors and document.
//!
//! It stands for a crate of its own and uses nothing but what this crate makes public. What it takes is the recipe for the
//! next surface: see ARCHITECTURE.md.

/// The surface, as its crate would hold it.
mod parcels {
    use std::sync::LazyLock;

    use axum::{Extension, Router, extract::FromRequestParts, extract::State, response::Response};
    use demae_control_plane::token;
    use demae_delivery::management::{EndpointInput, endpoint::receiver_secret, events::PublishInput};
    use futures::FutureExt as _;
    use http::{HeaderValue, StatusCode, header, request::Parts};
    use serde_json::{json, value::to_raw_value};

    use crate::{
        ApiState, Surface,
        caller::Caller,
        extract,
        json::fields::{Fields, Node, ReadBody},
        openapi::Document,
        problem::{Problem, ProblemKind, Rendered, write_place},
        write::{Answer, Operation, Outcome},
    };

    const ENDPOINT: &str = "/parcels/v1/endpoint";

    pub(super) fn surface() -> Surface {
        Surface {
            name: "parcels",
            prefixes: &["/parcels/v1"],
            reading_prefixes: &[],
            routes: Router::new()
                .route("/parcels/v1/scans", axum::routing::post(scan))
                .route(ENDPOINT, axum::routing::put(set_endpoint))
                .route("/parcels/v1/document", axum::routing::get(document_as_json))
                .layer(Extension(document())),
            document: document(),
            render,
        }
    }

    fn document() -> &'static Document {
        static DOCUMENT: LazyLock<Document> =
            LazyLock::new(|| Document::new(json!({"openapi": "3.1.0", "info": {"title": "Parcels"}})));
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

    async fn set_endpoint(
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
                    Ok(answer.with_header(header::LOCATION, HeaderValue::from_static(ENDPOINT)))
                }
                .boxed()
            })
            .await
    }
}

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::{
    Limits,
    testing::{Reply, TestApi, TestStore},
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
    let made = call(&api, (Method::PUT, "/endpoint", body.clone(), token)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let key = made.json()["key"].clone();
    assert!(key.as_str().unwrap().starts_with("whsec_"), "{key}");
    // The kit repeats the stored answer, without what is shown once.
    let repeated = call(&api, (Method::PUT, "/endpoint", body, token)).await;
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
            Method::PUT,
            "/endpoint",
            private,
            token,
            (422, "CreateWebhook.Invalid parcel.target"),
        ),
    ] {
        let reply = call(&api, (method, path, body, token)).await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), expected);
        assert_eq!(reply.header("content-type"), Some("text/plain"));
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
