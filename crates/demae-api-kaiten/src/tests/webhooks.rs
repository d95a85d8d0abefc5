//! Webhooks and their history.

use http::Method;
use serde_json::{Value, json};

use crate::testing::TestApi;

on_both_databases! {
    a_creation_is_answered_with_the_seeds_fields_and_the_secret,
    settings_that_were_made_are_shown_but_for_credentials,
    every_fault_of_a_webhook_is_told_at_its_place,
    a_change_keeps_what_it_does_not_name_and_null_means_the_default,
    a_rotated_secret_overlaps_with_the_new_one,
    a_test_delivery_becomes_an_event_of_this_webhook,
    history_shows_what_was_sent_and_what_came_back,
    history_is_filtered,
    what_failed_is_sent_again,
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

async fn a_creation_is_answered_with_the_seeds_fields_and_the_secret(api: TestApi) {
    let body = json!({"url": "https://example.com/hook", "eventNames": ["CUSTOMER_CREATION", "LICENSE_*"]});
    let created = api.post("/api/webhooks", body.clone()).await;
    assert_eq!(created.status, 201, "{created:?}");
    let webhook = created.json();
    assert_eq!(
        keys(&webhook),
        ["createdAt", "eventNames", "id", "secret", "updatedAt", "url"]
    );
    assert_eq!(
        (&webhook["url"], &webhook["eventNames"]),
        (&body["url"], &body["eventNames"])
    );
    assert!(webhook["secret"].as_str().unwrap().starts_with("whsec_"));
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().unwrap());
    let shown = api.get(&path).await;
    assert_eq!(
        keys(&shown.json()),
        ["createdAt", "eventNames", "id", "updatedAt", "url"]
    );
    let listed = api.get("/api/webhooks").await.json();
    assert_eq!(listed["items"][0], shown.json());
    let secret = api.get(&format!("{path}/secret")).await;
    assert_eq!(secret.json()["secret"], webhook["secret"]);
    assert_eq!(secret.header("cache-control"), Some("no-store"));
}

async fn settings_that_were_made_are_shown_but_for_credentials(api: TestApi) {
    let settings = json!({
        "name": "Orders", "description": "For the shop", "rateLimit": 5, "timeoutSeconds": 10,
        "retrySchedule": [1, 2], "enabled": false, "metadata": {"team": "shop"}, "headers": {"X-Tenant": "7"},
    });
    let mut body = settings.clone();
    body["headers"]["X-Secret"] = "hunter2".into();
    body["headers"]["X-Undeclared"] = "hunter2".into();
    body["publicHeaders"] = json!(["x-tenant"]);
    body["url"] = "https://user:hunter2@example.com/hook".into();
    body["eventNames"] = json!(["*"]);
    body["dialect"] = "standard".into();
    let created = api.post("/api/webhooks", body).await;
    assert_eq!(created.status, 201, "{created:?}");
    let webhook = created.json();
    for (key, value) in settings.as_object().unwrap() {
        assert_eq!(&webhook[key], value, "{key}");
    }
    assert_eq!(webhook["url"], "https://example.com/hook");
    let secret = json!(["X-Secret", "X-Undeclared", "authorization"]);
    assert_eq!(webhook["sensitiveHeaders"], secret);
    assert!(
        !created.text.contains("hunter2") && webhook.get("dialect").is_none(),
        "{created:?}"
    );
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().unwrap());
    let change = json!({"url": "https://elsewhere.example/hook"});
    let moved = api.call(Method::PATCH, &path, Some(change)).await;
    assert_eq!(moved.json().get("sensitiveHeaders"), None);
    assert_eq!(moved.json()["headers"], json!({"X-Tenant": "7"}));
    let refused = api
        .call(Method::PATCH, &path, Some(json!({"publicHeaders": ["X-Other"]})))
        .await;
    assert_eq!(refused.locations(), ["body.publicHeaders[0]"]);
    for shown in [api.get(&path).await, api.get("/api/webhooks").await, moved] {
        assert_eq!(shown.status, 200);
        assert!(!shown.text.contains("hunter2"), "{shown:?}");
    }
}

async fn every_fault_of_a_webhook_is_told_at_its_place(api: TestApi) {
    for (body, expected) in [
        (json!({}), vec!["body.eventNames", "body.url"]),
        (
            json!({"url": "ftp://example.com", "eventNames": ["A B", "CUSTOMER_CREATION", "*x"], "foo": 1}),
            vec!["body.eventNames[0]", "body.eventNames[2]", "body.foo", "body.url"],
        ),
        (
            json!({"url": "https://example.com", "eventNames": [], "rateLimit": 0, "timeoutSeconds": 31,
                "retrySchedule": [0, -1], "dialect": "morse", "metadata": {"a": 1}, "enabled": "yes"}),
            vec![
                "body.dialect",
                "body.enabled",
                "body.eventNames",
                "body.metadata.a",
                "body.rateLimit",
                "body.retrySchedule[1]",
                "body.timeoutSeconds",
            ],
        ),
        (
            json!({"url": "https://example.com", "eventNames": ["NOT_KNOWN"], "headers": {"webhook-id": "x"}}),
            vec!["body.eventNames[0]", "body.headers.webhook-id"],
        ),
    ] {
        let reply = api.post("/api/webhooks", body.clone()).await;
        assert_eq!(
            (reply.status.as_u16(), reply.locations()),
            (422, expected.into_iter().map(str::to_owned).collect()),
            "{body}"
        );
    }
    assert_eq!(api.get("/api/webhooks").await.json()["items"], json!([]));
}

