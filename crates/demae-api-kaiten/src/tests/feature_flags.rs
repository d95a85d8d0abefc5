//! Feature flags over HTTP: what the SDK sends and needs, and every refusal.

use http::Method;
use serde_json::{Value, json};

use crate::testing::{TestApi, request};

on_both_databases! {
    a_flag_lives_as_the_sdk_expects,
    every_fault_has_its_place,
    every_fault_of_a_rollout_has_its_place,
    a_bad_rule_is_refused_with_its_place,
    refusals_have_codes,
    two_editors_do_not_overwrite_each_other,
}

/// What the SDK sends: every key but the slug.
pub(super) fn switch(name: &str) -> Value {
    json!({
        "name": name, "type": "boolean", "enabled": true, "description": null, "metadata": {}, "event_name": "",
        "variants": [
            {"name": "on", "description": "", "value": true}, {"name": "off", "description": "", "value": false}
        ],
        "default_variant": {"type": "basic", "value": "off"},
        "targetings": [{"type": "basic", "name": "pro", "rule": "plan == 'pro'", "variant": "on"}]
    })
}

fn with(mut flag: Value, pointer: &str, value: Value) -> Value {
    if let Some(place) = flag.pointer_mut(pointer) {
        *place = value;
    } else {
        let (object, key) = pointer.rsplit_once('/').unwrap();
        flag.pointer_mut(object).unwrap()[key] = value;
    }
    flag
}

/// What waits in the outbox, in order.
pub(super) async fn events(api: &TestApi) -> Vec<String> {
    let events = api.store.engine().read_outbox(100).await.unwrap();
    events.into_iter().map(|event| event.name).collect()
}

async fn a_flag_lives_as_the_sdk_expects(api: TestApi) {
    let created = api.post("/api/feature-flags", switch("New checkout")).await;
    assert_eq!(created.status, 201, "{created:?}");
    let flag = created.json();
    let mut expected = switch("New checkout");
    expected["slug"] = json!("new-checkout");
    expected["id"] = flag["id"].clone();
    assert_eq!(flag, expected);
    let path = "/api/feature-flags/new-checkout";
    assert_eq!(api.get(path).await.json(), expected);
    assert_eq!(
        api.get("/api/feature-flags").await.json()["items"],
        json!([expected])
    );
    let replacement = json!({
        "name": "Checkout", "type": "boolean", "enabled": false, "variants": expected["variants"],
        "default_variant": {"type": "rollout_percentage", "distribution": {"on": 30, "off": 70}}
    });
    let replaced = api.call(Method::PUT, path, Some(replacement)).await;
    assert_eq!((replaced.status.as_u16(), replaced.text.as_str()), (204, ""));
    let shown = api.get(path).await.json();
    assert_eq!(
        (&shown["name"], &shown["targetings"]),
        (&json!("Checkout"), &Value::Null)
    );
    assert_eq!(
        shown["default_variant"]["distribution"],
        json!({"off": 70, "on": 30})
    );
    assert_eq!(api.call(Method::DELETE, path, None).await.status, 204);
    assert_eq!(api.get(path).await.code(), "GetFeatureFlag.NotFound");
    let names = [
        "FEATUREFLAG_CREATION",
        "FEATUREFLAG_UPDATE",
        "FEATUREFLAG_DELETION",
    ];
    assert_eq!(events(&api).await, names);
}

/// The flag with this in this place; faults at these.
async fn assert_refused(api: &TestApi, pointer: &str, value: Value, locations: &[&str]) {
    let body = with(switch("Faulty"), pointer, value);
    let reply = api.post("/api/feature-flags", body.clone()).await;
    assert_eq!(reply.status, 422, "{body}: {reply:?}");
    assert_eq!(reply.locations(), locations, "{body}: {reply:?}");
}

async fn every_fault_has_its_place(api: TestApi) {
    let missing = api.post("/api/feature-flags", json!({})).await.locations();
    let required = ["default_variant", "enabled", "name", "type", "variants"];
    assert_eq!(missing, required.map(|key| format!("body.{key}")));
    for (pointer, value, location) in [
        ("/type", json!("color"), "body.type"),
        ("/color", json!("red"), "body.color"),
        ("/slug", json!("Not A Slug"), "body.slug"),
        ("/variants", json!(null), "body.variants"),
        ("/variants", json!([]), "body.variants"),
        ("/variants/0/value", json!("yes"), "body.variants[0].value"),
        ("/variants/0/color", json!("red"), "body.variants[0].color"),
        ("/default_variant", json!("on"), "body.default_variant"),
        (
            "/default_variant/type",
            json!("lottery"),
            "body.default_variant.type",
        ),
        (
            "/default_variant/value",
            json!("maybe"),
            "body.default_variant.value",
        ),
        (
            "/default_variant/variant",
            json!("on"),
            "body.default_variant.variant",
        ),
        ("/targetings/0/rule", json!("plan == "), "body.targetings[0].rule"),
        (
            "/targetings/0/rule",
            json!("x".repeat(2_001)),
            "body.targetings[0].rule",
        ),
        (
            "/targetings/0/variant",
            json!("maybe"),
            "body.targetings[0].variant",
        ),
        ("/targetings/0/name", json!(" "), "body.targetings[0].name"),
        ("/metadata", json!([]), "body.metadata"),
    ] {
        assert_refused(&api, pointer, value, &[location]).await;
    }
    // The targeting's variant is gone, too.
    let twice = ["body.targetings[0].variant", "body.variants[1].name"];
    assert_refused(&api, "/variants/0/name", json!("off"), &twice).await;
    assert_eq!(events(&api).await, [""; 0]);
}

