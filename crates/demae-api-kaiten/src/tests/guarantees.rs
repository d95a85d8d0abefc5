//! What every operation promises, one that is added tomorrow included: the document says which there are.

use std::collections::BTreeSet;

use demae_api::testing::walk::{ApiOperation, Fixture as _};
use http::Method;
use serde_json::{Value, json};

use super::fixture::{Fixture, operations};
use crate::{document::OFREP, testing::TestApi};

on_both_databases! {
    every_change_is_in_the_audit_trail,
    every_resource_has_a_tag_that_its_changes_honour,
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

fn id_of(operation: &ApiOperation) -> &str {
    operation.described["operationId"].as_str().unwrap()
}

fn changes() -> impl Iterator<Item = ApiOperation> {
    operations()
        .into_iter()
        .filter(|operation| operation.method != Method::GET)
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
    for operation in changes() {
        let (id, path) = (id_of(&operation), fixture.fill(&operation.template));
        let (method, body) = (operation.method.clone(), fixture.body_of(&operation));
        if leaves_its_entries(&api, id, method, &path, body).await {
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

/// Paths without tags: an attempt, an event and a job are never edited.
const UNTAGGED: [&str; 3] = [
    "/api/webhooks/history/{id}",
    "/api/events/{id}",
    "/api/webhooks/{id}/recover/{job}",
];

async fn every_resource_has_a_tag_that_its_changes_honour(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let (all, walk) = (operations(), fixture.walk(&api));
    for operation in &all {
        let template = operation.template.as_str();
        let is_resource = operation.method == Method::GET && template.ends_with('}');
        if !is_resource || UNTAGGED.contains(&template) {
            continue;
        }
        let path = fixture.fill(template);
        let seen = api.get(&path).await;
        let tag = seen
            .header("etag")
            .unwrap_or_else(|| panic!("{template} has no tag"));
        assert!(operation.takes("If-None-Match"), "{template}");
        let known = [("if-none-match", tag)];
        let again = walk
            .send(&api.token, (&operation.method, &path), &known, None)
            .await;
        assert_eq!(
            (again.status.as_u16(), again.text.as_str()),
            (304, ""),
            "{template}"
        );
    }
    for operation in &all {
        let (method, template) = (&operation.method, operation.template.as_str());
        let edits = [Method::PUT, Method::PATCH, Method::DELETE].contains(method);
        // Nobody edits a token: it is revoked, whatever it is.
        let is_tagged = !UNTAGGED.contains(&template) && !template.ends_with("/tokens/{token}");
        if !edits || !is_tagged {
            continue;
        }
        let place = format!("{method} {template}");
        assert!(operation.takes("If-Match"), "{place} does not tell of If-Match");
        let (path, body) = (fixture.fill(template), fixture.body_of(operation));
        let send = async |tag: &str| {
            let headers = [("if-match", tag)];
            walk.send(&api.token, (method, &path), &headers, body.as_ref())
                .await
        };
        let refused = send("\"stale\"").await;
        assert_eq!(refused.status, 412, "{place}: {refused:?}");
        assert!(
            refused.code().ends_with(".PreconditionFailed"),
            "{place}: {refused:?}"
        );
        let now = api.get(&path).await.header("etag").unwrap().to_owned();
        let done = send(&now).await;
        assert!(
            done.status.is_success() || done.status == 409,
            "{place}: {done:?}"
        );
    }
}

/// What is there under the path of a list, if single things are under it.
fn member_of(fixture: &Fixture, list: &str) -> Option<String> {
    let member = operations().into_iter().find_map(|operation| {
        let rest = operation.template.strip_prefix(list)?.strip_prefix("/{")?;
        (rest.find('}') == Some(rest.len() - 1)).then_some(operation.template)
    })?;
    Some(fixture.fill(&member).rsplit('/').next()?.to_owned())
}

async fn a_slug_is_taken_once(api: TestApi) {
    let fixture = Fixture::new(&api).await;
    let mut refused = BTreeSet::new();
    for operation in operations() {
        let template = operation.template.as_str();
        if operation.method != Method::POST || template.starts_with(OFREP) {
            continue;
        }
        let (Some(mut body), Some(taken)) = (fixture.body_of(&operation), member_of(&fixture, template))
        else {
            continue;
        };
        body["slug"] = json!(taken);
        let reply = api.post(&fixture.fill(template), body).await;
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
    for operation in operations() {
        if operation.method != Method::GET || !operation.takes("limit") {
            continue;
        }
        let path = fixture.fill(&operation.template);
        for query in ["limit=0", "limit=201", "cursor=%21", "no_such_key=1"] {
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
