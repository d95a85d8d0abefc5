//! The OpenAPI document against the router it describes.

use demae_api::testing::walk::Fixture as _;
use http::Method;
use serde_json::{Value, json};

use super::fixture::{self, Fixture};
use crate::{
    document,
    document::OFREP,
    testing::{Reply, TestApi},
};

on_both_databases! {
    every_body_is_read_as_it_is_described,
    it_is_served_in_both_forms_with_a_page_that_needs_no_network,
    answers_follow_their_schemas,
}

fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    document().value()["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(|(method, operation)| (path.as_str(), method.as_str(), operation))
        })
}

fn resolve(schema: &'static Value) -> &'static Value {
    match schema["$ref"].as_str() {
        Some(reference) => document()
            .value()
            .pointer(&reference[1..])
            .unwrap_or_else(|| panic!("{reference}")),
        None => schema,
    }
}

#[test]
fn every_operation_is_described_in_full() {
    let mut ids = Vec::new();
    for (path, method, operation) in operations() {
        let place = format!("{method} {path}");
        for member in ["operationId", "summary"] {
            assert!(
                operation[member].as_str().is_some_and(|text| !text.is_empty()),
                "{place} has no {member}"
            );
        }
        ids.push(operation["operationId"].as_str().unwrap());
        let responses = operation["responses"].as_object().unwrap();
        let statuses: Vec<&str> = responses.keys().map(String::as_str).collect();
        let mut wanted = vec!["500", "503"];
        if operation["security"].is_array() {
            wanted.extend(["401", "403"]);
        }
        if path.contains('{') {
            wanted.push("404");
        }
        if operation.get("requestBody").is_some() {
            wanted.extend(["400", "413", "415", "422"]);
        }
        let takes = |name: &str| {
            let all = operation["parameters"].as_array().into_iter().flatten();
            all.clone().any(|parameter| parameter["name"] == name)
        };
        wanted.extend(takes("If-Match").then_some("412"));
        wanted.extend(takes("If-None-Match").then_some("304"));
        for status in wanted {
            assert!(statuses.contains(&status), "{place} does not tell of {status}");
        }
        for (status, response) in responses {
            let content = resolve(response).get("content");
            assert!(
                ["204", "304"].contains(&status.as_str()) || content.is_some(),
                "{place} {status} has no content"
            );
        }
        let tag = &operation["tags"][0];
        assert!(
            document().value()["tags"]
                .as_array()
                .unwrap()
                .iter()
                .any(|known| known["name"] == *tag),
            "{place} {tag}"
        );
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "an operationId is used twice");
    assert_eq!(document().value()["openapi"], "3.1.0");
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &'static Value) {
        match value {
            Value::Object(object) => {
                if object.contains_key("$ref") {
                    resolve(value);
                }
                object.values().for_each(walk);
            }
            Value::Array(items) => items.iter().for_each(walk),
            _ => {}
        }
    }
    walk(document().value());
}

#[test]
fn every_event_has_an_entry_whose_example_follows_its_schema() {
    let webhooks = document().value()["webhooks"].as_object().unwrap();
    assert_eq!(webhooks.len(), 27 + demae_event::catalogue::operational().len());
    for (name, item) in webhooks {
        let content = &item["post"]["requestBody"]["content"]["application/json"];
        let validator = jsonschema::validator_for(&content["schema"]).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(&content["example"])
            .map(|error| error.to_string())
            .collect();
        assert!(faults.is_empty(), "{name}: {faults:?}");
        assert!(
            !validator.is_valid(&json!({"name": name, "type": "x", "data": {}})),
            "{name}"
        );
    }
}