async fn a_change_keeps_what_it_does_not_name_and_null_means_the_default(api: TestApi) {
    let path = format!("/api/webhooks/{}", api.new_webhook().await);
    let change = json!({"name": "Named", "timeoutSeconds": 5, "enabled": false});
    let changed = api.call(Method::PATCH, &path, Some(change)).await.json();
    assert_eq!(
        (&changed["name"], &changed["timeoutSeconds"], &changed["enabled"]),
        (&json!("Named"), &json!(5), &json!(false))
    );
    assert_eq!(changed["eventNames"], json!(["*"]));
    let change = json!({"name": null, "enabled": null});
    let changed = api.call(Method::PATCH, &path, Some(change)).await.json();
    assert_eq!((changed.get("name"), changed.get("enabled")), (None, None));
    assert_eq!(changed["timeoutSeconds"], 5);
    let whole = json!({"url": "https://example.com/new", "eventNames": ["CUSTOMER_*"]});
    let replaced = api.call(Method::PUT, &path, Some(whole)).await.json();
    assert_eq!(
        keys(&replaced),
        ["createdAt", "eventNames", "id", "updatedAt", "url"]
    );
    let with_secret = json!({"url": "https://example.com", "eventNames": ["*"], "secret": "whsec_x"});
    let refused = api.call(Method::PUT, &path, Some(with_secret)).await;
    assert_eq!(refused.locations(), ["body.secret"]);
}

async fn a_rotated_secret_overlaps_with_the_new_one(api: TestApi) {
    let path = format!("/api/webhooks/{}/secret", api.new_webhook().await);
    let before = api.get(&path).await.json();
    let rotated = api.call(Method::POST, &format!("{path}/rotate"), None).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    assert_ne!(rotated.json()["secret"], before["secret"]);
    assert_eq!(rotated.json()["previousSignUntil"].as_array().unwrap().len(), 1);
    api.clock.advance(std::time::Duration::from_hours(24));
    assert!(api.get(&path).await.json().get("previousSignUntil").is_none());
    let wrong = json!({"secret": "whsec_!", "overlapSeconds": 604_801});
    let refused = api.post(&format!("{path}/rotate"), wrong).await;
    assert_eq!(refused.locations(), ["body.overlapSeconds"]);
    let refused = api
        .post(&format!("{path}/rotate"), json!({"secret": "whsec_!"}))
        .await;
    assert_eq!(
        (refused.locations(), refused.text.contains("whsec_!")),
        (vec!["body.secret".to_owned()], false)
    );
}

async fn a_test_delivery_becomes_an_event_of_this_webhook(api: TestApi) {
    let webhook = api.new_webhook().await;
    let path = format!("/api/webhooks/{webhook}/test");
    let sent = api.post(&path, json!({"eventName": "LICENSE_CREATED"})).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    assert_eq!(sent.json()["name"], "LICENSE_CREATION");
    let event = api
        .get(&format!("/api/events/{}", sent.json()["id"].as_str().unwrap()))
        .await
        .json();
    assert_eq!(event["deliveries"][0]["webhookId"], webhook.as_str());
    assert_eq!(api.call(Method::POST, &path, None).await.status, 202);
    assert_eq!(
        api.post(&path, json!({"eventName": "NOTHING"})).await.locations(),
        ["body.eventName"]
    );
}