async fn every_fault_of_a_rollout_has_its_place(api: TestApi) {
    let shares =
        |on: Value, off: Value| json!({"type": "rollout_percentage", "distribution": {"on": on, "off": off}});
    let default = "body.default_variant.distribution";
    assert_refused(&api, "/default_variant", shares(json!(40), json!(50)), &[default]).await;
    assert_refused(
        &api,
        "/default_variant",
        shares(json!(101), json!(0.5)),
        &[&format!("{default}.off"), &format!("{default}.on")],
    )
    .await;
    let dates = |start: &str, share: i32, end: &str| {
        json!({
            "type": "rollout_date", "name": "later", "rule": "true",
            "start": {"variant": "off", "percentage": 100, "date": start},
            "end": {"variant": "on", "percentage": share, "date": end},
        })
    };
    let (january, february) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
    for (rollout, locations) in [
        (dates(february, 100, january), vec!["body.targetings[0].end.date"]),
        (
            dates(january, 0, february),
            vec!["body.targetings[0].end.percentage"],
        ),
        (
            dates("soon", -1, january),
            vec![
                "body.targetings[0].end.percentage",
                "body.targetings[0].start.date",
            ],
        ),
    ] {
        assert_refused(&api, "/targetings/0", rollout, &locations).await;
    }
}

async fn a_bad_rule_is_refused_with_its_place(api: TestApi) {
    let mut flag = switch("Faulty");
    let second = json!({"type": "basic", "name": "second", "rule": "plan.is('pro')", "variant": "on"});
    flag["targetings"].as_array_mut().unwrap().push(second);
    let reply = api.post("/api/feature-flags", flag).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_str()),
        (422, "CreateFeatureFlag.Invalid")
    );
    let expected = json!([{
        "location": "body.targetings[1].rule",
        "message": "is not a rule: line 1, column 6: there is no function \"is\"",
    }]);
    assert_eq!(reply.json()["errors"], expected);
}

async fn refusals_have_codes(api: TestApi) {
    let slugged = with(switch("Dark mode"), "/slug", json!("dark-mode"));
    api.post("/api/feature-flags", slugged.clone()).await;
    let path = "/api/feature-flags/dark-mode";
    let texts = json!([{"name": "off", "description": "", "value": "no"}, {"name": "on", "description": "", "value": "yes"}]);
    let other_type = with(
        with(switch("Dark mode"), "/type", json!("string")),
        "/variants",
        texts,
    );
    let nowhere = "/api/feature-flags/nowhere";
    for (method, path, body, status, code) in [
        (
            Method::POST,
            "/api/feature-flags",
            Some(slugged),
            409,
            "CreateFeatureFlag.SlugConflict",
        ),
        (
            Method::PUT,
            path,
            Some(with(switch("X"), "/slug", json!("other"))),
            422,
            "UpdateFeatureFlag.SlugNotRenameable",
        ),
        (
            Method::PUT,
            path,
            Some(other_type),
            422,
            "UpdateFeatureFlag.TypeNotChangeable",
        ),
        (
            Method::PUT,
            nowhere,
            Some(switch("X")),
            404,
            "UpdateFeatureFlag.NotFound",
        ),
        (Method::GET, nowhere, None, 404, "GetFeatureFlag.NotFound"),
        (Method::DELETE, nowhere, None, 404, "DeleteFeatureFlag.NotFound"),
    ] {
        let reply = api.call(method.clone(), path, body).await;
        assert_eq!(
            (reply.status.as_u16(), reply.code().as_str()),
            (status, code),
            "{method} {path}"
        );
    }
}

async fn two_editors_do_not_overwrite_each_other(api: TestApi) {
    api.post("/api/feature-flags", switch("Dark mode")).await;
    let path = "/api/feature-flags/dark-mode";
    let tag = api.get(path).await.header("etag").unwrap().to_owned();
    let conditional = |method: Method, header: &str, body: String| {
        let request = request(method, path, &api.token).header(header, &tag);
        request.body(body.into()).unwrap()
    };
    let held = api
        .send(conditional(Method::GET, "if-none-match", String::new()))
        .await;
    assert_eq!(held.status, 304);
    let first = conditional(Method::PUT, "if-match", switch("First").to_string());
    assert_eq!(api.send(first).await.status, 204);
    let second = conditional(Method::PUT, "if-match", switch("Second").to_string());
    assert_eq!(
        api.send(second).await.code(),
        "UpdateFeatureFlag.PreconditionFailed"
    );
    let gone = conditional(Method::DELETE, "if-match", String::new());
    assert_eq!(api.send(gone).await.status, 412);
    assert_eq!(api.get(path).await.json()["name"], "First");
}
