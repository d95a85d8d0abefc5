//! A Dapr sidecar, as `curl`.

use demae_testkit::{process::DemaeCommand, receiver::Recorder};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{TOKEN, api, api::Api, serve};

pub(crate) const APP_TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// The organization of [`TOKEN`].
pub(crate) async fn organization(api: &Api) -> String {
    let receiver = Recorder::start().await;
    let webhook = json!({ "url": receiver.url("/"), "eventNames": ["CUSTOMER_CREATION"] });
    api.post("/api/webhooks", &webhook).await;
    api.post("/api/customers", &json!({ "name": "Who are we?" }))
        .await;
    let request = receiver.wait_for(1).await.remove(0);
    let envelope: Value = serde_json::from_slice(&request.body).unwrap();
    envelope["data"]["organizationId"].as_str().unwrap().to_owned()
}

/// What Debezium Server writes of an outbox row, as Dapr passes it on (kaiten.md, sections 6.2 and 6.3).
pub(crate) fn change_event(id: &str, organization: &str, data: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": "name:kaiten;lsn:1;txId:1", "source": "/debezium/postgresql/kaiten",
        "type": "io.debezium.connector.postgresql.DataChangeEvent", "datacontenttype": "application/json",
        "topic": "kaiten.events", "pubsubname": "rabbitmq-pubsub",
        "data": {
            "schema": {},
            "payload": {
                "before": null,
                "after": {
                    "id": id, "organization_id": organization, "event_name": "INSTANCE_CREATION",
                    "event_type": "com.kaiten.instance.v1.created", "data": data.to_string(),
                    "headers": null, "occurred_at": "2026-01-01T00:00:00Z",
                },
            },
        },
    })
}

/// A server that a sidecar may bring events to.
pub(crate) fn serve_with_dapr() -> DemaeCommand {
    serve().setting("DEMAE_DAPR_APP_TOKEN", APP_TOKEN)
}

/// As the sidecar does; answers the document of the answer.
pub(crate) async fn bring(command: &DemaeCommand, document: &Value) -> Value {
    let output = tokio::process::Command::new("curl")
        .args([
            "-sS",
            "--fail",
            "-H",
            "content-type: application/cloudevents+json",
        ])
        .args([
            "-H",
            &format!("dapr-api-token: {APP_TOKEN}"),
            "-d",
            &document.to_string(),
        ])
        .arg(format!("{}/events", command.base_url()))
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_a_sidecar_brings_is_delivered_once_however_often_it_comes() {
    let command = serve_with_dapr();
    let process = command.start().await.unwrap();
    let organization = organization(&api(&command)).await;
    let receiver = Recorder::start().await;
    let webhook = json!({ "url": receiver.url("/hook"), "eventNames": ["INSTANCE_CREATION"] });
    api(&command).post("/api/webhooks", &webhook).await;

    let id = "0199e1a0-7f3c-7a51-9d0e-4b1f6c2d8e90";
    let document = change_event(id, &organization, &json!({ "id": "i-1" }));
    for _ in 0..2 {
        assert_eq!(bring(&command, &document).await, json!({ "status": "SUCCESS" }));
    }
    let other = change_event(
        "0199e1a0-7f3c-7a51-9d0e-4b1f6c2d8e91",
        &organization,
        &json!({ "id": "i-2" }),
    );
    assert_eq!(bring(&command, &other).await, json!({ "status": "SUCCESS" }));
    let requests = receiver.wait_for(2).await;
    let mut delivered: Vec<String> = requests
        .iter()
        .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()["data"]["id"].to_string())
        .collect();
    delivered.sort_unstable();
    assert_eq!(delivered, [r#""i-1""#, r#""i-2""#]);

    let heartbeat = json!({ "specversion": "1.0", "id": "1", "source": "s", "type": "cloud.kaiten.cdc.heartbeat",
        "data": {} });
    assert_eq!(bring(&command, &heartbeat).await, json!({ "status": "SUCCESS" }));
    let nobody = change_event(id, "0199e1a0-7f3c-7a51-9d0e-4b1f6c2d8eff", &json!({}));
    assert_eq!(bring(&command, &nobody).await, json!({ "status": "DROP" }));
    assert!(process.terminate().await.unwrap().success());
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_app_token_nobody_gets_in_without_it() {
    let command = serve_with_dapr();
    let process = command.start().await.unwrap();
    for (method, path) in [(Method::GET, "/dapr/subscribe"), (Method::POST, "/events")] {
        let answer = api(&command)
            .send(method, path, Some(&json!({})), None)
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
        assert!(!answer.text.contains(APP_TOKEN));
    }
    let url = format!("{}/dapr/subscribe", command.base_url());
    let output = std::process::Command::new("curl")
        .args(["-sS", "-H", &format!("dapr-api-token: {APP_TOKEN}"), &url])
        .output()
        .unwrap();
    let subscriptions: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(subscriptions[0]["topic"], "kaiten.events");
    assert_eq!(subscriptions[0]["route"], "/events");
    assert!(process.terminate().await.unwrap().success());
    assert!(!command.stderr().unwrap().contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn unless_the_token_is_set_a_sidecar_has_no_paths() {
    let command = serve();
    let process = command.start().await.unwrap();
    for (method, path) in [(Method::GET, "/dapr/subscribe"), (Method::POST, "/events")] {
        let answer = api(&command)
            .send(method, path, Some(&json!({})), None)
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
    }
    assert!(process.terminate().await.unwrap().success());
}