async fn history_shows_what_was_sent_and_what_came_back(api: TestApi) {
    let webhook = api.new_webhook().await;
    let event = api
        .post(
            "/api/events",
            json!({"name": "CUSTOMER_CREATION", "data": {"id": "7"}}),
        )
        .await
        .json();
    let attempt = api.attempt_oldest_event(&webhook).await;
    let page = api.get("/api/webhooks/history").await.json();
    let entry = &page["items"][0];
    assert_eq!(entry["id"], attempt.to_string());
    for (key, value) in [
        ("eventId", &event["id"]),
        ("messageId", &event["messageId"]),
        ("eventName", &json!("CUSTOMER_CREATION")),
        ("eventType", &json!("com.kaiten.customer.v1.created")),
        ("webhookId", &json!(webhook)),
        ("webhookUrl", &json!("https://example.com/hook")),
        ("status", &json!("failed")),
        ("attempt", &json!(1)),
        ("trigger", &json!("scheduled")),
    ] {
        assert_eq!(&entry[key], value, "{key}");
    }
    let outcome = &entry["outcome"];
    assert_eq!(
        (&outcome["httpStatus"], &outcome["responseBody"]),
        (&json!(500), &json!("oh no"))
    );
    assert_eq!(outcome["responseHeaders"], json!({"server": "broken"}));
    let detail = api.get(&format!("/api/webhooks/history/{attempt}")).await.json();
    assert_eq!(detail["requestHeaders"], json!({"webhook-id": "msg_x"}));
    let payload: Value = serde_json::from_str(detail["requestBody"].as_str().unwrap()).unwrap();
    assert_eq!(payload["data"], json!({"id": "7"}));
    let window = "since=2026-09-01T00:00:00Z&until=2026-09-28T00:00:00Z";
    let stats = api.get(&format!("/api/webhooks/{webhook}/stats?{window}")).await;
    assert_eq!(stats.json()["failed"], 1, "{stats:?}");
}

async fn history_is_filtered(api: TestApi) {
    let webhook = api.new_webhook().await;
    let event = api
        .post("/api/events", json!({"name": "CUSTOMER_CREATION", "data": {}}))
        .await
        .json();
    api.attempt_oldest_event(&webhook).await;
    let (event, message) = (
        event["id"].as_str().unwrap(),
        event["messageId"].as_str().unwrap(),
    );
    for (query, found) in [
        ("status=failed".to_owned(), 1),
        ("status=success,failed".to_owned(), 1),
        ("status=success&status=failing".to_owned(), 0),
        ("eventName=CUSTOMER_CREATED".to_owned(), 1),
        ("eventName=com.kaiten.customer.v1.created".to_owned(), 1),
        ("eventName=LICENSE_CREATION".to_owned(), 0),
        (format!("eventId={event}"), 1),
        (format!("eventId={message}&webhookId={webhook}"), 1),
        ("since=2000-01-01T00:00:00Z".to_owned(), 1),
        ("until=2000-01-01T00:00:00Z".to_owned(), 0),
        (
            "since=0000-01-01T00:00:00Z&until=9999-12-31T23:59:59Z".to_owned(),
            1,
        ),
    ] {
        let page = api.get(&format!("/api/webhooks/history?{query}")).await;
        assert_eq!(page.status, 200, "{query} {page:?}");
        assert_eq!(page.json()["items"].as_array().unwrap().len(), found, "{query}");
    }
    let refused = api
        .get("/api/webhooks/history?status=lost&eventId=x&webhookId=y&since=now&nmae=1")
        .await;
    let expected = [
        "query.eventId",
        "query.nmae",
        "query.since",
        "query.status",
        "query.webhookId",
    ];
    assert_eq!(refused.locations(), expected);
}

async fn what_failed_is_sent_again(api: TestApi) {
    let webhook = api.new_webhook().await;
    let event = api
        .post("/api/events", json!({"name": "CUSTOMER_CREATION", "data": {}}))
        .await
        .json();
    let attempt = api.attempt_oldest_event(&webhook).await;
    let retried = api
        .call(
            Method::POST,
            &format!("/api/webhooks/history/{attempt}/retry"),
            None,
        )
        .await;
    assert_eq!(
        (retried.status.as_u16(), &retried.json()["eventId"]),
        (202, &event["id"])
    );
    let event = api
        .get(&format!("/api/events/{}", event["id"].as_str().unwrap()))
        .await
        .json();
    assert_eq!(event["deliveries"][0]["status"], "waiting");
    let since = json!({"since": "2026-01-01T00:00:00Z", "status": ["failed", "missing"]});
    let job = api
        .post(&format!("/api/webhooks/{webhook}/recover"), since.clone())
        .await;
    assert_eq!(
        (job.status.as_u16(), &job.json()["status"]),
        (202, &json!("running"))
    );
    let progress = format!(
        "/api/webhooks/{webhook}/recover/{}",
        job.json()["id"].as_str().unwrap()
    );
    assert_eq!(api.get(&progress).await.json(), job.json());
    let other = api.new_webhook().await;
    assert_eq!(api.get(&progress.replace(&webhook, &other)).await.status, 404);
    let again = api.post(&format!("/api/webhooks/{webhook}/recover"), since).await;
    assert_eq!(
        (again.status.as_u16(), again.code().as_str()),
        (409, "RecoverWebhook.AlreadyRunning")
    );
    let wrong = json!({"since": "9999-01-01T00:00:00Z", "status": ["lost"]});
    let refused = api.post(&format!("/api/webhooks/{webhook}/recover"), wrong).await;
    assert_eq!(refused.locations(), ["body.status[0]"]);
}
