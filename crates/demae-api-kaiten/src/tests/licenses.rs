//! Licenses and what they grant: the Kaiten SDK's view (kaiten.md, section 8), and every refusal.

use http::Method;
use serde_json::{Value, json};

use crate::testing::{Reply, TestApi};

on_both_databases! {
    a_license_lives_as_the_sdk_expects,
    a_grant_lives_as_the_sdk_expects,
    the_older_form_of_a_license_is_taken,
    every_refusal_of_a_license_has_its_status_and_its_code,
    every_refusal_of_a_grant_has_its_status_and_its_code,
    what_is_in_use_is_named,
}

const GROWTH: &str = "/api/licenses/growth";
const SEATS: &str = "/api/licenses/growth/entitlements/seats";

/// As the SDK sends it.
fn license(name: &str) -> Value {
    json!({"name": name, "description": "", "type": "PAID", "isDefault": false})
}

fn with(mut body: Value, more: Value) -> Value {
    let Value::Object(more) = more else {
        panic!("{more}")
    };
    body.as_object_mut().unwrap().extend(more);
    body
}

async fn growth(api: &TestApi) -> Reply {
    let created = api.post("/api/licenses", license("Growth")).await;
    assert_eq!(created.status, 201, "{created:?}");
    created
}

async fn a_license_lives_as_the_sdk_expects(api: TestApi) {
    let created = growth(&api).await.json();
    for (key, value) in [
        ("slug", json!("growth")),
        ("description", json!("")),
        ("type", json!("PAID")),
        ("version", json!("1")),
        ("versionName", json!("Version - 1")),
        ("isDefault", json!(false)),
        ("lifecycleState", json!("PUBLISHED")),
    ] {
        assert_eq!(created[key], value, "{key}");
    }
    for key in ["id", "createdAt", "updatedAt"] {
        assert!(created[key].is_string(), "{key}: {created}");
    }
    let shown = api.get(GROWTH).await;
    assert_eq!(shown.json(), created);
    assert!(shown.header("etag").is_some());
    let replacement = with(
        license("Grown"),
        json!({"isDefault": true, "versionName": "Winter 2026"}),
    );
    let replaced = api.call(Method::PUT, GROWTH, Some(replacement)).await;
    assert_eq!((replaced.status.as_u16(), replaced.text.as_str()), (204, ""));
    assert_eq!(api.get(GROWTH).await.json()["versionName"], "Winter 2026");
    let draft = with(license("Draft"), json!({"lifecycleState": "DRAFT"}));
    api.post("/api/licenses", draft).await;
    for (step, state) in [
        ("publish", "PUBLISHED"),
        ("archive", "ARCHIVED"),
        ("unarchive", "PUBLISHED"),
    ] {
        let moved = api
            .call(Method::POST, &format!("/api/licenses/draft/{step}"), None)
            .await;
        assert_eq!(moved.status, 200, "{moved:?}");
        assert_eq!(moved.json()["lifecycleState"], state);
    }
    let listed = api.get("/api/licenses?limit=200").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert_eq!(api.call(Method::DELETE, GROWTH, None).await.status, 204);
    assert_eq!(api.get(GROWTH).await.code(), "GetLicense.NotFound");
}

async fn a_grant_lives_as_the_sdk_expects(api: TestApi) {
    growth(&api).await;
    let seats = json!({"name": "Seats", "description": null, "type": "NUMBER"});
    api.post("/api/entitlements", seats).await;
    let grant = json!({"entitlementSlug": "seats", "value": {"type": "number", "value": 10.0}});
    let granted = api.post("/api/licenses/growth/entitlements", grant).await;
    assert_eq!(granted.status, 201, "{granted:?}");
    let granted = granted.json();
    for key in ["licenseId", "createdAt", "createdBy", "updatedAt", "updatedBy"] {
        assert!(!granted[key].is_null(), "{key}: {granted}");
    }
    for (key, value) in [
        ("licenseSlug", json!("growth")),
        ("entitlementName", json!("Seats")),
        ("entitlementSlug", json!("seats")),
        ("entitlementType", json!("NUMBER")),
        ("value", json!({"type": "number", "value": 10})),
        ("limitCapExceededOveragePercent", json!(0)),
    ] {
        assert_eq!(granted[key], value, "{key}");
    }
    assert_eq!(granted.get("id"), None);
    let shown = api.get(SEATS).await;
    assert_eq!(shown.json(), granted);
    assert!(shown.header("etag").is_some());
    let unlimited = json!({"value": {"type": "number", "value": -1}});
    let replaced = api.call(Method::PUT, SEATS, Some(unlimited)).await;
    assert_eq!((replaced.status.as_u16(), replaced.text.as_str()), (204, ""));
    let listed = api.get("/api/licenses/growth/entitlements").await.json();
    assert_eq!(listed["items"][0]["limitCapExceededOveragePercent"], -1);
    assert_eq!(
        (&listed["hasMore"], listed.get("nextCursor")),
        (&json!(false), None)
    );
    assert_eq!(api.call(Method::DELETE, SEATS, None).await.status, 204);
    assert_eq!(api.get(SEATS).await.code(), "GetLicenseEntitlement.NotFound");
}