/// Bodies are read by hand and described beside it: for each, a wrong value under every described key and one key too
/// many must be answered with exactly those places.
async fn every_body_is_read_as_it_is_described(api: TestApi) {
    let mut checked = 0;
    for (path, method, operation) in operations() {
        let Some(body) = operation.get("requestBody").filter(|_| !path.starts_with(OFREP)) else {
            continue;
        };
        let schema = &body["content"]["application/json"]["schema"];
        for schema in alternatives(schema) {
            let properties = schema["properties"]
                .as_object()
                .unwrap_or_else(|| panic!("{path}: {schema}"));
            assert_eq!(schema["additionalProperties"], false, "{method} {path}");
            let mut wrong: serde_json::Map<String, Value> = properties
                .keys()
                .map(|key| (key.clone(), json!(-1e-10)))
                .collect();
            wrong.insert("no_such_key".to_owned(), json!(1));
            let mut expected: Vec<String> = wrong.keys().map(|key| format!("body.{key}")).collect();
            expected.sort();
            let path = path.replace(['{', '}'], "");
            let path = path.replace("/webhooks/id", &format!("/webhooks/{}", api.new_webhook().await));
            let method: Method = method.to_uppercase().parse().unwrap();
            let reply = api.call(method.clone(), &path, Some(Value::Object(wrong))).await;
            assert_eq!(
                (reply.status.as_u16(), reply.locations()),
                (422, expected),
                "{method} {path}"
            );
            checked += 1;
        }
    }
    assert!(checked >= 10, "only {checked} bodies were checked");
}

fn alternatives(schema: &'static Value) -> Vec<&'static Value> {
    let schema = resolve(schema);
    match schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        Some(alternatives) => {
            let described = alternatives
                .iter()
                .filter(|alternative| alternative["type"] != "null");
            described.flat_map(alternatives_of).collect()
        }
        None => vec![schema],
    }
}

fn alternatives_of(schema: &'static Value) -> Vec<&'static Value> {
    alternatives(schema)
}

async fn it_is_served_in_both_forms_with_a_page_that_needs_no_network(api: TestApi) {
    let as_json = api.get("/api/openapi.json").await;
    let as_yaml = api.get("/api/openapi.yaml").await;
    assert_eq!(&as_json.json(), document().value());
    let read: Value = serde_yaml_ng::from_str(&as_yaml.text).unwrap();
    assert_eq!(&read, document().value());
    let page = api.get("/api/docs").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("script-src 'self'")
    );
    assert!(
        !page.text.contains("http://") && !page.text.contains("https://"),
        "{}",
        page.text
    );
    let references = page.text.split('"').filter(|text| text.starts_with("/api/docs/"));
    let mut files = 0;
    for file in references {
        let request = http::Request::get(file).body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(api.router.clone(), request)
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{file}");
        files += 1;
    }
    assert_eq!(files, 4);
    assert_eq!(api.get("/api/docs/../secret").await.status, 404);
    assert_eq!(api.get("/api/health").await.json(), json!({"status": "ok"}));
}

/// What the router answers is what the document says: every operation, once as its example asks and once with an empty
/// body.
async fn answers_follow_their_schemas(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    for documented in fixture::operations() {
        let (method, operation) = (&documented.method, &documented.described);
        let path = fixture.fill(&documented.template);
        if operation.get("requestBody").is_some() {
            let reply = api.call(method.clone(), &path, Some(json!({}))).await;
            assert_described(operation, &reply, &format!("{method} {path} {{}}"));
        }
        let reply = api
            .call(method.clone(), &path, fixture.body_of(&documented))
            .await;
        let place = format!("{method} {path}");
        assert!(
            reply.status.is_success() || reply.status == 409,
            "{place} {reply:?}"
        );
        assert_described(operation, &reply, &place);
    }
}

fn assert_described(operation: &Value, reply: &Reply, place: &str) {
    let response = operation["responses"].get(reply.status.as_str());
    let mut response = response.unwrap_or_else(|| panic!("{place}: undocumented {reply:?}"));
    if let Some(reference) = response["$ref"].as_str() {
        response = document().value().pointer(&reference[1..]).unwrap();
    }
    let Some(content) = response["content"].as_object() else {
        assert_eq!(reply.text, "", "{place}");
        return;
    };
    let (content_type, content) = content.iter().next().unwrap();
    assert_eq!(
        reply.header("content-type"),
        Some(content_type.as_str()),
        "{place}"
    );
    if content_type == "application/yaml" {
        return;
    }
    let mut schema = content["schema"].clone();
    schema["components"] = document().value()["components"].clone();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let body = reply.json();
    let faults: Vec<String> = validator
        .iter_errors(&body)
        .map(|error| error.to_string())
        .collect();
    assert!(faults.is_empty(), "{place}: {faults:?} {body}");
}
