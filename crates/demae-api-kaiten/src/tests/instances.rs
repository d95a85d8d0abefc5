//! Instances: the Kaiten SDK's view (kaiten.md, section 8), and every refusal of theirs and of reports.

use http::Method;
use serde_json::{Value, json};

use crate::testing::{Reply, TestApi, request};

on_both_databases! {
    an_instance_lives_as_the_sdk_expects,
    every_refusal_has_its_code,
    what_older_clients_send_is_accepted,
    an_entity_tag_guards_a_change,
}

/// A customer, a license with 10 seats and a switch, and the ids that an instance refers to.
pub(super) async fn stock(api: &TestApi) -> Value {
    let customer = api.post("/api/customers", json!({"name": "Acme"})).await.json();
    let license = json!({"name": "Gold", "description": "", "type": "PAID", "isDefault": false});
    let license = api.post("/api/licenses", license).await.json();
    for (name, kind, value) in [
        ("seats", "NUMBER", json!({"type": "number", "value": 10})),
        ("sso", "BOOLEAN", json!({"type": "boolean", "value": true})),
    ] {
        let entitlement = json!({"name": name, "description": null, "type": kind});
        assert_eq!(api.post("/api/entitlements", entitlement).await.status, 201);
        let grant = json!({"entitlementSlug": name, "value": value});
        let granted = api.post("/api/licenses/gold/entitlements", grant).await;
        assert!(granted.status.is_success(), "{granted:?}");
    }
    let unsold = json!({"name": "unsold", "description": null, "type": "NUMBER"});
    api.post("/api/entitlements", unsold).await;
    json!({
        "name": "Production", "description": "", "customerId": customer["id"], "licenseId": license["id"],
        "startLicenseDate": "2026-02-01T00:00:00Z", "endLicenseDate": "2027-02-01T00:00:00Z",
    })
}

fn with(body: &Value, key: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[key] = value;
    body
}

async fn zone(api: &TestApi, name: &str) -> Value {
    let zone = json!({"name": name, "type": "production", "description": ""});
    api.post("/api/deployment-zones", zone).await.json()["id"].clone()
}

/// The names of the events in the outbox, of instances only.
pub(super) async fn events(api: &TestApi) -> Vec<String> {
    let events = api.store.engine().read_outbox(100).await.unwrap();
    let names = events.into_iter().map(|event| event.name);
    names.filter(|name| name.starts_with("INSTANCE_")).collect()
}

pub(super) const PATH: &str = "/api/instances/production";

async fn an_instance_lives_as_the_sdk_expects(api: TestApi) {
    let body = stock(&api).await;
    let (here, there) = (zone(&api, "Here").await, zone(&api, "There").await);
    let created = api.post("/api/instances", body.clone()).await;
    assert_eq!(created.status, 201, "{created:?}");
    let instance = created.json();
    for key in [
        "id",
        "name",
        "description",
        "customerId",
        "customerSlug",
        "licenseId",
        "licenseSlug",
        "startLicenseDate",
        "endLicenseDate",
        "createdAt",
        "createdBy",
        "updatedAt",
        "updatedBy",
    ] {
        assert!(!instance[key].is_null(), "{key}: {instance}");
    }
    assert_eq!(
        (&instance["slug"], &instance["status"]),
        (&json!("production"), &json!("HEALTHY"))
    );
    assert_eq!(instance["metadata"], json!({}));
    for zone in [&here, &there] {
        let moved = with(&body, "deploymentZoneId", zone.clone());
        let replaced = api.call(Method::PUT, PATH, Some(moved)).await;
        assert_eq!((replaced.status.as_u16(), replaced.text.as_str()), (204, ""));
    }
    let renamed = with(
        &with(&body, "slug", json!("prod")),
        "metadata",
        json!({"region": "eu"}),
    );
    assert_eq!(api.call(Method::PUT, PATH, Some(renamed)).await.status, 204);
    assert_eq!(api.get(PATH).await.code(), "GetInstance.NotFound");
    let path = "/api/instances/prod";
    for patch in [json!({"status": "INCIDENT"}), json!({"lifecycleStage": "TRIAL"})] {
        assert_eq!(api.call(Method::PATCH, path, Some(patch)).await.status, 204);
    }
    let shown = api.get(path).await.json();
    assert_eq!(shown["deploymentZoneSlug"], "there");
    assert_eq!(shown["metadata"], json!({"region": "eu"}));
    assert_eq!(
        (&shown["status"], &shown["lifecycleStage"]),
        (&json!("INCIDENT"), &json!("TRIAL"))
    );
    let page = api
        .get("/api/instances?limit=200&include_deleted=true")
        .await
        .json();
    assert_eq!(page, json!({"items": [shown], "hasMore": false}));
    assert_eq!(api.call(Method::DELETE, path, None).await.status, 204);
    assert_eq!(
        api.call(Method::DELETE, path, None).await.code(),
        "DeleteInstance.NotFound"
    );
    assert_eq!(
        events(&api).await,
        [
            "INSTANCE_CREATION",
            "INSTANCE_UPDATE",
            "INSTANCE_DEPLOYMENT",
            "INSTANCE_UPDATE",
            "INSTANCE_MIGRATION",
            "INSTANCE_UPDATE",
            "INSTANCE_DELETION",
        ]
    );
}

