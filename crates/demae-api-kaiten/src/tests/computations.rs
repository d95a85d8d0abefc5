//! What one tenant's schemas and rules cost the others: nothing.

use http::Method;
use serde_json::{Map, Value, json};

use crate::testing::TestApi;

on_both_databases! {
    a_schema_that_doubles_is_refused_and_holds_nothing,
    costly_schemas_and_rules_are_refused_with_their_place,
    names_are_found_among_many_long_event_types,
}

/// 37 definitions, each of which refers twice to the next one: 2^36 schemas.
fn doubling() -> Value {
    let definitions = (0..37).map(|n| {
        let next = json!({"$ref": format!("#/$defs/a{}", n + 1)});
        let schema = if n == 36 {
            json!({"type": "object"})
        } else {
            json!({"allOf": [next, next]})
        };
        (format!("a{n}"), schema)
    });
    json!({"$ref": "#/$defs/a0", "$defs": definitions.collect::<Map<_, _>>()})
}

async fn a_schema_that_doubles_is_refused_and_holds_nothing(api: TestApi) {
    let body = json!({"name": "DOUBLING", "schema": doubling(), "example": {}});
    let refused = api.post("/api/event-types", body.clone()).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (422, "CreateEventType.Invalid")
    );
    let [location] = refused.locations().try_into().unwrap();
    assert!(location.starts_with("body.schema/$defs/a"), "{location}");
    // With a transaction open, the check still happens before one of its own begins: on SQLite there is only one.
    let held = api.store.begin().await.unwrap();
    let refused = api.post("/api/event-types", body).await;
    assert_eq!(refused.status, 422);
    held.rollback().await.unwrap();
    let kept = json!({"name": "KEPT", "schema": {"type": "object"}, "example": {}});
    assert_eq!(api.post("/api/event-types", kept).await.status, 201);
    let replacement = json!({"schema": doubling()});
    let refused = api
        .call(Method::PUT, "/api/event-types/KEPT", Some(replacement))
        .await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (422, "UpdateEventType.Invalid")
    );
    let customer = json!({"name": "Another tenant's"});
    let other = api.other_token().await;
    let written = api
        .call_as(&other, Method::POST, "/api/customers", Some(customer))
        .await;
    assert_eq!(written.status, 201);
}

async fn costly_schemas_and_rules_are_refused_with_their_place(api: TestApi) {
    for (schema, location) in [
        (
            json!({"properties": {"a": {"pattern": "((a{1,1000}){1,1000})"}}}),
            "body.schema/properties/a/pattern",
        ),
        (
            json!({"patternProperties": {"(?=a)": {}}}),
            "body.schema/patternProperties",
        ),
        (json!({"enum": vec!["x".repeat(100); 9_000]}), "body.schema"),
        (json!({"$ref": "#"}), "body.schema"),
    ] {
        let refused = api
            .post("/api/event-types", json!({"name": "COSTLY", "schema": schema}))
            .await;
        assert_eq!(
            (refused.status.as_u16(), refused.locations()),
            (422, vec![location.to_owned()])
        );
    }
    let example = json!({"a": vec![0; 300_000]});
    let unique = json!({"properties": {"a": {"uniqueItems": true}}});
    let refused = api
        .post(
            "/api/event-types",
            json!({"name": "COSTLY", "schema": unique, "example": example}),
        )
        .await;
    assert_eq!(
        (refused.status.as_u16(), refused.locations()),
        (422, vec!["body.example".to_owned()])
    );
    let flag = |rule: &str| {
        json!({
            "name": "Costly", "type": "boolean", "enabled": true, "event_name": "costly", "metadata": {},
            "variants": [{"name": "on", "description": "", "value": true}],
            "default_variant": {"type": "basic", "value": "on"},
            "targetings": [{"name": "all", "rule": rule, "type": "basic", "variant": "on"}]
        })
    };
    let nested = format!("{}true{}", "[1].all(x, ".repeat(40), ")".repeat(40));
    let refused = api.post("/api/feature-flags", flag(&nested)).await;
    assert_eq!(refused.locations(), ["body.targetings[0].rule"], "{refused:?}");
    let made = api
        .post("/api/feature-flags", flag("many.all(x, many.all(y, x == y))"))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let context = json!({"context": {"many": vec![1; 9_000]}});
    let evaluated = api.post("/api/ofrep/v1/evaluate/flags/costly", context).await;
    assert_eq!(evaluated.json()["value"], true);
    let failed = evaluated.json()["metadata"]["failedTargetings"].clone();
    assert!(failed.as_str().unwrap().contains("takes too long"), "{failed}");
}

async fn names_are_found_among_many_long_event_types(api: TestApi) {
    let schema = json!({"type": "object", "description": "x".repeat(60_000)});
    for number in 0..20 {
        let body =
            json!({"name": format!("LONG_{number}"), "type": format!("long.t{number}"), "schema": schema});
        assert_eq!(api.post("/api/event-types", body).await.status, 201);
    }
    let body = json!({"url": "https://example.com", "eventNames": ["LONG_*", "LONG_7", "long.t19"]});
    assert_eq!(api.post("/api/webhooks", body).await.status, 201);
    let body =
        json!({"url": "https://example.com", "eventNames": ["LONG_7", "LONG_20", "LON_*", "long.t20"]});
    let refused = api.post("/api/webhooks", body).await;
    let expected = ["body.eventNames[1]", "body.eventNames[2]", "body.eventNames[3]"];
    assert_eq!(refused.locations(), expected);
    let events = [
        json!({"name": "LONG_3", "data": {}}),
        json!({"type": "long.t4", "data": {}}),
    ];
    assert_eq!(
        api.post("/api/events", json!({"events": events})).await.status,
        202
    );
}
