//! The three `curl` lines of the documentation, sent by `curl`, and what they bring about.

use std::process::{Command, Output};

use demae_testkit::receiver::Recorder;
use serde_json::Value;
use uuid::Uuid;

use crate::{TOKEN, start};

#[tokio::test(flavor = "multi_thread")]
async fn the_three_lines_bring_a_signed_delivery_and_its_history() {
    let (process, api) = start().await;
    let base = process.command().base_url();
    let receiver = Recorder::start().await;

    // But for the receiver's URL, the bodies are the documentation's own.
    let webhook = format!(
        r#"{{
    "url": "{}",
    "eventNames": [
      "CUSTOMER_CREATION",
      "INSTANCE_CREATION",
      "LICENSE_CREATION"
    ]
  }}"#,
        receiver.url("/webhook")
    );
    let webhook = post(&format!("{base}/api/webhooks"), &webhook).await;
    for field in ["id", "url", "createdAt", "updatedAt", "secret"] {
        assert!(webhook[field].is_string(), "{field} in {webhook}");
    }
    assert_eq!(webhook["eventNames"].as_array().unwrap().len(), 3);

    let customer = post(
        &format!("{base}/api/customers"),
        r#"{"name": "Test Webhook Customer"}"#,
    )
    .await;
    let deliveries = receiver.wait_for(1).await;
    let body: Value = serde_json::from_slice(&deliveries[0].body).unwrap();
    let fields: Vec<_> = body.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["name", "type", "data"]);
    assert_eq!(body["name"], "CUSTOMER_CREATION");
    assert_eq!(body["type"], "com.kaiten.customer.v1.created");
    let data = &body["data"];
    assert_eq!(data["id"], customer["id"]);
    assert_eq!(data["name"], "Test Webhook Customer");
    assert_eq!(data["slug"], "test-webhook-customer");
    let organization = data["organizationId"].as_str().unwrap();
    assert!(Uuid::parse_str(organization).is_ok(), "{organization}");

    // The receiver has it a moment before its history says so.
    let webhook_id = webhook["id"].as_str().unwrap();
    while api.get(&format!("/api/webhooks/{webhook_id}/stats")).await["success"] == 0 {}
    let history = curl(&[
        &format!("{base}/api/webhooks/history"),
        "-H",
        &format!("Authorization: Bearer {TOKEN}"),
    ])
    .await;
    let attempts = history["items"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{history}");
    assert_eq!(attempts[0]["eventName"], "CUSTOMER_CREATION");
    assert_eq!(attempts[0]["webhookId"], webhook["id"]);
    assert_eq!(attempts[0]["status"], "success");
    assert_eq!(attempts[0]["outcome"]["httpStatus"], 200);
    assert_eq!(
        attempts[0]["messageId"],
        deliveries[0].header("webhook-id").unwrap()
    );
    assert!(process.terminate().await.unwrap().success());
}

async fn post(url: &str, body: &str) -> Value {
    curl(&[
        "-X",
        "POST",
        url,
        "-H",
        &format!("Authorization: Bearer {TOKEN}"),
        "-H",
        "Content-Type: application/json",
        "-d",
        body,
    ])
    .await
}

/// Runs `curl`; a status that is no success fails.
async fn curl(arguments: &[&str]) -> Value {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail-with-body", "--max-time", "30"])
        .args(arguments);
    let output: Output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}
