//! What every operation promises, one that is added tomorrow included: the document says which there are.

use std::collections::BTreeSet;

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use super::fixture::{Fixture, operations};
use crate::{
    document::OFREP,
    testing::{Reply, TestApi, request},
};

on_both_databases! {
    every_change_is_in_the_audit_trail,
    what_is_refused_leaves_no_trace,
    every_resource_has_a_tag_that_its_changes_honour,
    what_is_not_there_is_not_found_wherever_it_is_named,
    a_slug_is_taken_once,
    pages_have_bounds,
}

/// Operations that change nothing of what the organization has, and are not in the trail: they ask, hand over events, or
/// have events sent again. A report is there only if it emits its event.
const NOT_AUDITED: [&str; 7] = [
    "evaluate_flag",
    "evaluate_flags",
    "publish_events",
    "recover_webhook",
    "report_entitlement_usage",
    "retry_webhook_attempt",
    "test_webhook",
];

/// Operations whose events are not about a change.
const HAND_OVER_EVENTS: [&str; 2] = ["publish_events", "test_webhook"];

/// The names in the trail, oldest first.
async fn trail(api: &TestApi) -> Vec<String> {
    let page = api.get("/api/audit-trails?limit=200").await.json();
    assert_eq!(page["hasMore"], false);
    let newest_first = page["items"].as_array().unwrap().iter().rev();
    newest_first
        .map(|entry| entry["eventName"].as_str().unwrap().to_owned())
        .collect()
}

/// The names of the events in the outbox, in their order.
async fn outbox(api: &TestApi) -> Vec<String> {
    let events = api.store.engine().read_outbox(1_000).await.unwrap();
    events.into_iter().map(|event| event.name).collect()
}

fn id_of(operation: &Value) -> &str {
    operation["operationId"].as_str().unwrap()
}

fn changes() -> impl Iterator<Item = (Method, String, Value)> {
    operations()
        .into_iter()
        .filter(|(method, ..)| method != Method::GET)
}

