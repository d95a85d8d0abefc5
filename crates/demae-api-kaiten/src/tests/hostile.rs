//! Values that a parser lets through and a database does not: whatever is sent, the answer is never a fault of ours.

use axum::body::Body;
use http::Method;
use serde_json::Value;

use super::fixture::{Fixture, operations};
use crate::testing::{TestApi, request};

on_both_databases! {
    nothing_that_is_sent_makes_the_server_fail,
}

/// JSON texts.
const VALUES: &[&str] = &[
    r#""\u0000""#,
    r#""a\u0000b""#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    "\"\u{ffff}\u{10ffff}\"",
    "\"\u{7f}\u{85}\"",
    r#""""#,
    r#""%""#,
    r#""';--""#,
    "1e308",
    "-1e999",
    "99999999999999999999999999",
    "-9223372036854775808",
    "0.1",
    "[]",
    "[null]",
    "{}",
    r#"{"\u0000":1}"#,
    r#"{"a":{"a":"\u0000"}}"#,
    "null",
    "true",
    r#""0000-01-01T00:00:00Z""#,
    r#""9999-12-31T23:59:59.999999999Z""#,
];

/// Parts of a path or a query, percent-encoded.
const PARTS: &[&str] = &[
    "%00",
    "a%00b",
    "%FF",
    "%ED%A0%80",
    "%F0%9F%98%80",
    "%2e%2e",
    "%2F",
    "'--",
    "-1",
    "99999999999999999999",
    "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "MA",
    "OTIyMzM3MjAzNjg1NDc3NTgwNyAwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDA",
];

async fn nothing_that_is_sent_makes_the_server_fail(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    for (method, template, operation) in operations() {
        if method == Method::DELETE {
            continue;
        }
        let path = fixture.fill(&template);
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            for part in PARTS {
                let name = parameter["name"].as_str().unwrap();
                let uri = match parameter["in"].as_str() {
                    Some("query") => format!("{path}?{name}={part}"),
                    Some("path") => template
                        .replace(&format!("{{{name}}}"), part)
                        .replace(['{', '}'], ""),
                    _ => continue,
                };
                assert_withstood(&api, &method, &uri, String::new()).await;
            }
        }
        let Some(Value::Object(example)) = fixture.body_of(&operation) else {
            continue;
        };
        for key in example.keys() {
            for value in VALUES {
                let rest = example.iter().filter(|(other, _)| *other != key);
                let rest = rest.map(|(other, value)| format!("{other:?}:{value}"));
                let members: Vec<String> = rest.chain([format!("{key:?}:{value}")]).collect();
                assert_withstood(&api, &method, &path, format!("{{{}}}", members.join(","))).await;
            }
        }
    }
}

async fn assert_withstood(api: &TestApi, method: &Method, uri: &str, body: String) {
    let request = request(method.clone(), uri, &api.token);
    let reply = api.send(request.body(Body::from(body.clone())).unwrap()).await;
    assert!(
        !reply.status.is_server_error(),
        "{method} {uri} {body}: {reply:?}"
    );
    // OFREP has a form of its own for what went wrong.
    let told = |body: Value| body["code"].is_string() || body["errorCode"].is_string();
    assert!(
        !reply.status.is_client_error() || told(reply.json()),
        "{method} {uri} {body}: {reply:?}"
    );
}
