use std::time::Duration;

use axum::body::Body;
use demae_event::{Timestamp, clock::ManualClock};
use demae_signature::standard::{SigningKey, VerifyingKey, sign};
use demae_store::StoreError;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;

const NOW: i64 = 1_790_000_000;

/// One key for everything under `/inbox/signed`.
struct OneKey(VerifyingKey);

#[async_trait::async_trait]
impl KeySource for OneKey {
    async fn keys(&self, path: &str, _now: Timestamp) -> Result<Vec<VerifyingKey>, StoreError> {
        Ok(if path == "/inbox/signed" {
            vec![self.0.clone()]
        } else {
            Vec::new()
        })
    }
}

fn app(key: &SigningKey) -> Router {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(NOW)));
    router(OneKey(key.verifying_key()), clock, 1024 * 1024)
}

async fn send(app: &Router, request: http::request::Builder, body: impl Into<Body>) -> (StatusCode, String) {
    let response = app
        .clone()
        .oneshot(request.body(body.into()).unwrap())
        .await
        .unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn view(app: &Router, name: &str) -> Value {
    let request = Request::get(format!("/inbox/{name}")).header("accept", "application/json");
    serde_json::from_str(&send(app, request, "").await.1).unwrap()
}

#[tokio::test]
async fn shows_what_came_and_whether_its_signature_verified() {
    let key = SigningKey::generate_hmac();
    let app = app(&key);
    let body = r#"{"name":"<script>alert(1)</script>"}"#;
    let post = |path: &str, signature: &str| {
        Request::post(path)
            .header("webhook-id", "msg_1")
            .header("webhook-timestamp", NOW.to_string())
            .header("webhook-signature", signature)
    };
    let good = sign([&key], "msg_1", NOW, body.as_bytes());
    send(&app, post("/inbox/signed", &good), body).await;
    send(&app, post("/inbox/signed", &good), "{}").await;
    send(&app, post("/inbox/other?a=1", &good), body).await;

    let signed = view(&app, "signed").await;
    assert_eq!(signed["received"], 2);
    assert_eq!(signed["requests"][0]["signature"]["verified"], false);
    assert_eq!(signed["requests"][1]["signature"]["verified"], true);
    assert_eq!(signed["requests"][1]["body"], body);
    assert_eq!(signed["requests"][1]["headers"]["webhook-id"], "msg_1");
    let other = view(&app, "other").await;
    assert_eq!(other["requests"][0]["signature"]["verified"], Value::Null);
    assert_eq!(other["requests"][0]["query"], "a=1");

    let html = send(
        &app,
        Request::get("/inbox/signed").header("accept", "text/html"),
        "",
    )
    .await
    .1;
    assert!(
        html.contains("signature verified") && !html.contains("<script>"),
        "{html}"
    );
}

#[tokio::test]
async fn answers_as_told_for_so_many_times() {
    let app = app(&SigningKey::generate_hmac());
    let put = Request::put("/inbox/a/answer").header("content-type", "application/json");
    assert_eq!(
        send(&app, put, r#"{"status":503,"times":2}"#).await.0,
        StatusCode::OK
    );
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(send(&app, Request::post("/inbox/a"), "x").await.0.as_u16());
    }
    assert_eq!(statuses, [503, 503, 200]);
    let put = Request::put("/inbox/a/answer").header("content-type", "application/json");
    assert_eq!(
        send(&app, put, r#"{"status":99}"#).await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(
        send(&app, Request::delete("/inbox/a"), "").await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(view(&app, "a").await["received"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_waited_for() {
    let app = app(&SigningKey::generate_hmac());
    let put = Request::put("/inbox/a/answer").header("content-type", "application/json");
    send(&app, put, r#"{"delayMs":40000}"#).await;
    let before = tokio::time::Instant::now();
    send(&app, Request::post("/inbox/a"), "x").await;
    assert_eq!(before.elapsed(), Duration::from_secs(40));
}

#[tokio::test]
async fn keeps_no_more_than_its_bounds() {
    let app = app(&SigningKey::generate_hmac());
    for _ in 0..=mailbox::MAX_REQUESTS {
        send(&app, Request::post("/inbox/many"), "x").await;
    }
    let many = view(&app, "many").await;
    assert_eq!(many["requests"].as_array().unwrap().len(), mailbox::MAX_REQUESTS);
    assert_eq!(many["requests"][0]["number"], mailbox::MAX_REQUESTS + 1);

    for _ in 0..20 {
        send(
            &app,
            Request::post("/inbox/large"),
            vec![b'x'; mailbox::MAX_BODY + 1],
        )
        .await;
    }
    let large = view(&app, "large").await;
    let kept = large["requests"].as_array().unwrap();
    assert_eq!(kept.len(), mailbox::MAX_BYTES / mailbox::MAX_BODY);
    assert!(kept.iter().all(|request| request["bodyTruncated"] == true));

    // Together they hold no more than all may: the inboxes that were used longest ago are gone.
    let inboxes = mailbox::MAX_TOTAL_BYTES / mailbox::MAX_BYTES + 2;
    for number in 0..inboxes {
        for _ in 0..8 {
            let body = vec![b'x'; mailbox::MAX_BODY - 1_000];
            send(&app, Request::post(format!("/inbox/full-{number}")), body).await;
        }
    }
    assert_eq!(view(&app, "large").await["received"], 0);
    assert_eq!(view(&app, "full-0").await["received"], 0);
    let last = format!("full-{}", inboxes - 1);
    assert_eq!(view(&app, &last).await["received"], 8);

    for number in 0..mailbox::MAX_INBOXES {
        send(&app, Request::post(format!("/inbox/box-{number}")), "x").await;
    }
    assert_eq!(view(&app, "many").await["received"], 0);
    assert_eq!(view(&app, "box-0").await["received"], 1);
    assert_eq!(
        send(&app, Request::post("/inbox/%20"), "x").await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
}
