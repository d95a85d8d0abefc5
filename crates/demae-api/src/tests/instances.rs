//! Instances, what they use, and who did what: the Kaiten SDK's view (kaiten.md, section 8).

use http::Method;
use serde_json::{Value, json};

use crate::testing::{Reply, TestApi, request};

on_both_databases! {
    an_instance_lives_as_the_sdk_expects,
    every_refusal_has_its_code,
    what_older_clients_send_is_accepted,
    an_entity_tag_guards_a_change,
    usage_is_reported_in_both_forms,
    a_repeated_report_counts_once,
    requests_at_the_same_time_are_counted_exactly,
    who_did_what_is_told,
    the_trail_of_a_webhook_tells_no_secret,
}

/// A customer, a license with 10 seats and a switch, and the ids that an instance refers to.
async fn stock(api: &TestApi) -> Value {
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
async fn events(api: &TestApi) -> Vec<String> {
    let events = api.store.engine().read_outbox(100).await.unwrap();
    let names = events.into_iter().map(|event| event.name);
    names.filter(|name| name.starts_with("INSTANCE_")).collect()
}

const PATH: &str = "/api/instances/production";
const SEATS: &str = "/api/instances/production/entitlements/seats/usage";

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

#[expect(clippy::too_many_lines, reason = "a table")]
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
    let refusals = [
        (
            &post,
            "/api/instances".to_owned(),
            Some(json!({})),
            422,
            "Request.Invalid",
        ),
        (
            &post,
            "/api/instances".to_owned(),
            Some(with(&body, "extra", json!(1))),
            422,
            "Request.Invalid",
        ),
        (
            &post,
            "/api/instances".to_owned(),
            Some(with(&body, "slug", json!("A B"))),
            422,
            "Request.Invalid",
        ),
        (
            &post,
            "/api/instances".to_owned(),
            Some(with(&body, "customerId", json!("acme"))),
            422,
            "Request.Invalid",
        ),
        (
            &post,
            "/api/instances".to_owned(),
            Some(with(&body, "status", json!("HEALTHY"))),
            422,
            "Request.Invalid",
        ),
        (
            &post,
            "/api/instances".to_owned(),
            Some(with(&body, "endLicenseDate", json!("2026-01-01T00:00:00Z"))),
            422,
            "CreateInstance.Invalid",
        ),
        (
            &post,
            "/api/instances".to_owned(),
            Some(with(&body, "licenseSlug", json!("silver"))),
            422,
            "CreateInstance.Invalid",
        ),
        (
            &post,
            "/api/instances".to_owned(),
            Some(with(&body, "customerId", unknown.clone())),
            404,
            "CreateInstance.CustomerNotFound",
        ),
        (
            &post,
            "/api/instances".to_owned(),
            Some(with(&body, "licenseId", unknown.clone())),
            404,
            "CreateInstance.LicenseNotFound",
        ),
        (
            &post,
            "/api/instances".to_owned(),
            Some(with(&body, "deploymentZoneId", unknown.clone())),
            404,
            "CreateInstance.DeploymentZoneNotFound",
        ),
        (
            &post,
            "/api/instances".to_owned(),
            Some(with(&body, "slug", json!("production"))),
            409,
            "CreateInstance.SlugConflict",
        ),
        (
            &put,
            "/api/instances/nothing".to_owned(),
            Some(body.clone()),
            404,
            "UpdateInstance.NotFound",
        ),
        (
            &put,
            PATH.to_owned(),
            Some(with(&body, "slug", json!("other"))),
            409,
            "UpdateInstance.SlugConflict",
        ),
        (
            &put,
            PATH.to_owned(),
            Some(with(&body, "integrations", json!({}))),
            422,
            "Request.Invalid",
        ),
        (
            &put,
            PATH.to_owned(),
            Some(with(&body, "licenseId", unknown)),
            404,
            "UpdateInstance.LicenseNotFound",
        ),
        (
            &patch,
            PATH.to_owned(),
            Some(json!({})),
            422,
            "PatchInstance.Invalid",
        ),
        (
            &patch,
            PATH.to_owned(),
            Some(json!({"status": "FINE"})),
            422,
            "Request.Invalid",
        ),
        (
            &patch,
            "/api/instances/nothing".to_owned(),
            Some(json!({"status": "HEALTHY"})),
            404,
            "PatchInstance.NotFound",
        ),
        (
            &delete,
            "/api/customers/acme".to_owned(),
            None,
            409,
            "DeleteCustomer.InUseConflict",
        ),
        (
            &delete,
            "/api/licenses/gold".to_owned(),
            None,
            409,
            "DeleteLicense.InUseConflict",
        ),
        (
            &get,
            "/api/instances/nothing/entitlements/usage".to_owned(),
            None,
            404,
            "ListEntitlementUsage.InstanceNotFound",
        ),
        (
            &get,
            usage("nothing"),
            None,
            404,
            "GetEntitlementUsage.EntitlementNotFound",
        ),
        (
            &post,
            usage("nothing"),
            Some(number(json!(1))),
            404,
            "ReportEntitlementUsageMetric.EntitlementNotFound",
        ),
        (
            &post,
            usage("unsold"),
            Some(number(json!(1))),
            404,
            "ReportEntitlementUsageMetric.NotGranted",
        ),
        (
            &post,
            usage("sso"),
            Some(number(json!(1))),
            400,
            "ReportEntitlementUsageMetric.UnsupportedEntitlementType",
        ),
        (
            &post,
            usage("seats"),
            Some(number(json!(11))),
            409,
            "ReportEntitlementUsageMetric.ThresholdExceeded",
        ),
        (
            &post,
            usage("seats"),
            Some(number(json!(0.000_000_000_1))),
            422,
            "Request.Invalid",
        ),
        (
            &post,
            usage("seats"),
            Some(number(json!(1e16))),
            422,
            "Request.Invalid",
        ),
        (
            &post,
            usage("seats"),
            Some(number(json!("1"))),
            422,
            "Request.Invalid",
        ),
        (
            &post,
            usage("seats"),
            Some(json!({"value": {"type": "boolean", "value": true}})),
            422,
            "Request.Invalid",
        ),
        (
            &post,
            usage("seats"),
            Some(json!({"value": 1, "behavior": "add"})),
            422,
            "Request.Invalid",
        ),
        (
            &get,
            format!("{PATH}/audit-trails?after=yesterday"),
            None,
            422,
            "Request.Invalid",
        ),
        (
            &get,
            format!("{PATH}/audit-trails?actor=x"),
            None,
            422,
            "Request.Invalid",
        ),
        (
            &get,
            "/api/instances/nothing/audit-trails".to_owned(),
            None,
            404,
            "ListAuditTrails.InstanceNotFound",
        ),
        (
            &get,
            "/api/instances?include_deleted=maybe".to_owned(),
            None,
            422,
            "Request.Invalid",
        ),
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

async fn usage_is_reported_in_both_forms(api: TestApi) {
    let body = stock(&api).await;
    api.post("/api/instances", body).await;
    let reports = [
        (
            json!({"value": {"type": "number", "value": 0.1}, "behavior": "append", "metadata": {"by": "cron"}}),
            json!(0.1),
            1,
        ),
        (json!({"value": 0.2}), json!(0.3), 2),
        (
            json!({"value": {"type": "number", "value": 10}, "behavior": "set"}),
            json!(10),
            1,
        ),
        (
            json!({"value": -3, "behavior": null, "metadata": null}),
            json!(7),
            2,
        ),
    ];
    for (report, value, count) in reports {
        let reply = api.post(SEATS, report).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let usage = reply.json();
        assert_eq!(
            usage["value"],
            json!({"type": "number", "value": value, "event_count": count})
        );
        assert_eq!(usage["limit"], json!({"type": "number", "value": 10}));
        for key in ["entitlementId", "entitlementSlug", "licenseId", "licenseSlug"] {
            assert!(usage[key].is_string(), "{key}: {usage}");
        }
        assert_eq!(api.get(SEATS).await.json(), usage);
    }
    let listed = api
        .get("/api/instances/production/entitlements/usage")
        .await
        .json();
    let slugs: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|usage| usage["entitlementSlug"].as_str().unwrap())
        .collect();
    assert_eq!(slugs, ["seats", "sso"]);
    assert_eq!(
        events(&api).await,
        ["INSTANCE_CREATION", "INSTANCE_ENTITLEMENT_USAGE_REACHED"]
    );
}

async fn a_repeated_report_counts_once(api: TestApi) {
    let body = stock(&api).await;
    api.post("/api/instances", body).await;
    let report = json!({"value": 10});
    let first = api.post_with_key(SEATS, "report-1", &report).await;
    let again = api.post_with_key(SEATS, "report-1", &report).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (200, 200));
    assert_eq!(first.text, again.text);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(api.get(SEATS).await.json()["value"]["event_count"], 1);
    assert_eq!(events(&api).await.len(), 2);
}