async fn the_older_form_of_a_license_is_taken(api: TestApi) {
    let older = json!({"name": "Older", "type": "TRIAL", "version": "4", "isActive": false});
    let created = api.post("/api/licenses", older).await.json();
    assert_eq!(
        (
            &created["version"],
            &created["isActive"],
            &created["lifecycleState"]
        ),
        (&json!("4"), &json!(false), &json!("DRAFT"))
    );
    let number = json!({"name": "Older", "type": "TRIAL", "version": 6});
    assert_eq!(api.post("/api/licenses", number).await.json()["version"], "6");
    // What was shown can be sent back as it is, but for what only the server says.
    let mut echo = created;
    for key in ["id", "createdAt", "createdBy", "updatedAt", "updatedBy"] {
        echo.as_object_mut().unwrap().remove(key);
    }
    let echoed = api.call(Method::PUT, "/api/licenses/older", Some(echo)).await;
    assert_eq!(echoed.status, 204, "{echoed:?}");
}

#[expect(clippy::too_many_lines, reason = "a table of refusals")]
async fn every_refusal_of_a_license_has_its_status_and_its_code(api: TestApi) {
    growth(&api).await;
    let draft = with(license("Draft"), json!({"lifecycleState": "DRAFT"}));
    api.post("/api/licenses", draft).await;
    api.post(
        "/api/licenses",
        with(license("Default"), json!({"isDefault": true})),
    )
    .await;
    let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
    let (all, nobody) = ("/api/licenses", "/api/licenses/nobody");
    let body = |more: Value| Some(with(license("Growth"), more));
    for (method, path, body, status, code, locations) in [
        (
            &post,
            all,
            Some(json!({})),
            422,
            "Request.Invalid",
            "body.name body.type",
        ),
        (
            &post,
            all,
            body(json!({"extra": 1})),
            422,
            "Request.Invalid",
            "body.extra",
        ),
        (
            &post,
            all,
            body(json!({"type": "FREE"})),
            422,
            "Request.Invalid",
            "body.type",
        ),
        (
            &post,
            all,
            body(json!({"slug": "-"})),
            422,
            "Request.Invalid",
            "body.slug",
        ),
        (
            &post,
            all,
            body(json!({"version": "1.0"})),
            422,
            "Request.Invalid",
            "body.version",
        ),
        (
            &post,
            all,
            body(json!({"version": 0})),
            422,
            "Request.Invalid",
            "body.version",
        ),
        (
            &post,
            all,
            body(json!({"description": "x".repeat(501)})),
            422,
            "Request.Invalid",
            "body.description",
        ),
        (
            &post,
            all,
            body(json!({"slug": "growth"})),
            409,
            "CreateLicense.SlugConflict",
            "",
        ),
        (
            &post,
            all,
            body(json!({"version": "1"})),
            409,
            "CreateLicense.VersionConflict",
            "",
        ),
        (
            &post,
            all,
            body(json!({"familySlug": "f"})),
            404,
            "CreateLicense.FamilyNotFound",
            "",
        ),
        (
            &post,
            all,
            body(json!({"lifecycleState": "ARCHIVED"})),
            422,
            "CreateLicense.LifecycleStateNotSettable",
            "body.lifecycleState",
        ),
        (
            &post,
            all,
            body(json!({"lifecycleState": "DRAFT", "isDefault": true})),
            409,
            "CreateLicense.DefaultMustBePublished",
            "",
        ),
        (
            &put,
            GROWTH,
            body(json!({"slug": "x-y"})),
            422,
            "UpdateLicense.SlugNotRenameable",
            "body.slug",
        ),
        (
            &put,
            GROWTH,
            body(json!({"version": 9})),
            422,
            "UpdateLicense.VersionNotSettable",
            "body.version",
        ),
        (
            &put,
            GROWTH,
            body(json!({"familyId": "f"})),
            422,
            "UpdateLicense.FamilyNotReassignable",
            "body.familyId",
        ),
        (
            &put,
            GROWTH,
            Some(license("Draft")),
            409,
            "UpdateLicense.VersionConflict",
            "",
        ),
        (&put, nobody, body(json!({})), 404, "UpdateLicense.NotFound", ""),
        (&delete, nobody, None, 404, "DeleteLicense.NotFound", ""),
        (
            &post,
            "/api/licenses/nobody/publish",
            None,
            404,
            "PublishLicense.NotFound",
            "",
        ),
        (
            &post,
            "/api/licenses/growth/publish",
            None,
            409,
            "PublishLicense.NotADraft",
            "",
        ),
        (
            &post,
            "/api/licenses/draft/archive",
            None,
            409,
            "ArchiveLicense.NotPublished",
            "",
        ),
        (
            &post,
            "/api/licenses/growth/unarchive",
            None,
            409,
            "UnarchiveLicense.NotArchived",
            "",
        ),
        (
            &post,
            "/api/licenses/default/archive",
            None,
            409,
            "ArchiveLicense.DefaultMustBePublished",
            "",
        ),
    ] {
        let reply = api.call(method.clone(), path, body.clone()).await;
        let place = format!("{method} {path} {body:?}");
        assert_eq!(
            (reply.status.as_u16(), reply.code().as_str()),
            (status, code),
            "{place}"
        );
        assert_eq!(reply.locations().join(" "), locations, "{place}");
    }
}

