//! The audit trail: who did what to which resource when.

use http::Method;
use serde_json::{Value, json};

use super::{
    instances::{PATH, stock},
    usage::SEATS,
};
use crate::testing::TestApi;

on_both_databases! {
    who_did_what_is_told,
    the_trail_of_a_webhook_tells_no_secret,
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
