//! Entitlements: the Kaiten SDK's view (kaiten.md, section 8), and every refusal.

use http::Method;
use serde_json::{Value, json};

use crate::testing::TestApi;

on_both_databases! {
    an_entitlement_lives_as_the_sdk_expects,
    every_refusal_has_its_status_and_its_code,
    what_is_in_use_is_named,
}

const PATH: &str = "/api/entitlements/seats";

async fn an_entitlement_lives_as_the_sdk_expects(api: TestApi) {
    // The description is always sent, as null if there is none.
    let body = json!({"name": "Seats", "description": null, "type": "NUMBER", "groupSlugs": []});
    let created = api.post("/api/entitlements", body).await;
    assert_eq!(created.status, 201, "{created:?}");
    let entitlement = created.json();
    for key in ["id", "name", "createdAt", "updatedAt", "createdBy", "updatedBy"] {
        assert!(!entitlement[key].is_null(), "{key}: {entitlement}");
    }
    assert_eq!(entitlement.get("description"), Some(&Value::Null));
    assert_eq!(
        (&entitlement["slug"], &entitlement["aggregationMethod"]),
        (&json!("seats"), &json!("SUM"))
    );
    let shown = api.get(PATH).await;
    assert_eq!(shown.json(), entitlement);
    assert!(shown.header("etag").is_some());
    // What is fixed is echoed, as the SDK asks its users to.
    let replacement = json!({
        "name": "Places", "description": "Where one sits.", "type": "NUMBER", "aggregationMethod": "SUM",
        "unitSingular": "seat", "unitPlural": "seats", "saleUnitSingular": "row", "saleUnitPlural": "rows",
        "saleUnitFactor": 12, "userFacing": true, "displayOrder": 2, "icon": "lucide:armchair",
        "warningThresholdPercent": 90, "groupSlugs": null,
    });
    let replaced = api.call(Method::PUT, PATH, Some(replacement.clone())).await;
    assert_eq!((replaced.status.as_u16(), replaced.text.as_str()), (204, ""));
    let shown = api.get(PATH).await.json();
    for (key, value) in replacement.as_object().unwrap() {
        if key != "groupSlugs" {
            assert_eq!(shown[key], *value, "{key}");
        }
    }
    assert_eq!(shown["entitlementGroups"], json!([]));
    assert_eq!(api.get("/api/entitlements").await.json()["items"], json!([shown]));
    assert_eq!(api.call(Method::DELETE, PATH, None).await.status, 204);
    assert_eq!(api.get(PATH).await.code(), "GetEntitlement.NotFound");
}

#[expect(clippy::too_many_lines, reason = "a table of refusals")]
async fn every_refusal_has_its_status_and_its_code(api: TestApi) {
    let number = json!({"name": "Seats", "type": "NUMBER", "resetPeriod": "MONTH"});
    assert_eq!(api.post("/api/entitlements", number).await.status, 201);
    let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
    let all = "/api/entitlements";
    let nobody = "/api/entitlements/nobody";
    let named = |more: Value| {
        let mut body = json!({"name": "Seats"});
        let more = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        Some(body)
    };
    let table = [
        (&post, all, Some(json!({})), 422, "Request.Invalid", "body.name"),
        (
            &post,
            all,
            named(json!({"extra": 1})),
            422,
            "Request.Invalid",
            "body.extra",
        ),
        (
            &post,
            all,
            named(json!({"slug": "A"})),
            422,
            "Request.Invalid",
            "body.slug",
        ),
        (
            &post,
            all,
            named(json!({"type": "NUMBER_AI_CREDIT"})),
            422,
            "Request.Invalid",
            "body.type",
        ),
        (
            &post,
            all,
            named(json!({"saleUnitFactor": 0})),
            422,
            "Request.Invalid",
            "body.saleUnitFactor",
        ),
        (
            &post,
            all,
            named(json!({"groupSlugs": ["g"]})),
            422,
            "CreateEntitlement.Invalid",
            "body.groupSlugs",
        ),
        (
            &post,
            all,
            named(json!({"aggregationMethod": "SUM"})),
            422,
            "CreateEntitlement.Invalid",
            "body.aggregationMethod",
        ),
        (
            &post,
            all,
            named(json!({"slug": "seats"})),
            409,
            "CreateEntitlement.SlugConflict",
            "",
        ),
        (
            &put,
            PATH,
            named(json!({"type": "BOOLEAN"})),
            422,
            "UpdateEntitlement.TypeNotChangeable",
            "body.type",
        ),
        (
            &put,
            PATH,
            named(json!({"resetPeriod": "DAY"})),
            422,
            "UpdateEntitlement.ResetPeriodNotChangeable",
            "body.resetPeriod",
        ),
        (
            &put,
            PATH,
            named(json!({"slug": "chairs"})),
            422,
            "UpdateEntitlement.SlugNotRenameable",
            "body.slug",
        ),
        (
            &put,
            nobody,
            named(json!({})),
            404,
            "UpdateEntitlement.NotFound",
            "",
        ),
        (&delete, nobody, None, 404, "DeleteEntitlement.NotFound", ""),
    ];
    for (method, path, body, status, code, location) in table {
        let reply = api.call(method.clone(), path, body.clone()).await;
        let expected = (status, code.to_owned());
        assert_eq!(
            (reply.status.as_u16(), reply.code()),
            expected,
            "{method} {path} {body:?}"
        );
        let locations: Vec<String> = [location]
            .map(str::to_owned)
            .into_iter()
            .filter(|at| !at.is_empty())
            .collect();
        assert_eq!(reply.locations(), locations, "{method} {path} {body:?}");
    }
}

async fn what_is_in_use_is_named(api: TestApi) {
    api.post("/api/entitlements", json!({"name": "Seats"})).await;
    api.post("/api/licenses", json!({"name": "Growth", "type": "PAID"}))
        .await;
    let grant = json!({"entitlementSlug": "seats", "value": {"type": "boolean", "value": true}});
    api.post("/api/licenses/growth/entitlements", grant).await;
    let refused = api.call(Method::DELETE, PATH, None).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (409, "DeleteEntitlement.InUseConflict")
    );
    assert_eq!(
        refused.json()["detail"],
        "The entitlement is in use by licenses growth."
    );
    // Its type, which was left open, cannot be set any more either.
    let typed = json!({"name": "Seats", "type": "BOOLEAN"});
    let refused = api.call(Method::PUT, PATH, Some(typed)).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (409, "UpdateEntitlement.InUseConflict")
    );
}