#[expect(clippy::too_many_lines, reason = "a table of refusals")]
async fn every_refusal_of_a_grant_has_its_status_and_its_code(api: TestApi) {
    growth(&api).await;
    api.post("/api/entitlements", json!({"name": "Seats", "type": "NUMBER"}))
        .await;
    let all = "/api/licenses/growth/entitlements";
    let number = |value: Value| json!({"type": "number", "value": value});
    let grant = |value: Value| Some(json!({"entitlementSlug": "seats", "value": value}));
    assert_eq!(
        api.call(Method::POST, all, grant(number(json!(1)))).await.status,
        201
    );
    let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
    let (assign, update) = ("AssignLicenseEntitlement", "UpdateLicenseEntitlement");
    let (other_license, other_grant) = (
        "/api/licenses/nobody/entitlements/seats",
        "/api/licenses/growth/entitlements/nobody",
    );
    let value = |value: Value| Some(json!({"value": value}));
    let one = || number(json!(1));
    for (method, path, body, status, code, locations) in [
        (
            &post,
            all,
            grant(one()),
            409,
            format!("{assign}.AlreadyAssigned"),
            "",
        ),
        (
            &post,
            all,
            Some(json!({"entitlementSlug": "nobody", "value": one()})),
            404,
            format!("{assign}.EntitlementNotFound"),
            "",
        ),
        (
            &post,
            "/api/licenses/nobody/entitlements",
            grant(one()),
            404,
            format!("{assign}.LicenseNotFound"),
            "",
        ),
        (
            &put,
            SEATS,
            value(json!(1)),
            422,
            "Request.Invalid".to_owned(),
            "body.value",
        ),
        (
            &put,
            SEATS,
            value(json!({"value": 1})),
            422,
            "Request.Invalid".to_owned(),
            "body.value.type",
        ),
        (
            &put,
            SEATS,
            value(number(json!("1"))),
            422,
            "Request.Invalid".to_owned(),
            "body.value.value",
        ),
        (
            &put,
            SEATS,
            value(number(json!(1e16))),
            422,
            "Request.Invalid".to_owned(),
            "body.value.value",
        ),
        (
            &put,
            SEATS,
            value(number(json!(-2))),
            422,
            format!("{update}.Invalid"),
            "body.value.value",
        ),
        (
            &put,
            SEATS,
            value(json!({"type": "boolean", "value": true})),
            422,
            format!("{update}.Invalid"),
            "body.value.type",
        ),
        (
            &put,
            SEATS,
            Some(json!({"value": one(), "limitCapExceededOveragePercent": -1})),
            422,
            format!("{update}.Invalid"),
            "body.limitCapExceededOveragePercent",
        ),
        (
            &put,
            other_license,
            value(one()),
            404,
            format!("{update}.LicenseNotFound"),
            "",
        ),
        (
            &put,
            other_grant,
            value(one()),
            404,
            format!("{update}.NotFound"),
            "",
        ),
        (
            &delete,
            other_grant,
            None,
            404,
            "UnassignLicenseEntitlement.NotFound".to_owned(),
            "",
        ),
    ] {
        let reply = api.call(method.clone(), path, body.clone()).await;
        let place = format!("{method} {path} {body:?}");
        assert_eq!((reply.status.as_u16(), reply.code()), (status, code), "{place}");
        assert_eq!(reply.locations().join(" "), locations, "{place}");
    }
}

async fn what_is_in_use_is_named(api: TestApi) {
    growth(&api).await;
    api.post("/api/entitlements", json!({"name": "Seats", "type": "NUMBER"}))
        .await;
    let grant = json!({"entitlementSlug": "seats", "value": {"type": "number", "value": 1}});
    api.post("/api/licenses/growth/entitlements", grant).await;
    let refused = api.call(Method::DELETE, GROWTH, None).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (409, "DeleteLicense.InUseConflict")
    );
    assert_eq!(
        refused.json()["detail"],
        "The license is in use by grants of entitlements seats."
    );
    assert_eq!(api.call(Method::DELETE, SEATS, None).await.status, 204);
    assert_eq!(api.call(Method::DELETE, GROWTH, None).await.status, 204);
}