async fn every_refusal_has_its_code(api: TestApi) {
    let body = stock(&api).await;
    api.post("/api/instances", body.clone()).await;
    api.post("/api/instances", with(&body, "name", json!("Other")))
        .await;
    let before = (events(&api).await, api.get("/api/audit-trails").await.text);
    let unknown = json!("019c22c8-a220-7b35-87f8-c2d7ea3634cb");
    let number = |value: Value| json!({"value": {"type": "number", "value": value}});
    let usage = |entitlement: &str| format!("{PATH}/entitlements/{entitlement}/usage");
    let (post, put, patch, get, delete) = (
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::GET,
        Method::DELETE,
    );
    #[rustfmt::skip]
    let refusals = [
        (&post, "/api/instances".to_owned(), Some(json!({})), 422, "Request.Invalid"),
        (&post, "/api/instances".to_owned(), Some(with(&body, "extra", json!(1))), 422, "Request.Invalid"),
        (&post, "/api/instances".to_owned(), Some(with(&body, "slug", json!("A B"))), 422, "Request.Invalid"),
        (&post, "/api/instances".to_owned(), Some(with(&body, "customerId", json!("acme"))), 422, "Request.Invalid"),
        (&post, "/api/instances".to_owned(), Some(with(&body, "status", json!("HEALTHY"))), 422, "Request.Invalid"),
        (&post, "/api/instances".to_owned(), Some(with(&body, "endLicenseDate", json!("2026-01-01T00:00:00Z"))), 422, "CreateInstance.Invalid"),
        (&post, "/api/instances".to_owned(), Some(with(&body, "licenseSlug", json!("silver"))), 422, "CreateInstance.Invalid"),
        (&post, "/api/instances".to_owned(), Some(with(&body, "customerId", unknown.clone())), 404, "CreateInstance.CustomerNotFound"),
        (&post, "/api/instances".to_owned(), Some(with(&body, "licenseId", unknown.clone())), 404, "CreateInstance.LicenseNotFound"),
        (&post, "/api/instances".to_owned(), Some(with(&body, "deploymentZoneId", unknown.clone())), 404, "CreateInstance.DeploymentZoneNotFound"),
        (&post, "/api/instances".to_owned(), Some(with(&body, "slug", json!("production"))), 409, "CreateInstance.SlugConflict"),
        (&put, "/api/instances/nothing".to_owned(), Some(body.clone()), 404, "UpdateInstance.NotFound"),
        (&put, PATH.to_owned(), Some(with(&body, "slug", json!("other"))), 409, "UpdateInstance.SlugConflict"),
        (&put, PATH.to_owned(), Some(with(&body, "integrations", json!({}))), 422, "Request.Invalid"),
        (&put, PATH.to_owned(), Some(with(&body, "licenseId", unknown.clone())), 404, "UpdateInstance.LicenseNotFound"),
        (&put, PATH.to_owned(), Some(with(&body, "customerId", unknown.clone())), 404, "UpdateInstance.CustomerNotFound"),
        (&put, PATH.to_owned(), Some(with(&body, "deploymentZoneId", unknown)), 404, "UpdateInstance.DeploymentZoneNotFound"),
        (&patch, PATH.to_owned(), Some(json!({})), 422, "PatchInstance.Invalid"),
        (&patch, PATH.to_owned(), Some(json!({"status": "FINE"})), 422, "Request.Invalid"),
        (&patch, "/api/instances/nothing".to_owned(), Some(json!({"status": "HEALTHY"})), 404, "PatchInstance.NotFound"),
        (&delete, "/api/customers/acme".to_owned(), None, 409, "DeleteCustomer.InUseConflict"),
        (&delete, "/api/licenses/gold".to_owned(), None, 409, "DeleteLicense.InUseConflict"),
        (&get, "/api/instances/nothing/entitlements/usage".to_owned(), None, 404, "ListEntitlementUsage.InstanceNotFound"),
        (&get, usage("nothing"), None, 404, "GetEntitlementUsage.EntitlementNotFound"),
        (&post, usage("nothing"), Some(number(json!(1))), 404, "ReportEntitlementUsageMetric.EntitlementNotFound"),
        (&post, usage("unsold"), Some(number(json!(1))), 404, "ReportEntitlementUsageMetric.NotGranted"),
        (&post, usage("sso"), Some(number(json!(1))), 400, "ReportEntitlementUsageMetric.UnsupportedEntitlementType"),
        (&post, usage("seats"), Some(number(json!(11))), 409, "ReportEntitlementUsageMetric.ThresholdExceeded"),
        (&post, usage("seats"), Some(number(json!(0.000_000_000_1))), 422, "Request.Invalid"),
        (&post, usage("seats"), Some(number(json!(1e16))), 422, "Request.Invalid"),
        (&post, usage("seats"), Some(number(json!("1"))), 422, "Request.Invalid"),
        (&post, usage("seats"), Some(json!({"value": {"type": "boolean", "value": true}})), 422, "Request.Invalid"),
        (&post, usage("seats"), Some(json!({"value": 1, "behavior": "add"})), 422, "Request.Invalid"),
        (&get, format!("{PATH}/audit-trails?after=yesterday"), None, 422, "Request.Invalid"),
        (&get, format!("{PATH}/audit-trails?actor=x"), None, 422, "Request.Invalid"),
        (&get, "/api/instances/nothing/audit-trails".to_owned(), None, 404, "ListAuditTrails.InstanceNotFound"),
        (&get, "/api/instances?include_deleted=maybe".to_owned(), None, 422, "Request.Invalid"),
    ];
    for (method, path, body, status, code) in refusals {
        let place = format!("{method} {path} {body:?}");
        let reply = api.call(method.clone(), &path, body).await;
        assert_eq!(
            (reply.status.as_u16(), reply.code().as_str()),
            (status, code),
            "{place}: {reply:?}"
        );
    }
    assert_eq!(
        (events(&api).await, api.get("/api/audit-trails").await.text),
        before
    );
}

