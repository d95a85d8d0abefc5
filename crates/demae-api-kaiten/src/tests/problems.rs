//! Requests that are refused before any handler's own rules.

use std::time::Duration;

use axum::body::Body;
use demae_api::{Limits, MAX_DEPTH, problem::CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use serde_json::json;

use crate::testing::{Reply, TestApi, request};

/// What every problem document has.
fn assert_problem(reply: &Reply, status: StatusCode, code: &str, path: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some(CONTENT_TYPE), "{reply:?}");
    assert!(reply.header("x-request-id").is_some(), "{reply:?}");
    let document = reply.json();
    assert_eq!(document["status"], status.as_u16());
    assert_eq!(document["code"], code, "{document}");
    assert_eq!(document["instance"], path);
    for member in ["type", "title", "detail"] {
        assert!(
            document[member].as_str().is_some_and(|text| !text.is_empty()),
            "{member}: {document}"
        );
    }
    assert!(
        document["type"]
            .as_str()
            .unwrap()
            .starts_with("https://www.rfc-editor.org/rfc/")
    );
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let api = TestApi::start().await;
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let customers = "/api/customers";
    let refusals = [
        (
            Method::GET,
            "/api/nothing",
            String::new(),
            404,
            "Request.UnknownPath",
        ),
        (Method::GET, "/", String::new(), 404, "Request.UnknownPath"),
        (
            Method::PUT,
            customers,
            String::new(),
            405,
            "Request.MethodNotAllowed",
        ),
        (Method::POST, customers, "{".to_owned(), 400, "Request.Malformed"),
        (Method::POST, customers, String::new(), 400, "Request.Malformed"),
        (Method::POST, customers, "[]".to_owned(), 422, "Request.Invalid"),
        (Method::POST, customers, nested(MAX_DEPTH), 422, "Request.Invalid"),
        (
            Method::POST,
            customers,
            "{\"name\":\"a\\u0000\"}".to_owned(),
            422,
            "Request.Invalid",
        ),
        (
            Method::GET,
            "/api/customers?limit=201",
            String::new(),
            422,
            "Request.Invalid",
        ),
        (
            Method::GET,
            "/api/customers?cursor=x",
            String::new(),
            422,
            "Request.Invalid",
        ),
        (
            Method::GET,
            "/api/customers/nobody",
            String::new(),
            404,
            "GetCustomer.NotFound",
        ),
        (
            Method::GET,
            "/api/customers/%00",
            String::new(),
            404,
            "Request.NotFound",
        ),
        (
            Method::GET,
            "/api/customers/%FF",
            String::new(),
            404,
            "Request.NotFound",
        ),
    ];
    for (method, path, body, status, code) in refusals {
        let reply = api
            .send(request(method, path, &api.token).body(Body::from(body)).unwrap())
            .await;
        let path = path.split('?').next().unwrap();
        assert_problem(&reply, StatusCode::from_u16(status).unwrap(), code, path);
    }
}

#[tokio::test]
async fn an_unknown_method_is_told_the_known_ones() {
    let api = TestApi::start().await;
    let reply = api.call(Method::PATCH, "/api/customers/x", None).await;
    let mut allowed: Vec<_> = reply.header("allow").unwrap().split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "PUT"]);
}

#[tokio::test]
async fn a_body_may_have_its_limit_and_not_a_byte_more() {
    let limits = Limits {
        body_bytes: 100,
        ..Limits::default()
    };
    let api = TestApi::with_limits(limits).await;
    let body = |length: usize| format!("{:<length$}", json!({"name": "At the bound"}).to_string());
    for (length, status) in [(100, 201), (101, 413)] {
        let request = request(Method::POST, "/api/customers", &api.token);
        let reply = api.send(request.body(Body::from(body(length))).unwrap()).await;
        assert_eq!(reply.status.as_u16(), status, "{reply:?}");
    }
    let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"  ")));
    let request = request(Method::POST, "/api/customers", &api.token);
    let reply = api.send(request.body(Body::from_stream(endless)).unwrap()).await;
    assert_problem(
        &reply,
        StatusCode::PAYLOAD_TOO_LARGE,
        "Request.TooLarge",
        "/api/customers",
    );
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = Limits {
        body_timeout: Duration::from_millis(1),
        ..Limits::default()
    };
    let api = TestApi::with_limits(limits).await;
    let silent = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let request = request(Method::POST, "/api/customers", &api.token);
    let reply = api.send(request.body(Body::from_stream(silent)).unwrap()).await;
    assert_problem(
        &reply,
        StatusCode::BAD_REQUEST,
        "Request.BodyTimeout",
        "/api/customers",
    );
}

#[tokio::test]
async fn only_json_is_taken() {
    let api = TestApi::start().await;
    for (content_type, status) in [
        (Some("application/json"), 201),
        (Some("Application/JSON; charset=utf-8"), 201),
        (Some("application/vnd.kaiten+json"), 201),
        (None, 201),
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("json"), 415),
    ] {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/api/customers")
            .header("authorization", format!("Bearer {}", api.token));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let reply = api
            .send(request.body(Body::from(r#"{"name":"Any"}"#)).unwrap())
            .await;
        assert_eq!(reply.status.as_u16(), status, "{content_type:?} {reply:?}");
    }
}

#[tokio::test]
async fn every_fault_of_a_body_is_told_at_once() {
    let api = TestApi::start().await;
    let body = json!({
        "slug": "No Slug", "domain": 7, "extra": true, "other": {},
        "integrations": {"crm": {"metadata": [], "more": 1}},
    });
    let reply = api.post("/api/customers", body).await;
    assert_eq!(reply.status, 422);
    let expected = [
        "body.domain",
        "body.extra",
        "body.integrations.crm.external_id",
        "body.integrations.crm.metadata",
        "body.integrations.crm.more",
        "body.name",
        "body.other",
        "body.slug",
    ];
    assert_eq!(reply.locations(), expected);
}

#[tokio::test]
async fn a_head_request_is_answered_without_a_body() {
    let api = TestApi::start().await;
    for (path, status) in [("/api/customers", 200), ("/api/customers/nobody", 404)] {
        let reply = api.call(Method::HEAD, path, None).await;
        assert_eq!(
            (reply.status.as_u16(), reply.text.as_str()),
            (status, ""),
            "{path}"
        );
    }
}