async fn requests_at_the_same_time_are_counted_exactly(api: TestApi) {
    let body = stock(&api).await;
    api.post("/api/instances", body).await;
    let report = |_| api.post(SEATS, json!({"value": 0.5}));
    let replies = futures::future::join_all((0..64).map(report)).await;
    let accepted = replies.iter().filter(|reply| reply.status == 200).count();
    let refused = replies.iter().filter(|reply| reply.status == 409).count();
    assert_eq!((accepted, refused), (20, 44));
    assert_eq!(
        api.get(SEATS).await.json()["value"],
        json!({"type": "number", "value": 10, "event_count": 20})
    );
    assert_eq!(events(&api).await.len(), 2);
}

async fn who_did_what_is_told(api: TestApi) {
    let body = stock(&api).await;
    let made = api.post("/api/instances", body).await.json();
    api.call(Method::PATCH, PATH, Some(json!({"status": "DEGRADED"})))
        .await;
    api.post(SEATS, json!({"value": 10})).await;
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items
            .map(|item| item["eventName"].as_str().unwrap().to_owned())
            .collect()
    };
    let trail = api.get(&format!("{PATH}/audit-trails?limit=200")).await.json();
    assert_eq!(
        names(&trail),
        [
            "INSTANCE_ENTITLEMENT_USAGE_REACHED",
            "INSTANCE_STATUS_CHANGED",
            "INSTANCE_CREATION"
        ]
    );
    for item in trail["items"].as_array().unwrap() {
        assert_eq!(
            (&item["instanceSlug"], &item["instanceId"]),
            (&json!("production"), &made["id"])
        );
        assert_eq!(item["timestamp"], "2026-09-21T14:13:20.000Z");
        assert_eq!(item["actor"]["name"], "Administrator");
    }
    let first = api
        .get(&format!(
            "{PATH}/audit-trails?limit=1&event_name=INSTANCE_CREATED"
        ))
        .await
        .json();
    assert_eq!(names(&first), ["INSTANCE_CREATION"]);
    let customers = api.get("/api/audit-trails?resource=customer").await.json();
    assert_eq!(names(&customers), ["CUSTOMER_CREATION"]);
    let actor = trail["items"][0]["actor"]["id"].as_str().unwrap();
    let all = api
        .get(&format!("/api/audit-trails?actor={actor}&limit=3"))
        .await
        .json();
    assert_eq!((names(&all), &all["hasMore"]), (names(&trail), &json!(true)));
}