async fn what_older_clients_send_is_accepted(api: TestApi) {
    let body = stock(&api).await;
    let body = with(&body, "platform", json!({"os": "linux"}));
    let body = with(&body, "licenseSlug", json!("gold"));
    let created = api.post("/api/instances", body).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert!(created.json().get("platform").is_none());
    let mut bare = stock_ids(&created.json());
    bare["name"] = json!("Bare");
    let bare = api.post("/api/instances", bare).await.json();
    assert_eq!(bare["startLicenseDate"], "2026-09-21T14:13:20.000Z");
    assert_eq!(bare["endLicenseDate"], "2027-09-21T14:13:20.000Z");
}

fn stock_ids(instance: &Value) -> Value {
    json!({"customerId": instance["customerId"], "licenseId": instance["licenseId"]})
}

async fn an_entity_tag_guards_a_change(api: TestApi) {
    let body = stock(&api).await;
    api.post("/api/instances", body.clone()).await;
    let tag = api.get(PATH).await.header("etag").unwrap().to_owned();
    let guarded = async |method: Method, body: Option<&Value>| -> Reply {
        let body = body.map_or_else(axum::body::Body::empty, |body| body.to_string().into());
        let request = request(method, PATH, &api.token).header("if-match", &tag);
        api.send(request.body(body).unwrap()).await
    };
    let patch = json!({"status": "DEGRADED"});
    assert_eq!(guarded(Method::PATCH, Some(&patch)).await.status, 204);
    for (method, body) in [
        (Method::PATCH, Some(&patch)),
        (Method::PUT, Some(&body)),
        (Method::DELETE, None),
    ] {
        assert_eq!(guarded(method, body).await.status, 412);
    }
    assert_eq!(api.get(PATH).await.json()["status"], "DEGRADED");
}