async fn send(
    api: &TestApi,
    (method, path): (&Method, &str),
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Reply {
    let mut request = request(method.clone(), path, &api.token);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    api.send(request.body(body).unwrap()).await
}

/// What the walk below cannot do, because of what the fixture has.
fn first_steps() -> Vec<(&'static str, Method, &'static str, Value)> {
    let (post, delete) = (Method::POST, Method::DELETE);
    let license = json!({"name": "Fresh", "type": "PAID", "lifecycleState": "DRAFT"});
    let grant = json!({"entitlementSlug": "fresh", "value": {"type": "number", "value": 1}});
    let integration = json!({"external_id": "1"});
    let (license_path, none) = ("/api/licenses/fresh", Value::Null);
    vec![
        ("create_license", post.clone(), "/api/licenses", license),
        (
            "publish_license",
            post.clone(),
            "/api/licenses/fresh/publish",
            none.clone(),
        ),
        (
            "archive_license",
            post.clone(),
            "/api/licenses/fresh/archive",
            none.clone(),
        ),
        (
            "unarchive_license",
            post.clone(),
            "/api/licenses/fresh/unarchive",
            none.clone(),
        ),
        (
            "create_entitlement",
            post.clone(),
            "/api/entitlements",
            json!({"name": "Fresh", "type": "NUMBER"}),
        ),
        (
            "create_license_entitlement",
            post.clone(),
            "/api/licenses/fresh/entitlements",
            grant,
        ),
        (
            "delete_license_entitlement",
            delete.clone(),
            "/api/licenses/fresh/entitlements/fresh",
            none.clone(),
        ),
        ("delete_license", delete.clone(), license_path, none.clone()),
        (
            "delete_entitlement",
            delete.clone(),
            "/api/entitlements/fresh",
            none.clone(),
        ),
        (
            "create_customer",
            post.clone(),
            "/api/customers",
            json!({"name": "Fresh"}),
        ),
        (
            "create_customer_integration",
            post.clone(),
            "/api/customers/fresh/integrations/erp",
            integration.clone(),
        ),
        (
            "delete_customer",
            delete.clone(),
            "/api/customers/fresh",
            none.clone(),
        ),
        (
            "create_instance_integration",
            post.clone(),
            "/api/instances/instance/integrations/erp",
            integration,
        ),
        (
            "create_component",
            post,
            "/api/components",
            json!({"name": "Fresh", "slug": "fresh", "version": "1"}),
        ),
        ("delete_component", delete, "/api/components/fresh", none),
    ]
}

/// Each change by the document's example: entries for it, and among them one for each of its events, with its name.
async fn every_change_is_in_the_audit_trail(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let mut done = BTreeSet::new();
    for (id, method, path, body) in first_steps() {
        let body = (!body.is_null()).then_some(body);
        if leaves_its_entries(&api, id, method, path, body).await {
            done.insert(id.to_owned());
        }
    }
    let mut all = BTreeSet::new();
    for (method, template, operation) in changes() {
        let (id, path) = (id_of(&operation), fixture.fill(&template));
        if leaves_its_entries(&api, id, method, &path, fixture.body_of(&operation)).await {
            done.insert(id.to_owned());
        }
        all.insert(id.to_owned());
    }
    // An operation that is never seen to succeed is not tested. Of the fixture's webhook a recovery is running.
    let missed: Vec<&String> = all.difference(&done).collect();
    assert_eq!(missed, ["recover_webhook"]);
}

/// Whether the change succeeded; then it is in the trail, and otherwise there is nothing of it.
async fn leaves_its_entries(
    api: &TestApi,
    id: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> bool {
    let (told, sent) = (trail(api).await, outbox(api).await);
    let reply = api.call(method, path, body).await;
    let told = trail(api).await.split_off(told.len());
    let sent = outbox(api).await.split_off(sent.len());
    if !reply.status.is_success() {
        assert_eq!((told, sent), (Vec::new(), Vec::new()), "{id}: {reply:?}");
        return false;
    }
    assert_eq!(told.is_empty(), NOT_AUDITED.contains(&id), "{id}: {told:?}");
    if !HAND_OVER_EVENTS.contains(&id) {
        let events: Vec<&String> = told.iter().filter(|name| sent.contains(name)).collect();
        assert_eq!(events, sent.iter().collect::<Vec<_>>(), "{id}");
    }
    true
}

/// Each change in every way in which it can be refused before its own rules are asked.
async fn what_is_refused_leaves_no_trace(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let other = api.other_token().await;
    let before = (trail(&api).await, outbox(&api).await);
    for (method, template, operation) in changes() {
        let path = fixture.fill(&template);
        let place = format!("{method} {template}");
        let body = fixture.body_of(&operation);
        let refused = |reply: Reply, statuses: &[u16]| {
            assert!(statuses.contains(&reply.status.as_u16()), "{place}: {reply:?}");
        };
        let anonymous = Request::builder().method(method.clone()).uri(&path);
        refused(api.send(anonymous.body(Body::empty()).unwrap()).await, &[401]);
        if template.contains('{') {
            let theirs = api.call_as(&other, method.clone(), &path, body.clone()).await;
            refused(theirs, &[404]);
        }
        if body.is_some() {
            let broken = request(method.clone(), &path, &api.token).body(Body::from("{"));
            refused(api.send(broken.unwrap()).await, &[400]);
            let strange = json!({"no_such_key": 1});
            let reply = api.call(method.clone(), &path, Some(strange)).await;
            // OFREP takes members that it does not know.
            if !template.starts_with(OFREP) {
                assert!(
                    reply.locations().contains(&"body.no_such_key".to_owned()),
                    "{place}"
                );
                refused(reply, &[422]);
            }
        }
        if takes(&operation, "If-Match") {
            let stale = [("if-match", "\"stale\"")];
            refused(send(&api, (&method, &path), &stale, body.as_ref()).await, &[412]);
        }
    }
    assert_eq!((trail(&api).await, outbox(&api).await), before);
}

fn takes(operation: &Value, parameter: &str) -> bool {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters.clone().any(|known| known["name"] == parameter)
}

/// Paths without tags: an attempt, an event and a job are never edited.
const UNTAGGED: [&str; 3] = [
    "/api/webhooks/history/{id}",
    "/api/events/{id}",
    "/api/webhooks/{id}/recover/{job}",
];

async fn every_resource_has_a_tag_that_its_changes_honour(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let all = operations();
    for (method, template, operation) in &all {
        let is_resource = method == Method::GET && template.ends_with('}');
        if !is_resource || UNTAGGED.contains(&template.as_str()) {
            continue;
        }
        let path = fixture.fill(template);
        let seen = api.get(&path).await;
        let tag = seen
            .header("etag")
            .unwrap_or_else(|| panic!("{template} has no tag"));
        assert!(takes(operation, "If-None-Match"), "{template}");
        let again = send(&api, (method, &path), &[("if-none-match", tag)], None).await;
        assert_eq!(
            (again.status.as_u16(), again.text.as_str()),
            (304, ""),
            "{template}"
        );
    }
    for (method, template, operation) in &all {
        let edits = [Method::PUT, Method::PATCH, Method::DELETE].contains(method);
        // Nobody edits a token: it is revoked, whatever it is.
        let is_tagged = !UNTAGGED.contains(&template.as_str()) && !template.ends_with("/tokens/{token}");
        if !edits || !is_tagged {
            continue;
        }
        let place = format!("{method} {template}");
        assert!(takes(operation, "If-Match"), "{place} does not tell of If-Match");
        let (path, body) = (fixture.fill(template), fixture.body_of(operation));
        let stale = [("if-match", "\"stale\"")];
        let refused = send(&api, (method, &path), &stale, body.as_ref()).await;
        assert_eq!(refused.status, 412, "{place}: {refused:?}");
        assert!(
            refused.code().ends_with(".PreconditionFailed"),
            "{place}: {refused:?}"
        );
        let now = api.get(&path).await.header("etag").unwrap().to_owned();
        let done = send(&api, (method, &path), &[("if-match", &now)], body.as_ref()).await;
        assert!(
            done.status.is_success() || done.status == 409,
            "{place}: {done:?}"
        );
    }
}

/// Of paths that name two things, each of them.
async fn what_is_not_there_is_not_found_wherever_it_is_named(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    for (method, template, operation) in operations() {
        for place in 0..template.matches('{').count() {
            // An integration is created under the name that its path gives it.
            let creates = method == Method::POST && template.ends_with("/integrations/{name}");
            if creates && place == 1 {
                continue;
            }
            let path = fill_but(&fixture, &template, place);
            let reply = api.call(method.clone(), &path, fixture.body_of(&operation)).await;
            assert_eq!(reply.status, 404, "{method} {path}: {reply:?}");
            let document = reply.json();
            let code = document["code"].as_str().or(document["errorCode"].as_str());
            let code = code.unwrap_or_else(|| panic!("{method} {path}: {reply:?}"));
            assert!(
                code.ends_with("NotFound") || code == "FLAG_NOT_FOUND",
                "{method} {path}: {code}"
            );
        }
    }
}

/// The path, but the `place`th thing that it names is none that is there.
fn fill_but(fixture: &Fixture, template: &str, place: usize) -> String {
    let mut names = 0..;
    let filled = fixture.fill(template);
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

/// What is there under the path of a list, if single things are under it.
fn member_of(fixture: &Fixture, list: &str) -> Option<String> {
    let member = operations().into_iter().find_map(|(_, template, _)| {
        let rest = template.strip_prefix(list)?.strip_prefix("/{")?;
        (rest.find('}') == Some(rest.len() - 1)).then_some(template)
    })?;
    Some(fixture.fill(&member).rsplit('/').next()?.to_owned())
}

async fn a_slug_is_taken_once(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let mut refused = BTreeSet::new();
    for (method, template, operation) in operations() {
        let Some(mut body) = fixture.body_of(&operation).filter(|_| method == Method::POST) else {
            continue;
        };
        if template.starts_with(OFREP) {
            continue;
        }
        let Some(taken) = member_of(&fixture, &template) else {
            continue;
        };
        body["slug"] = json!(taken);
        let reply = api.call(method, &fixture.fill(&template), Some(body)).await;
        // Not all that is created has a slug.
        if reply.status != 422 {
            assert_eq!(reply.status, 409, "{template}: {reply:?}");
            refused.insert(reply.code());
        }
    }
    let expected = [
        "Component",
        "Customer",
        "DeploymentZone",
        "Entitlement",
        "FeatureFlag",
        "Instance",
        "License",
        "Release",
        "ServiceAccount",
        "Token",
    ];
    let expected = expected.map(|resource| format!("Create{resource}.SlugConflict"));
    assert_eq!(refused, BTreeSet::from(expected));
}

async fn pages_have_bounds(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let mut lists = 0;
    for (method, template, operation) in operations() {
        if method != Method::GET || !takes(&operation, "limit") {
            continue;
        }
        let path = fixture.fill(&template);
        for query in ["limit=0", "limit=201", "limit=x", "cursor=%21", "no_such_key=1"] {
            let reply = api.get(&format!("{path}?{query}")).await;
            let location = format!("query.{}", query.split('=').next().unwrap());
            assert_eq!(
                (reply.status.as_u16(), reply.locations()),
                (422, vec![location]),
                "{path}?{query}"
            );
        }
        let whole = api.get(&format!("{path}?limit=200")).await.json();
        assert!(
            whole["items"].is_array() && whole["hasMore"] == false,
            "{path}: {whole}"
        );
        lists += 1;
    }
    assert!(lists >= 15, "only {lists} lists were asked");
}