async fn the_trail_of_a_webhook_tells_no_secret(api: TestApi) {
    let body = json!({
        "url": "https://user:hidden-password@example.com/hidden-path?hidden=query", "eventNames": ["CUSTOMER_*"],
        "headers": {"authorization": "hidden-header"},
    });
    let created = api.post("/api/webhooks", body.clone()).await.json();
    let path = format!("/api/webhooks/{}", created["id"].as_str().unwrap());
    assert_eq!(api.call(Method::PUT, &path, Some(body)).await.status, 200);
    assert_eq!(
        api.call(Method::PATCH, &path, Some(json!({"name": "Mine"})))
            .await
            .status,
        200
    );
    let rotated = api.post(&format!("{path}/secret/rotate"), json!({})).await.json();
    assert_eq!(api.call(Method::DELETE, &path, None).await.status, 204);
    let trail = api.get("/api/audit-trails?resource=webhook").await;
    let items = trail.json()["items"].as_array().unwrap().clone();
    let names: Vec<&str> = items
        .iter()
        .map(|item| item["eventName"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "WEBHOOK_DELETION",
            "WEBHOOK_SECRET_ROTATION",
            "WEBHOOK_UPDATE",
            "WEBHOOK_UPDATE",
            "WEBHOOK_CREATION"
        ]
    );
    assert!(items.iter().all(|item| item["resourceSlug"] == created["id"]));
    assert_eq!(
        items[4]["payload"],
        json!({"id": created["id"], "host": "example.com", "eventNames": ["CUSTOMER_*"], "enabled": true})
    );
    let secrets = [&created["secret"], &rotated["secret"]].map(|secret| secret.as_str().unwrap());
    for hidden in secrets.into_iter().chain(["hidden"]) {
        assert!(!trail.text.contains(hidden), "{trail:?}");
    }
}
