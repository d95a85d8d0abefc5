//! OFREP as its OpenAPI document has it, and the manifest.

use http::Method;
use serde_json::{Value, json};

use super::feature_flags::{events, switch};
use crate::testing::{Reply, TestApi, request};

on_both_databases! {
    a_flag_is_evaluated,
    what_cannot_be_evaluated_says_so_in_the_protocols_words,
    all_flags_are_evaluated_at_once,
    a_client_that_holds_the_answer_gets_no_other,
    a_manifest_lists_every_flag,
    evaluation_needs_its_scope,
}

const ALL: &str = "/api/ofrep/v1/evaluate/flags";

async fn evaluate(api: &TestApi, key: &str, context: Value) -> Reply {
    api.post(&format!("{ALL}/{key}"), json!({"context": context}))
        .await
}

fn rollout() -> Value {
    json!({
        "name": "Rollout", "type": "string", "enabled": true, "metadata": {"team": "web", "nested": {}},
        "variants": [{"name": "a", "value": "A"}, {"name": "b", "value": "B"}],
        "default_variant": {"type": "rollout_percentage", "distribution": {"a": 50, "b": 50}}
    })
}

async fn a_flag_is_evaluated(api: TestApi) {
    api.post("/api/feature-flags", switch("Dark mode")).await;
    api.post("/api/feature-flags", rollout()).await;
    for (key, context, expected) in [
        (
            "dark-mode",
            json!({"plan": "pro"}),
            json!({"key": "dark-mode", "reason": "TARGETING_MATCH", "variant": "on", "value": true,
                "metadata": {"targeting": "pro"}}),
        ),
        (
            "dark-mode",
            json!({"plan": "free"}),
            json!({"key": "dark-mode", "reason": "DEFAULT", "variant": "off", "value": false, "metadata": {}}),
        ),
        (
            "dark-mode",
            json!({}),
            json!({"key": "dark-mode", "reason": "DEFAULT", "variant": "off", "value": false,
                "metadata": {"failedTargetings": "pro: Undeclared reference to 'plan'"}}),
        ),
        // The place of user-2 in "rollout" is what `printf rollout:user-2 | sha256sum` begins with.
        (
            "rollout",
            json!({"targetingKey": "user-2"}),
            json!({"key": "rollout", "reason": "SPLIT", "variant": "b", "value": "B",
                "metadata": {"team": "web"}}),
        ),
    ] {
        let reply = evaluate(&api, key, context).await;
        assert_eq!((reply.status.as_u16(), reply.json()), (200, expected));
    }
    // A body is not needed.
    assert_eq!(
        api.call(Method::POST, &format!("{ALL}/dark-mode"), None)
            .await
            .status,
        200
    );
    // Nothing was changed by it.
    assert_eq!(events(&api).await, ["FEATUREFLAG_CREATION"; 2]);
}

