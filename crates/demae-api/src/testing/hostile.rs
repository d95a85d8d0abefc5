//! Values that a parser lets through and a database does not: whatever is sent, the answer is never a fault of ours.

use axum::body::Body;
use http::Method;
use serde_json::Value;

use super::walk::{ApiOperation, Fixture, Walk};

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

impl<F: Fixture> Walk<'_, F> {
    /// Sends each value at each place of each operation but those that delete. Returns how many requests were sent.
    pub async fn nothing_that_is_sent_makes_the_server_fail(&self) -> usize {
        let mut sent = 0;
        for operation in self.operations() {
            if operation.method == Method::DELETE {
                continue;
            }
            let path = self.fixture.fill(&operation.template);
            for uri in hostile_paths(&operation, &path) {
                self.assert_withstood(&operation.method, &uri, String::new())
                    .await;
                sent += 1;
            }
            for body in hostile_bodies(self.fixture.body_of(&operation).as_ref()) {
                self.assert_withstood(&operation.method, &path, body).await;
                sent += 1;
            }
        }
        sent
    }

    async fn assert_withstood(&self, method: &Method, uri: &str, body: String) {
        let request = self.fixture.request(method.clone(), uri, &self.api.token);
        let reply = self
            .api
            .send(request.body(Body::from(body.clone())).unwrap())
            .await;
        let place = format!("{method} {uri} {body}");
        assert!(!reply.status.is_server_error(), "{place}: {reply:?}");
        let told = !reply.status.is_client_error() || self.fixture.is_refusal(&reply);
        assert!(told, "{place}: {reply:?}");
    }
}

fn hostile_paths(operation: &ApiOperation, path: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for parameter in operation.parameters() {
        let name = parameter["name"].as_str().unwrap();
        for part in PARTS {
            match parameter["in"].as_str() {
                Some("query") => paths.push(format!("{path}?{name}={part}")),
                Some("path") => {
                    let path = operation.template.replace(&format!("{{{name}}}"), part);
                    paths.push(path.replace(['{', '}'], ""));
                }
                _ => {}
            }
        }
    }
    paths
}

fn hostile_bodies(example: Option<&Value>) -> Vec<String> {
    let mut bodies = Vec::new();
    let Some(Value::Object(example)) = example else {
        return bodies;
    };
    for key in example.keys() {
        for value in VALUES {
            let rest = example.iter().filter(|(other, _)| *other != key);
            let rest = rest.map(|(other, value)| format!("{other:?}:{value}"));
            let members: Vec<String> = rest.chain([format!("{key:?}:{value}")]).collect();
            bodies.push(format!("{{{}}}", members.join(",")));
        }
    }
    bodies
}