async fn what_cannot_be_evaluated_says_so_in_the_protocols_words(api: TestApi) {
    api.post("/api/feature-flags", rollout()).await;
    let large = json!({"context": {"text": "x".repeat(66_000)}}).to_string();
    for (key, body, status, code) in [
        ("rollout", "{}", 400, "TARGETING_KEY_MISSING"),
        (
            "rollout",
            r#"{"context": {"targetingKey": ""}}"#,
            400,
            "TARGETING_KEY_MISSING",
        ),
        (
            "rollout",
            r#"{"context": {"targetingKey": 7}}"#,
            400,
            "INVALID_CONTEXT",
        ),
        ("rollout", r#"{"context": "user-1"}"#, 400, "INVALID_CONTEXT"),
        ("rollout", &large, 400, "INVALID_CONTEXT"),
        ("rollout", "{", 400, "PARSE_ERROR"),
        ("rollout", "[]", 400, "PARSE_ERROR"),
        ("nowhere", "{}", 404, "FLAG_NOT_FOUND"),
        ("nowhere", "{", 400, "PARSE_ERROR"),
    ] {
        let one = request(Method::POST, &format!("{ALL}/{key}"), &api.token);
        let reply = api.send(one.body(body.to_owned().into()).unwrap()).await;
        let document = reply.json();
        assert_eq!(reply.status, status, "{body}: {reply:?}");
        assert_eq!(
            (&document["key"], &document["errorCode"]),
            (&json!(key), &json!(code)),
            "{body}"
        );
        assert!(document["errorDetails"].is_string(), "{document}");
        if status == 400 && code != "TARGETING_KEY_MISSING" {
            let all = request(Method::POST, ALL, &api.token);
            let reply = api.send(all.body(body.to_owned().into()).unwrap()).await;
            assert_eq!(reply.status, 400, "{body}");
            assert_eq!(reply.json()["errorCode"], code);
            assert!(reply.json().get("key").is_none());
        }
    }
}

async fn all_flags_are_evaluated_at_once(api: TestApi) {
    assert_eq!(api.post(ALL, json!({})).await.json(), json!({"flags": []}));
    api.post("/api/feature-flags", rollout()).await;
    api.post("/api/feature-flags", switch("Dark mode")).await;
    let reply = api.post(ALL, json!({"context": {"plan": "pro"}})).await;
    assert_eq!(reply.status, 200);
    let expected = json!({"flags": [
        {"key": "dark-mode", "reason": "TARGETING_MATCH", "variant": "on", "value": true,
            "metadata": {"targeting": "pro"}},
        {"key": "rollout", "errorCode": "TARGETING_KEY_MISSING",
            "errorDetails": "the context has no targetingKey, and a rollout needs one"},
    ]});
    assert_eq!(reply.json(), expected);
}

async fn a_client_that_holds_the_answer_gets_no_other(api: TestApi) {
    api.post("/api/feature-flags", switch("Dark mode")).await;
    let ask = async |plan: &str, held: &str| {
        let body = json!({"context": {"plan": plan}}).to_string();
        let asked = request(Method::POST, ALL, &api.token).header("if-none-match", held);
        api.send(asked.body(body.into()).unwrap()).await
    };
    let first = ask("pro", "\"none\"").await;
    let tag = first.header("etag").unwrap().to_owned();
    let again = ask("pro", &tag).await;
    assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
    assert_eq!(again.header("etag"), Some(tag.as_str()));
    // Somebody else is served something else.
    assert_eq!(ask("free", &tag).await.status, 200);
    let mut off = switch("Dark mode");
    off["enabled"] = json!(false);
    api.call(Method::PUT, "/api/feature-flags/dark-mode", Some(off))
        .await;
    let changed = ask("pro", &tag).await;
    assert_eq!(changed.status, 200);
    assert_eq!(changed.json()["flags"][0]["reason"], "DISABLED");
}

async fn a_manifest_lists_every_flag(api: TestApi) {
    let path = "/api/openfeature/v0/manifest";
    assert_eq!(api.get(path).await.json(), json!({"flags": []}));
    api.post("/api/feature-flags", rollout()).await;
    let mut described = switch("Dark mode");
    described["description"] = json!("Less light.");
    api.post("/api/feature-flags", described).await;
    let expected = json!({"flags": [
        {"key": "dark-mode", "type": "boolean", "defaultValue": false, "name": "Dark mode",
            "description": "Less light."},
        {"key": "rollout", "type": "string", "defaultValue": "A", "name": "Rollout"},
    ]});
    let reply = api.get(path).await;
    assert_eq!(reply.json(), expected);
    assert!(reply.header("etag").is_some());
}

async fn evaluation_needs_its_scope(api: TestApi) {
    api.post("/api/feature-flags", switch("Dark mode")).await;
    api.post("/api/service-accounts", json!({"name": "App", "slug": "app"}))
        .await;
    let mut tokens = Vec::new();
    for scope in ["read:feature_flags", "read:customers"] {
        let token = json!({"name": scope, "scopes": [scope]});
        let reply = api.post("/api/service-accounts/app/tokens", token).await;
        tokens.push(reply.json()["token"].as_str().unwrap().to_owned());
    }
    for path in [ALL, "/api/ofrep/v1/evaluate/flags/dark-mode"] {
        let allowed = api.call_as(&tokens[0], Method::POST, path, Some(json!({}))).await;
        assert_eq!(allowed.status, 200);
        let refused = api.call_as(&tokens[1], Method::POST, path, Some(json!({}))).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (403, "Auth.MissingScope")
        );
        let unknown = api
            .call_as("ksh_unknown", Method::POST, path, Some(json!({})))
            .await;
        assert_eq!(unknown.status, 401);
    }
    let refused = api
        .call_as(
            &tokens[0],
            Method::POST,
            "/api/feature-flags",
            Some(switch("Other")),
        )
        .await;
    assert_eq!(refused.status, 403);
}
